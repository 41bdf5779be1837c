/** The server as the page sees it: calls that answer once, and the live connection. */

import { at } from "./home";
import { Note } from "./note";
import { plain } from "./remarks";

export type Box = readonly [left: number, top: number, right: number, bottom: number];

/** What the server is sent of a subject as a whole: a person's face, or the file of an identity. */
export type Sent = "face" | "identity";

export interface Model {
  id: string;
  swiftpie: {
    capabilities: string[];
    image_size_px: number;
    defaults: Record<string, number>;
    knows_faces?: boolean; // whether people can be drawn by their faces
    summary?: string;
  };
}

/** A number that a slider sets, as the library declares it. */
export interface Option {
  least: number;
  most: number;
  default: number;
  help: string;
}

/** A value of several, as the library declares it. */
export interface Choice {
  values: string[];
  default: string | null; // null: what the model can
  help: string;
}

/** What the server draws with, and what can be set. */
export interface Offer {
  data: readonly Model[];
  options: Record<string, Option>;
  choices: Record<string, Choice>;
  limits: {
    subjects: number;
    view: [yaw: number, pitch: number];
    /** What is read of a picture's file, and the longer side beyond which nothing is used of it. */
    picture: { types: string[]; bytes: number; pixels: number; side_px: number; kept_px: number };
  };
}

export interface KnownIdentity {
  id: string;
  name: string;
  model: string;
  is_face: boolean;
  num_pictures: number;
  thumbnail: string;
  warnings: string[];
  pictures: KeptSource[];
}

/** Where the server keeps a picture of a subject, and its mask if one was sent with it. */
export interface KeptSource {
  source: string;
  mask: string | null;
}

export interface Entry {
  name: string;
  words: string[]; // that find it as well
  picture: string; // its address
}

export interface SceneEntry extends Pick<Entry, "name" | "picture"> {
  phrase: string; // as a prompt has it: "on a beach"
}

/** The subjects of the library that a query finds. */
export interface Listing {
  data: Entry[];
  total: number;
  meant: string | null; // by the query; else all are only near
  credit: string;
}

/** Who of the library was drawn for which word of a prompt. */
export interface Named {
  word: string;
  name: string;
  near: string[];
}

/** What made a picture, as its file tells; every value is text. */
export type Origin = Readonly<Record<string, string>>;

export interface KeptPicture {
  id: string;
  width: number;
  height: number;
  origin: Origin;
}

/** What the server says about one live picture; its bytes come with it. */
export interface Header {
  id: number;
  seed: number;
  width: number;
  height: number;
  mime: string;
  milliseconds: number;
  warnings: string[];
  box: Box | null; // where in a photo a subject was put
  subjects_at: Box | null; // just around the subjects of a drawing
  named: Named[];
  follows_seed: boolean; // another seed gives another picture
  mask_b64: string | null;
}

interface ProblemBody {
  message: string;
  param?: string | null;
  code?: string | null;
  word?: string;
  near?: string[];
}

/** A refusal, in words that the server chose for people. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly status = 0,
    readonly param: string | null = null,
    readonly code: string | null = null,
    readonly retryAfterS: number | null = null,
    readonly word = "", // that a prompt names and the library does not know
    readonly near: readonly string[] = [],
  ) {
    super(plain(message));
  }
}

const kept = new Note("sessionStorage", "token");
const UNREACHABLE = "The server does not answer. Try again in a while.";
const KEY_LETTERS = /^[\x20-\x7e]+$/; // other letters cannot be sent in a header

export function setToken(token: string): void {
  if (!KEY_LETTERS.test(token)) {
    throw new Refused("A token has letters, digits and signs of ASCII only.");
  }
  kept.text = token;
}

export const hasToken = (): boolean => kept.text !== null;

function authorization(): Record<string, string> {
  return kept.text ? { authorization: `Bearer ${kept.text}` } : {};
}

/** Wait for an answer or its body; what does not come, or breaks off, is thrown as `Refused`. */
async function come<T>(what: Promise<T>): Promise<T> {
  return what.catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused(UNREACHABLE);
  });
}

/** Send a request; whatever is no success is thrown as `Refused`. */
async function answerTo(path: string, init: RequestInit = {}): Promise<Response> {
  const sent = { ...init, headers: { ...init.headers, ...authorization() } };
  const answer = await come(fetch(at(path), sent));
  if (answer.ok) return answer;
  const body: { error?: ProblemBody } = await answer.json().catch(() => ({}));
  const retry =
    Number(answer.headers.get("retry-after-ms")) / 1000 ||
    Number(answer.headers.get("retry-after"));
  const { message, param, code, word, near }: ProblemBody = body.error ?? {
    message: `The server answered with status ${answer.status}.`,
  };
  throw new Refused(message, answer.status, param, code, retry || null, word, near);
}

async function read<T>(path: string, init?: RequestInit): Promise<T> {
  return come<T>((await answerTo(path, init)).json());
}

