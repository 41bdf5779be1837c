/** What a browser has and Node lacks, as far as the stores need it, and a server that answers from a table. */

import { vi } from "vitest";

const BASE = "http://127.0.0.1/";

/** A live connection whose other end is the test. */
export class Socket {
  static readonly OPEN = 1;
  static newest: Socket;
  readonly sent: { id: number; prompt: string }[] = [];
  readyState = 0;
  onopen = (): void => undefined;
  onmessage = (_: { data: ArrayBuffer }): void => undefined;

  constructor() {
    Socket.newest = this;
  }

  open(): void {
    this.readyState = Socket.OPEN;
    this.onopen();
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  /** Send a picture, as the server does: the length of a header, the header, the picture. */
  answer(header: object): void {
    const facts = { seed: 1, width: 64, height: 64, mime: "image/jpeg", milliseconds: 9 };
    const more = { warnings: [], box: null, named: [], follows_seed: true, mask_b64: null };
    const text = new TextEncoder().encode(JSON.stringify({ ...facts, ...more, ...header }));
    const data = new Uint8Array(4 + text.length + 1);
    new DataView(data.buffer).setUint32(0, text.length);
    data.set(text, 4);
    this.onmessage({ data: data.buffer });
  }

  close(): void {}
}

const model = { id: "mini", swiftpie: { image_size_px: 64, defaults: {} } };
const capabilities = ["layout", "edit", "personalize"];
const words = { words: ["a", "on", "beach"], names: ["dog", "backpack"], looks: [] };
const places = [
  "on a beach",
  "in a park",
  "on a park bench",
  "under water",
  "in front of a castle",
].map((phrase) => ({ name: phrase.split(" ").at(-1), phrase, picture: "/v1/scenes/one/picture" }));
const limits = { subjects: 4, view: [60, 30] };
const picture = { types: ["image/png"], bytes: 1e7, pixels: 1e7, side_px: 4096, kept_px: 768 };
let made = 0;

const ANSWERS: [RegExp, (body: unknown) => unknown][] = [
  [/models\/mini\/vocabulary/, () => ({ vocabulary: words })],
  [
    /v1\/models/,
    () => ({
      data: [{ ...model, swiftpie: { ...model.swiftpie, capabilities } }],
      options: {},
      choices: {},
      limits: { ...limits, picture },
    }),
  ],
  [/thumbnail|samples|photos|\/file|\.(jpg|webp)/, () => new Response("picture")],
  [/identities\/\w+/, () => ({})],
  [/identities/, (body) => (body ? identity(body as FormData) : { data: [] })],
  [/pictures/, () => ({ id: `pic_${++made}`, width: 64, height: 64, origin: {} })],
  [/scenes/, () => ({ data: places })],
  [/generations/, () => ({ data: [{ b64_json: btoa("picture") }], swiftpie: { seeds: [++made] } })],
  [/library.*query=backpack/, () => ({ data: [], total: 1, meant: "backpack" })],
  [/library/, () => ({ data: [], total: 0, meant: null })],
  [/./, () => ({})],
];

function identity(body: FormData): object {
  const id = `id${++made}`;
  const facts = { model: "mini", is_face: false, num_pictures: 1, warnings: [], pictures: [] };
  return { id, name: body.get("name"), thumbnail: `/v1/identities/${id}/thumbnail`, ...facts };
}

interface Held {
  begun: Promise<void>; // a request waits
  release: () => void;
}

const held = new Map<string, { begin: () => void; wait: Promise<void> }>();

/** Let requests for a path wait until they are released. */
export function hold(path: string): Held {
  let [begin, release] = [() => {}, () => {}];
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const wait = new Promise<void>((resolve) => (release = resolve));
  held.set(path, { begin, wait });
  return {
    begun,
    release: () => {
      held.delete(path);
      release();
    },
  };
}

async function answer(url: string, { body }: RequestInit = {}): Promise<Response> {
  for (const [path, { begin, wait }] of held) {
    if (!url.includes(path)) continue;
    begin();
    await wait;
  }
  const [, make] = ANSWERS.find(([pattern]) => pattern.test(url))!;
  const value = make(body);
  return value instanceof Response ? value : Response.json(value);
}

vi.stubGlobal("document", { baseURI: BASE, querySelector: () => null });
vi.stubGlobal("location", { hash: "" });
vi.stubGlobal("addEventListener", () => undefined);
vi.stubGlobal("indexedDB", {
  open: () => {
    const asked = { error: new Error("nothing is kept"), onerror: () => undefined };
    queueMicrotask(() => asked.onerror());
    return asked;
  },
});
vi.stubGlobal("WebSocket", Socket);
vi.stubGlobal("fetch", answer);
vi.stubGlobal("createImageBitmap", async () => ({ width: 64, height: 64, close: () => undefined }));
vi.stubGlobal(
  "Image",
  class {
    src = "";
    decode = async () => undefined;
  },
);
