/** The loop that draws: every change asks for a picture, and the newest that comes is shown. */

import { described } from "../box";
import type { Draft } from "../draft";
import { letGo, urlOf } from "../keeping";
import { blobOf, Live, Refused, server, type Connection, type Header } from "../server";
import type { Place } from "./notices.svelte";
import type { Studio } from "../studio.svelte";

const SETTLED_MS = 700; // after the last change, a draft is one to come back to
const FRAME_MS = 16; // changes sooner than this are one change
const LIVE_MS = 300; // a picture that takes longer is asked for at the end of a drag

export class Drawing {
  connection = $state<Connection>("connecting");
  isStarting = $state(false); // the server, whose model is not ready yet
  isWaiting = $state(false); // for room in the queue of the server
  isOld = $state(false); // the server was replaced, and has another page
  retryInS = $state(0);
  endedBy = $state(""); // why the server ended the connection, until the next change
  latencyMs = $state<number | null>(null);
  outageS = $state<number | null>(null); // for which the picture had to wait
  onsettled = (): void => undefined; // a picture was kept
  onforgotten = (_: "subject" | "picture"): void => undefined; // the server no longer knows one
  #live = new Live({
    connection: (state, retryInS, why) => this.#connected(state, retryInS, why),
    picture: (header, file) => void this.#took(header, file),
    problem: (id, problem) => (id === null || id === this.#asked) && this.#refused(problem),
  });
  #asked = 0; // the number of the newest request, 0 while the draft is newer
  #drafts = new Map<number, Draft>(); // by the number of their request
  #shownNumber = 0; // of the request whose picture is shown
  #isHeld = false; // a mouse or a finger is down
  #isDue = false; // a picture was not asked for because of that
  #frameMs = 0; // that the last picture took
  #changedAt = 0;
  #lostAt = 0; // when the server went away
  #backAt = 0;
  #awayS = 0;
  #sentAt = 0;
  #later: ReturnType<typeof setTimeout> | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly stores: Pick<Studio, "shelf" | "drafts" | "pictures" | "notices">) {}

  connect(): void {
    this.#live.connect();
  }

  /** Ask for the picture of a draft that has changed, and keep it when no more changes come. */
  begin(): void {
    this.endedBy = "";
    this.#changedAt = performance.now();
    this.soon();
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.settle(), SETTLED_MS);
  }

  soon(): void {
    clearTimeout(this.#later);
    this.#asked = 0;
    this.stores.pictures.isDrawing = this.stores.drafts.request(this.stores.drafts.draft) !== null;
    const since = performance.now() - this.#sentAt;
    if (since >= FRAME_MS) this.#ask();
    else this.#later = setTimeout(() => this.#ask(), FRAME_MS - since);
  }

  /** Ask for nothing, and take nothing that was asked for. */
  rest(): void {
    clearTimeout(this.#later);
    clearTimeout(this.#settling);
    this.#live.forget();
    this.#asked = 0;
    this.#isDue = false;
  }

  /** Wait with slow pictures until a drag ends. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    if (!isHeld && this.#isDue) this.#ask();
  }

  #ask(): void {
    this.#isDue = this.#isHeld && this.#frameMs > LIVE_MS;
    if (this.#isDue) return;
    this.#sentAt = performance.now();
    const { draft } = this.stores.drafts;
    const request = this.stores.drafts.request(draft);
    this.stores.pictures.isDrawing = request !== null;
    if (!request) return this.#live.forget();
    this.#asked = this.#live.ask({ ...request, output_format: "jpeg" });
    this.#drafts.set(this.#asked, draft);
  }

  /** Show a picture that came, unless a newer one is shown. */
  async #took(header: Header, file: Blob): Promise<void> {
    const { visit } = this.stores.pictures;
    const draft = this.#drafts.get(header.id) ?? this.stores.drafts.draft; // what it was asked for
    for (const id of this.#drafts.keys()) if (id <= header.id) this.#drafts.delete(id);
    const url = urlOf(file);
    const image = new Image();
    image.src = url;
    await image.decode(); // so that one picture follows the other without a gap
    if (visit !== this.stores.pictures.visit || header.id < this.#shownNumber) return letGo(url);
    this.#shownNumber = header.id;
    this.#frameMs = header.milliseconds;
    this.isWaiting = false;
    const isNewest = header.id === this.#asked;
    if (isNewest) {
      this.stores.pictures.isDrawing = false;
      const hasWaited = this.#backAt > this.#changedAt;
      this.outageS = hasWaited ? this.#awayS : null;
      this.latencyMs = hasWaited ? null : Math.round(performance.now() - this.#changedAt);
    }
    const mask = header.mask_b64 && urlOf(blobOf(header.mask_b64, "image/png"));
    const photo = mask ? (draft.photo?.id ?? null) : null;
    const { width, height, box, subjects_at: subjectsAt, follows_seed: followsSeed } = header;
    const [named, warnings] = [this.#namedIn(header, draft), [...new Set(header.warnings)]];
    const facts = { width, height, mask, photo, draft, box, subjectsAt, followsSeed };
    this.stores.pictures.show({ url, file, ...facts, named, warnings });
    if (isNewest) this.settle();
  }

  /** Return who is of the library besides those who were chosen, once a word. */
  #namedIn({ named }: Header, { placed, newcomer }: Draft) {
    const keys = [...placed.map((one) => one.key), newcomer];
    const chosen = keys.map((key) => this.stores.shelf.subject(key));
    return [...new Map(named.map((one) => [one.word, one])).values()].filter(
      ({ word }) => !chosen.some((one) => one?.isNamed && one.id === word),
    );
  }

  /** Keep a draft that no longer changes, with its picture. */
  settle(): void {
    const { draft } = this.stores.drafts;
    const { shown, isDrawing } = this.stores.pictures;
    const { missing, problems } = this.stores.notices;
    const isQuiet = performance.now() - this.#changedAt >= SETTLED_MS - FRAME_MS;
    if (!isQuiet || isDrawing || !shown || !this.stores.drafts.request(draft)) return;
    if (missing || problems.prompt || problems.picture) return; // it shows the last
    this.stores.pictures.keep();
    this.onsettled();
    const isProposed = draft.mode === "edit" && draft.task === "insert" && !draft.box && shown.box;
    const place = isProposed ? ` The place is proposed: ${described(isProposed)}.` : "";
    const named = shown.named.map((one) => ` “${one.word}” is the library's ${one.name}.`).join("");
    const caption = this.stores.drafts.caption(draft);
    this.stores.notices.said = `Picture ready: ${caption}, seed ${draft.seed}.${place}${named}`;
  }

  #connected(state: Connection, retryInS: number, why: string): void {
    const was = this.connection;
    this.endedBy = why || this.endedBy;
    this.connection = state;
    this.retryInS = Math.max(1, Math.round(retryInS));
    const now = performance.now();
    if (state === "lost" && was === "open") {
      this.#lostAt = now;
      this.stores.notices.said = "The connection is lost. Trying again.";
    }
    if (state === "open" && this.#lostAt > this.#backAt) {
      this.#awayS = (now - this.#lostAt) / 1000;
      this.#backAt = now;
    }
    if (state === "lost") void this.#checkToken();
    if (state === "open") void server.hasThisPage().then((isSame) => (this.isOld = !isSame));
    if (state === "open" && was !== "open" && this.stores.drafts.draft.placed.length) this.soon();
  }

  /** A browser does not tell why a live connection was refused; any other request does. */
  async #checkToken(): Promise<void> {
    const ask = (error: Refused) => error.status === 401 && this.stores.notices.askForToken();
    await server.models().catch(ask);
  }

  #refused(problem: Refused): void {
    // Until it was asked for again the picture is on its way: the one that is shown is of another draft.
    if (problem.code === "identity_not_found") return this.onforgotten("subject");
    if (problem.param === "picture_id") return this.onforgotten("picture");
    this.isWaiting = problem.retryAfterS !== null;
    if (problem.retryAfterS) {
      this.#later = setTimeout(() => this.#ask(), problem.retryAfterS * 1000);
      return;
    }
    this.stores.pictures.isDrawing = false;
    if (problem.code === "subject_not_named") {
      this.stores.notices.missing = { word: problem.word, near: [...problem.near] };
      return;
    }
    const { mode, task } = this.stores.drafts.draft;
    const place = placeOf(problem);
    const isOfWords = mode === "edit" && task === "edit" && place === "picture";
    this.stores.notices.fail(isOfWords ? "prompt" : place, problem.message);
  }
}

function placeOf({ param, code }: Refused): Place {
  if (param === "prompt") return "prompt";
  const isOfMask = ["mask", "mask_id"].includes(param ?? "");
  if (isOfMask || code === "subject_not_found") return "mask";
  if (param === "identity_id" || param === "swiftpie.subjects") return "subject";
  return param?.startsWith("swiftpie") ? "settings" : "picture";
}