/** Told for how many seconds pictures wait that the server has no room for; null: no more. */
export const patience = { tell: (_: number | null): void => undefined };

/** Send pictures again and again until the server has room, so that none is lost. */
async function upload<T>(path: string, init: RequestInit): Promise<T> {
  for (;;) {
    try {
      const answer = await read<T>(path, init);
      patience.tell(null);
      return answer;
    } catch (error) {
      const waitS = error instanceof Refused ? error.retryAfterS : null;
      patience.tell(waitS);
      if (waitS === null) throw error;
      await new Promise((resolve) => setTimeout(resolve, waitS * 1000));
    }
  }
}

type Field = string | Blob | readonly Blob[] | null;

/** Return a form with all `fields` that are not null. */
function form(fields: Record<string, Field>): RequestInit {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === null) continue;
    for (const one of Array.isArray(value) ? value : [value]) body.append(name, one);
  }
  return { method: "POST", body };
}

function json(value: unknown, signal?: AbortSignal): RequestInit {
  const headers = { "content-type": "application/json" };
  return { method: "POST", headers, body: JSON.stringify(value), signal };
}

interface Images {
  data: { b64_json: string }[];
  swiftpie: { seeds: number[]; masks_b64?: string[] };
}

/** One picture of an answer, with what an edit could change. */
export interface Drawn {
  seed: number;
  b64: string;
  mask: string;
}

function drawnIn({ data, swiftpie }: Images): Drawn[] {
  return data.map((one, i) => ({
    seed: swiftpie.seeds[i]!,
    b64: one.b64_json,
    mask: swiftpie.masks_b64?.[i] ?? "",
  }));
}

export const server = {
  /** Whether it draws already: a model may take long to load. */
  isReady: () =>
    answerTo("/health/ready").then(
      () => true,
      (error: Refused) => {
        if (error.status === 503) return false;
        throw error;
      },
    ),

  /** Whether this page is the one that the server has; Vite's own is never compared. */
  hasThisPage: async () => {
    const own = document.querySelector<HTMLMetaElement>("meta[name=sources]")?.content ?? "";
    const page = answerTo("/").then((answer) => answer.text());
    return page.then((text) => text.includes(own)).catch(() => true);
  },

  models: () => read<Offer>("/v1/models"),

  vocabulary: async (model: string) =>
    (
      await read<{ vocabulary: { names: string[] } | null }>(
        `/v1/models/${encodeURIComponent(model)}/vocabulary`,
      )
    ).vocabulary,

  identities: async () => (await read<{ data: KnownIdentity[] }>("/v1/identities")).data,

  /** Pictures on this server may need a token, which no `<img src>` sends. */
  picture: async (path: string) => come((await answerTo(path)).blob()),

  encode: (pictures: Blob[], masks: Blob[], name: string, model: string) =>
    upload<KnownIdentity>("/v1/identities", form({ image: pictures, mask: masks, name, model })),

  /** Send a photograph of a person, whose face alone is kept, or the file of an identity. */
  encodeWhole: (what: Sent, file: Blob, name: string, model: string) =>
    upload<KnownIdentity>("/v1/identities", form({ [what]: file, name, model })),

  rename: (id: string, name: string) =>
    read<KnownIdentity>(`/v1/identities/${id}`, { ...json({ name }), method: "PATCH" }),

  forget: (id: string) => answerTo(`/v1/identities/${id}`, { method: "DELETE" }),

  library: (query: string, limit: number, signal?: AbortSignal) =>
    read<Listing>(`/v1/library?${new URLSearchParams({ query, limit: `${limit}` })}`, { signal }),

  scenes: async () => (await read<{ data: SceneEntry[] }>("/v1/scenes")).data,

  keep: (picture: Blob) => upload<KeptPicture>("/v1/pictures", form({ image: picture })),

  /** Return a mask, white where a picture's subject is; `cutout` is "auto", a box or points. */
  cutOut: async (picture: Blob, cutout = "auto") => {
    const sent = form({ image: picture, cutout });
    return blobOf((await upload<{ mask_b64: string }>("/v1/cutouts", sent)).mask_b64, "image/png");
  },

  /** Return a mask and a box of each subject of a picture, from left to right. */
  cutOutAll: async (picture: Blob) => {
    const sent = form({ image: picture, cutout: "all" });
    const { subjects } = await upload<{ subjects: { mask_b64: string; box: Box }[] }>(
      "/v1/cutouts",
      sent,
    );
    return subjects.map(({ mask_b64, box }) => ({ mask: blobOf(mask_b64, "image/png"), box }));
  },

  /** Return what an edit by words may change, white in a picture. */
  region: async (picture: Blob, request: Record<string, unknown>) => {
    const sent = form({ ...fieldsOf(request), image: picture });
    return come((await answerTo("/v1/images/edits/region", sent)).blob());
  },

  draw: async (body: object, signal?: AbortSignal) =>
    drawnIn(await read<Images>("/v1/images/generations", json(body, signal))),

  /** Edit a picture as a live request says, whose pictures are sent along here. */
  edit: async (
    picture: Blob,
    mask: Blob | null,
    request: Record<string, unknown>,
    signal?: AbortSignal,
  ) => {
    const sent = { ...form({ ...fieldsOf(request), image: picture, mask }), signal };
    return drawnIn(await read<Images>("/v1/images/edits", sent));
  },
};

/** The fields of a form for a live request, whose pictures are sent along. */
function fieldsOf(request: Record<string, unknown>): Record<string, string> {
  const { type: _, picture_id: __, mask_id: ___, swiftpie, ...rest } = request;
  const texts = Object.entries(rest).map(([name, value]) => [name, String(value)]);
  return { ...Object.fromEntries(texts), swiftpie: JSON.stringify(swiftpie) };
}

export function blobOf(b64: string, type: string): Blob {
  const text = atob(b64);
  return new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))], { type });
}

export type Connection = "connecting" | "open" | "lost";

export interface LiveHandlers {
  connection(state: Connection, retryInS: number, why: string): void;
  picture(header: Header, file: Blob): void;
  problem(id: number | null, problem: Refused): void;
}

const BUSY_S = 1; // until a queue that was full is asked again
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 8_000;
const TOO_LONG = 1009; // a message, as the server says by closing
const ENDS: Readonly<Record<string, string>> = {
  rate_limit_exceeded: "too many requests a second",
};

/**
 * The WebSocket on which pictures come while somebody types.
 *
 * Only the newest request counts: the server drops those that wait, this end what comes too late.
 * A lost connection is opened again, sooner at first, and asks for the newest once more.
 */
export class Live {
  #socket: WebSocket | null = null;
  #newest: { id: number; request: object } | null = null;
  #number = 0;
  #seen = 0; // no picture with this number or a lower one is shown any more
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly handlers: LiveHandlers) {
    addEventListener("online", () => this.connect()); // the last one may be dead without a word
  }

  connect(): void {
    clearTimeout(this.#timer);
    this.#socket?.close();
    const token = kept.text;
    const protocols = token ? ["swiftpie", `swiftpie.token.${base64url(token)}`] : ["swiftpie"];
    const socket = new WebSocket(at("/v1/live").replace(/^http/, "ws"), protocols);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    this.handlers.connection("connecting", 0, "");
    socket.onopen = () => {
      this.#failures = 0;
      this.handlers.connection("open", 0, "");
      if (this.#newest) this.#send(this.#newest);
    };
    socket.onmessage = ({ data }) => this.#take(data as ArrayBuffer | string);
    socket.onclose = ({ code, reason }) => {
      if (socket !== this.#socket) return;
      if (code === TOO_LONG) this.#giveUp();
      this.#retry(code === TOO_LONG ? "" : (ENDS[reason] ?? reason));
    };
  }

  /** Ask for a picture; the number that is returned comes back with it. */
  ask(request: object): number {
    const newest = { id: ++this.#number, request };
    this.#newest = newest;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#send(newest);
    return newest.id;
  }

  /** Whatever still comes is of no interest. */
  forget(): void {
    this.#newest = null;
    this.#seen = this.#number;
  }

  #send({ id, request }: { id: number; request: object }): void {
    this.#socket?.send(JSON.stringify({ id, ...request }));
  }

  /** Ask no more for what no server takes. */
  #giveUp(): void {
    const { id } = this.#newest ?? { id: null };
    this.#newest = null;
    this.handlers.problem(id, new Refused("This is more than the server reads. Say less."));
  }

  #retry(why: string): void {
    this.#socket = null;
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures++);
    const waitMs = wait * (0.75 + Math.random() / 2); // so that many pages do not come back as one
    this.handlers.connection("lost", waitMs / 1000, why);
    this.#timer = setTimeout(() => this.connect(), waitMs);
  }

  #take(data: ArrayBuffer | string): void {
    if (typeof data === "string") {
      const told = JSON.parse(data) as { type: string; id: number | null; error?: ProblemBody };
      if (told.type !== "error" || !told.error) return;
      if (told.id !== null && told.id !== this.#number) return;
      const { message, param, code, word, near } = told.error;
      this.#newest = null;
      const retryS = code === "rate_limit_exceeded" ? BUSY_S : null;
      this.handlers.problem(told.id, new Refused(message, 0, param, code, retryS, word, near));
      return;
    }
    const length = new DataView(data).getUint32(0);
    const text = new TextDecoder().decode(new Uint8Array(data, 4, length));
    const header = JSON.parse(text) as Header;
    if (header.id <= this.#seen) return;
    this.#seen = header.id;
    if (this.#newest?.id === header.id) this.#newest = null;
    this.handlers.picture(
      header,
      new Blob([new Uint8Array(data, 4 + length)], { type: header.mime }),
    );
  }
}

function base64url(text: string): string {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
