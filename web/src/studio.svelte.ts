/** What the page is about: one draft, its picture, its history, and the subjects to choose from. */

import { described } from "./box";
import { canPlace, FIRST, followsSeed, placesIn, requestOf } from "./draft";
import type { Draft, Photo, Placed, Source, Subject, Task } from "./draft";
import { article, joined, nameOf, names, renamed, without } from "./naming";
import { sizeWithin, smaller } from "./painting";
import { blobOf, hasToken, Live, Refused, server, setToken } from "./server";
import type {
  Box,
  Connection,
  Drawn,
  Entry,
  Header,
  KeptPicture,
  Listing,
  Model,
  Named,
  Offer,
  Origin,
} from "./server";
import { fileOf, remember, SAMPLES, samplesMet, type Sample } from "./samples";
import { Vocabulary } from "./vocabulary";

export const NUM_SEEDS = 6;
const SETTLED_MS = 700; // after the last change, a draft is one to come back to
const USUAL_VARIATION = 0.5; // of an edit whose noise was all found, once somebody asks for others
const LARGER = 2; // a scene has more detail than the page shows while one types
const FRAME_MS = 16; // changes sooner than this are one change
const LIVE_MS = 300; // a picture that takes longer is asked for when whoever drags lets go
const COPY_PX = 768; // of a photo's longer side, while it is worked on
const MAX_HISTORY = 60;
const ABOUT_WORDS = /was never taught/;
const NOTHING_YET = { mask: null, box: null, yaw: null, pitch: null } as const; // in a new photo
const LEFT: Box = [0.04, 0.4, 0.48, 0.84]; // square, as what the encoder sees
const RIGHT: Box = [0.52, 0.4, 0.96, 0.84];

export interface Shown {
  url: string;
  file: Blob;
  width: number;
  height: number;
  mask: string | null; // URL of what an edit could change
  photo: string | null; // id of what was edited
  task: Task; // that was done to it
  box: Box | null; // where a subject was put into it
  named: readonly Named[]; // who is of the library, besides those who were chosen
  warnings: readonly string[];
}

export interface Moment {
  draft: Draft;
  shown: Shown;
}

export type Place = "subject" | "prompt" | "picture" | "settings" | "seeds" | "mask";

/** A picture that was dropped and says what made it. */
export interface Found {
  file: Blob;
  url: string;
  origin: Origin;
}

/** Pictures whose cut-outs somebody looks at; of a subject, or of what shall become one. */
export interface Correcting {
  key: number | null;
  name: string;
  sources: readonly Source[];
}

class Studio {
  draft = $state.raw<Draft>(FIRST);
  shown = $state.raw<Shown | null>(null);
  subjects = $state.raw<readonly Subject[]>([]);
  active = $state(0); // index into draft.placed
  models = $state.raw<readonly Model[]>([]);
  options = $state.raw<Offer["options"]>({});
  limits = $state.raw<Offer["limits"]>({ subjects: 1, view: [0, 0] }); // until the server says
  model = $state("");
  vocabulary = $state.raw<Vocabulary | null>(null);
  connection = $state<Connection>("connecting");
  isStarting = $state(false); // the server, whose model is not ready yet
  retryInS = $state(0);
  latencyMs = $state<number | null>(null);
  isDrawing = $state(false);
  isBusy = $state<string | null>(null); // what is being done with a picture that was given
  needsToken = $state(false);
  tokenProblem = $state("");
  problems = $state<Partial<Record<Place, string>>>({});
  nobody = $state.raw<Pick<Named, "word" | "near"> | null>(null); // whom a prompt names
  seeds = $state.raw<readonly { seed: number; url: string }[]>([]);
  seedsAreDue = $state(true); // those that are shown are of another draft
  history = $state.raw<readonly Moment[]>([]);
  at = $state(-1);
  found = $state.raw<Found | null>(null);
  several = $state.raw<readonly File[]>([]); // pictures of which nobody has said what they show
  correcting = $state.raw<Correcting | null>(null);
  doubtful = $state.raw<Correcting | null>(null); // whose cut-out failed, or may be bad
  visit = $state(0); // counts returns to a moment of the history; what was asked before is void
  said = $state(""); // to whoever listens instead of looking

  #live = new Live({
    connection: (state, retryInS) => this.#connected(state, retryInS),
    picture: (header, file) => void this.#took(header, file),
    problem: (_, problem) => this.#refused(problem),
  });
  #asked = 0;
  #isHeld = false; // a mouse or a finger is down
  #isDue = false; // a picture was not asked for because of that
  #frameMs = 0; // that the last picture took
  #changedAt = 0;
  #sentAt = 0;
  #later: ReturnType<typeof setTimeout> | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;
  #strip: AbortController | null = null;
  #stripOf = ""; // what was asked for last
  #stripShown = "";
  #lastKey = 0;
  #isReviving = false;
  #sprites = new Map<string, Promise<string>>(); // URLs of pictures of the library

  get facts(): Model["swiftpie"] | null {
    return this.models.find((one) => one.id === this.model)?.swiftpie ?? null;
  }

  get canPlace(): boolean {
    return canPlace(this.facts);
  }

  /** Whether words can change a picture; subjects come and go with any model. */
  get canEdit(): boolean {
    return this.facts?.capabilities.includes("edit") ?? false;
  }

  /** The words of the prompt that the model does not know. */
  get unknown(): string[] {
    const { mode, prompt, change, source, newcomer } = this.draft;
    if (!this.vocabulary) return [];
    if (mode === "draw") return this.vocabulary.unknownIn(prompt);
    const shown = newcomer === null ? (source.toLowerCase().match(/[\p{L}'-]+/gu) ?? []) : null;
    return this.vocabulary.unknownIn(change, shown);
  }

  subject(key: number | null): Subject | undefined {
    return this.subjects.find((one) => one.key === key);
  }

  // Coming and going

  /** Ask the server what it has, and draw the first picture. */
  async open(): Promise<void> {
    try {
      const offer = await server.models();
      this.models = offer.data;
      this.options = offer.options;
      this.limits = offer.limits;
      this.needsToken = false;
      while (!(await server.isReady())) {
        this.isStarting = true;
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
      this.isStarting = false;
      this.#live.connect();
      if (this.draft.prompt) return; // a token was asked for while somebody was at work
      await this.#choose(this.models[0]!.id);
      await this.#list();
      await this.#begin();
    } catch (error) {
      this.isStarting = false;
      if (error instanceof Refused && error.status === 401) this.#askForToken();
      else if (error instanceof Refused && error.status === 0) {
        this.connection = "lost";
        this.retryInS = 2;
        setTimeout(() => void this.open(), 2_000);
      } else this.#tell("picture", error);
    }
  }

  #askForToken(): void {
    if (hasToken()) this.tokenProblem = "The server does not know this token.";
    this.needsToken = true;
  }

  async logIn(token: string): Promise<void> {
    this.tokenProblem = "";
    try {
      setToken(token);
    } catch (error) {
      this.tokenProblem = (error as Refused).message;
      return;
    }
    await this.open();
  }

  async #choose(model: string): Promise<void> {
    this.model = model;
    this.vocabulary = null;
    const defaults = this.facts?.defaults ?? {};
    this.draft = {
      ...this.draft,
      identity: defaults["identity_scale"] ?? FIRST.identity,
      detail: defaults["detail_scale"] ?? FIRST.detail,
      textScale: defaults["edit_text_scale"] ?? FIRST.textScale,
      ...(!this.canEdit && this.draft.task === "edit" && { task: "insert" }),
    };
    const words = await server.vocabulary(model);
    if (model === this.model && words) this.vocabulary = new Vocabulary(words);
  }

  /** Go on with another model, which has to look at the subjects itself. */
  async switchTo(model: string): Promise<void> {
    await this.#doing("subject", `Getting ${model} ready`, async () => {
      await this.#choose(model);
      await this.#encodeAgain(this.subjects);
      this.set({});
    });
  }

  async #list(): Promise<void> {
    const known = (await server.identities()).filter((one) => one.model === this.model);
    const samples = samplesMet();
    this.subjects = await Promise.all(
      known.map(async (one) => ({
        key: ++this.#lastKey,
        id: one.id,
        isNamed: false,
        name: one.name,
        thumbnail: URL.createObjectURL(await server.picture(one.thumbnail)),
        numPictures: one.num_pictures,
        warnings: one.warnings,
        sources: [],
        kept: one.pictures,
        sample: samples[one.id] ?? null,
      })),
    );
  }

  async #begin(): Promise<void> {
    this.draft = { ...this.draft, prompt: "a photo of a hamster on a beach" };
    const key = await this.meet(SAMPLES[0]!);
    if (key !== undefined) this.use(key);
    this.draft = { ...this.draft, isOffered: true };
  }

  // The draft

  /** Change the draft, and ask for its picture. */
  set(part: Partial<Draft>): void {
    const next = { ...this.draft, ...part };
    // Whom the prompt names comes before a sample that nobody chose.
    this.draft = part.prompt && this.#namesAnother(next) ? { ...next, placed: [] } : next;
    this.problems = {};
    this.nobody = null;
    this.seedsAreDue ||= Object.keys(part).some((name) => name !== "seed");
    this.#changedAt = performance.now();
    this.#soon();
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#settle(), SETTLED_MS);
  }

  #namesAnother({ isOffered, placed, prompt }: Draft): boolean {
    const sample = this.subject(placed[0]?.key ?? null)?.name ?? "";
    const isNamed = this.vocabulary?.namesSubject(prompt) ?? false;
    return isOffered && placed.length === 1 && !names(prompt, sample) && isNamed;
  }

  #soon(): void {
    clearTimeout(this.#later);
    this.isDrawing = this.request(this.draft) !== null;
    const since = performance.now() - this.#sentAt;
    if (since >= FRAME_MS) this.#ask();
    else this.#later = setTimeout(() => this.#ask(), FRAME_MS - since);
  }

  /** Wait with slow pictures until whoever drags something lets go. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    if (!isHeld && this.#isDue) this.#ask();
  }

  #ask(): void {
    this.#isDue = this.#isHeld && this.#frameMs > LIVE_MS;
    if (this.#isDue) return;
    this.#sentAt = performance.now();
    const request = this.request(this.draft);
    if (request) this.#asked = this.#live.ask({ ...request, output_format: "jpeg" });
    else this.#live.forget();
  }

  /** Return what a draft asks of the server, null where something is still missing. */
  request(draft: Draft): Record<string, unknown> | null {
    const { model, facts, subjects } = this;
    return requestOf(draft, { model, facts, subjects, drawsNamed: this.vocabulary !== null });
  }

  async #took(header: Header, file: Blob): Promise<void> {
    const visit = this.visit;
    const url = URL.createObjectURL(file);
    const image = new Image();
    image.src = url;
    await image.decode(); // so that one picture follows the other without a gap
    if (visit !== this.visit) {
      URL.revokeObjectURL(url);
      return;
    }
    this.#frameMs = header.milliseconds;
    const isNewest = header.id === this.#asked;
    if (isNewest) {
      this.isDrawing = false;
      this.latencyMs = Math.round(performance.now() - this.#changedAt);
    }
    const mask = header.mask_b64 && URL.createObjectURL(blobOf(header.mask_b64, "image/png"));
    const photo = mask ? (this.draft.photo?.id ?? null) : null;
    // What it says of words is marked where they are typed.
    const warnings = header.warnings.filter((one) => !this.vocabulary || !ABOUT_WORDS.test(one));
    const { width, height, box } = header;
    const { task, placed, newcomer } = this.draft;
    const chosen = [...placed.map((one) => one.key), newcomer].map((key) => this.subject(key));
    const named = header.named.filter(
      ({ word }) => !chosen.some((one) => one?.isNamed && one.id === word),
    );
    this.#show({ url, file, width, height, mask, photo, task, box, named, warnings });
    if (isNewest) this.#settle();
  }

  #show(next: Shown): void {
    const last = this.shown;
    this.shown = next;
    if (last && !this.history.some((moment) => moment.shown === last)) release(last);
  }

  /** Keep a draft that nobody changes any more, with its picture. */
  #settle(): void {
    const isQuiet = performance.now() - this.#changedAt >= SETTLED_MS - FRAME_MS;
    if (!isQuiet || this.isDrawing || !this.shown || !this.request(this.draft)) return;
    if (this.nobody || this.problems.prompt || this.problems.picture) return; // it shows the last
    this.#keep();
    void this.#drawSeeds();
    const { draft, shown } = this;
    const isProposed = draft.mode === "edit" && draft.task === "insert" && !draft.box && shown.box;
    const place = isProposed ? ` The place is proposed: ${described(isProposed)}.` : "";
    const named = shown.named.map((one) => ` “${one.word}” is the library's ${one.name}.`).join("");
    this.said = `Picture ready: ${this.caption(draft)}, seed ${draft.seed}.${place}${named}`;
  }

  /** Say what a draft shows. */
  caption({ mode, prompt, task, change, newcomer }: Draft): string {
    if (mode === "draw") return prompt;
    if (task === "edit") return change;
    const name = this.subject(newcomer)?.name ?? "subject";
    const who = `${article(name)} ${name}`;
    if (task === "insert") return `${who} in the photograph`;
    return task === "remove" ? "the photograph without it" : `${who} in its place`;
  }

  #keep(): void {
    const { draft, shown } = this;
    if (!shown || this.isDrawing || !this.request(draft)) return;
    const last = this.history[this.at];
    if (last?.draft === draft) return;
    const moment = { draft, shown };
    if (last && this.#asks(last.draft) === this.#asks(draft)) {
      this.history = this.history.map((one) => (one === last ? moment : one)); // as it was before
      if (last.shown !== shown) release(last.shown);
      return;
    }
    const kept = [...this.history.slice(0, this.at + 1), moment];
    for (const gone of this.history) {
      if (!kept.slice(-MAX_HISTORY).includes(gone) && gone.shown !== shown) release(gone.shown);
    }
    this.history = kept.slice(-MAX_HISTORY);
    this.at = this.history.length - 1;
  }

  #asks(draft: Draft): string {
    return JSON.stringify(this.request(draft));
  }

  get canUndo(): boolean {
    return this.at > 0 || (this.at === 0 && this.history[0]!.draft !== this.draft);
  }

  get canRedo(): boolean {
    return this.at < this.history.length - 1;
  }

  undo(): void {
    this.#keep();
    if (this.history[this.at]?.draft !== this.draft) this.goTo(this.at);
    else if (this.at > 0) this.goTo(this.at - 1);
  }

  redo(): void {
    if (this.canRedo) this.goTo(this.at + 1);
  }

  /** Return to a moment of the history, whose picture is still here. */
  goTo(index: number): void {
    const moment = this.history[index];
    if (!moment) return;
    clearTimeout(this.#later);
    clearTimeout(this.#settling);
    this.#live.forget();
    this.visit++;
    this.#isDue = false;
    this.isDrawing = false;
    this.problems = {};
    this.nobody = null;
    this.at = index;
    this.draft = moment.draft;
    this.#show(moment.shown);
    this.active = Math.min(this.active, Math.max(0, this.draft.placed.length - 1));
    void this.#drawSeeds();
    this.said = `Step ${index + 1} of ${this.history.length}.`;
  }

  // Seeds

  async #drawSeeds(): Promise<void> {
    const { draft } = this;
    const request = this.request({ ...draft, variation: draft.variation || USUAL_VARIATION });
    if (!request) return;
    const { type, seed, ...rest } = request;
    const what = JSON.stringify([type, rest, draft.firstSeed]);
    this.seedsAreDue = what !== this.#stripShown;
    if (what === this.#stripOf) return;
    this.#strip?.abort();
    this.#strip = new AbortController();
    this.#stripOf = what;
    try {
      const body = { ...rest, seed: draft.firstSeed, n: NUM_SEEDS, output_format: "jpeg" };
      const { signal } = this.#strip;
      const drawn = await (type === "draw"
        ? server.draw(body, signal)
        : this.#edited(draft, draft.photo!.copy, body, signal));
      for (const one of this.seeds) URL.revokeObjectURL(one.url);
      this.seeds = drawn.map((one) => ({
        seed: one.seed,
        url: URL.createObjectURL(blobOf(one.b64, "image/jpeg")),
      }));
      this.#stripShown = what;
      this.seedsAreDue = false;
    } catch (error) {
      if (error instanceof DOMException) return; // a newer strip is on its way
      this.#stripOf = "";
      if (error instanceof Refused && error.code === "identity_not_found") void this.#revive();
      else if (error instanceof Refused && error.retryAfterS) {
        setTimeout(() => void this.#drawSeeds(), error.retryAfterS * 1000);
      } else this.#tell("seeds", error);
    }
  }

  /** Return pictures that are asked for with the photo itself, as live ones are by its name. */
  #edited(draft: Draft, photo: Blob, body: Record<string, unknown>, signal?: AbortSignal) {
    const mask = "mask_id" in body ? draft.mask!.file : null;
    return server.edit(photo, mask, body, signal);
  }

  /** Draw with another seed; an edit by words takes some of its noise from it. */
  vary(seed: number): void {
    this.set(followsSeed(this.draft) ? { seed } : { seed, variation: USUAL_VARIATION });
  }

  moreSeeds(): void {
    const firstSeed = this.draft.firstSeed + NUM_SEEDS;
    this.set({ firstSeed });
    this.vary(firstSeed);
  }

  // Subjects

  /** Take pictures that were dropped, pasted, chosen or photographed. */
  async take(files: readonly File[], isSubject = this.draft.mode === "draw"): Promise<void> {
    const pictures = files.filter((one) => one.type.startsWith("image/"));
    if (!pictures.length) {
      if (files.length) {
        const kind = files[0]!.type || "of an unknown kind";
        this.#fail("subject", `“${files[0]!.name}” is ${kind}. A picture is needed.`);
      }
      return;
    }
    if (!isSubject) await this.openPhoto(pictures[0]!);
    else if (pictures.length > 1) this.several = pictures;
    else await this.#lookAt(pictures[0]!);
  }

  async #lookAt(file: File): Promise<void> {
    await this.#doing("subject", "Looking at the picture", async () => {
      const { origin } = await server.keep(file);
      if (origin["prompt"]) this.found = { file, url: URL.createObjectURL(file), origin };
      else await this.#addSubject([file], nameOf(file.name));
    });
  }

  /** Say what made a picture, or that it does not tell. */
  async lookUp(file: File): Promise<void> {
    await this.#doing("picture", "Looking at the picture", async () => {
      const { origin } = await server.keep(file);
      if (!origin["prompt"]) {
        this.#fail("picture", "This picture does not say what made it.");
        return;
      }
      this.found = { file, url: URL.createObjectURL(file), origin };
    });
  }

  /** Take the pictures that were waiting, as one subject or as one each. */
  async resolveSeveral(asOne: boolean): Promise<void> {
    const files = this.several;
    this.several = [];
    await this.#doing("subject", "Looking at the pictures", async () => {
      if (asOne) await this.#addSubject(files, nameOf(files[0]!.name));
      else {
        for (const file of files) await this.#addSubject([file], nameOf(file.name));
      }
    });
  }

  async useFoundAs(use: "settings" | "subject" | "photo"): Promise<void> {
    const found = this.found;
    this.closeFound();
    if (!found) return;
    if (use === "settings") this.#restore(found.origin);
    else if (use === "photo") {
      this.set({ mode: "edit" });
      await this.openPhoto(found.file);
    } else {
      await this.#doing("subject", "Looking at the picture", () =>
        this.#addSubject([found.file], "object"),
      );
    }
  }

  closeFound(): void {
    if (this.found) URL.revokeObjectURL(this.found.url);
    this.found = null;
  }

  #restore(origin: Origin): void {
    const number = (name: string, usual: number) => {
      const value = Number(origin[name] ?? Number.NaN);
      return Number.isFinite(value) ? value : usual;
    };
    const { draft } = this;
    const seed = Math.max(0, Math.round(number("seed", draft.seed)));
    const boxes = placesIn(origin["subjects"]);
    this.set({
      mode: "draw",
      prompt: origin["prompt"] ?? draft.prompt,
      seed,
      firstSeed: seed,
      identity: number("identity_scale", draft.identity),
      detail: number("detail_scale", draft.detail),
      balance: number("balance", 0),
      placed: draft.placed.map((one, i) => ({ ...one, ...boxes[i] })),
    });
    const preset = origin["preset"];
    if (preset && preset !== this.model && this.models.some((one) => one.id === preset)) {
      void this.switchTo(preset);
    }
  }

  async #addSubject(files: readonly Blob[], name: string): Promise<void> {
    const sources = files.map((file) => ({ file, mask: null }));
    try {
      await this.addCut(sources, name);
    } catch (error) {
      if (!(error instanceof Refused && error.code === "subject_not_found")) throw error;
      this.doubtful = { key: null, name, sources };
    }
  }

  /** Add a subject to the shelf, and to the picture. */
  async addCut(sources: readonly Source[], name: string): Promise<void> {
    const subject = await this.#encode(++this.#lastKey, sources, name, null);
    this.subjects = [...this.subjects, subject];
    this.use(subject.key);
    if (subject.warnings.length) this.doubtful = subject;
  }

  /** Open the cut-out for correction. */
  correct(what: Correcting): void {
    this.doubtful = null;
    this.correcting = what;
  }

  async #encode(
    key: number,
    sources: readonly Source[],
    name: string,
    sample: Sample | null,
  ): Promise<Subject> {
    const masks = sources.some((one) => one.mask)
      ? await Promise.all(sources.map(({ file, mask }) => mask ?? server.cutOut(file)))
      : [];
    const files = sources.map((one) => one.file);
    const known = await server.encode(files, masks, name, this.model);
    if (sample) remember(known.id, sample);
    return {
      key,
      id: known.id,
      isNamed: false,
      name,
      thumbnail: URL.createObjectURL(await server.picture(known.thumbnail)),
      numPictures: known.num_pictures,
      warnings: known.warnings,
      sources,
      kept: known.pictures,
      sample,
    };
  }

  /** Return the pictures of a subject; those of an earlier visit are with the server. */
  async sourcesOf(key: number): Promise<readonly Source[]> {
    const subject = this.subject(key)!;
    if (subject.sources.length) return subject.sources;
    const sources = await Promise.all(
      subject.kept.map(async ({ source, mask }) => ({
        file: await server.picture(source),
        mask: mask === null ? null : await server.picture(mask),
      })),
    );
    this.#put({ ...subject, sources });
    return sources;
  }

  /** Put a subject in the place of the one with its key. */
  #put(next: Subject): void {
    this.subjects = this.subjects.map((one) => (one.key === next.key ? next : one));
  }

  /** Call a subject otherwise, in the prompt too. */
  async rename(key: number, name: string): Promise<void> {
    const old = this.subject(key)!;
    await server.rename(old.id, name);
    this.#put({ ...old, name });
    this.set({ prompt: renamed(this.draft.prompt, old.name, name) });
  }

  /** Encode a subject again, of other pictures or with other cut-outs. */
  async recut(key: number, sources: readonly Source[], name: string): Promise<void> {
    const old = this.subject(key);
    if (!old) return;
    this.#put(await this.#encode(key, sources, name, null));
    URL.revokeObjectURL(old.thumbnail);
    const { prompt } = this.draft;
    this.set({ prompt: name === old.name ? prompt : renamed(prompt, old.name, name) });
    await server.forget(old.id).catch(() => undefined); // it may have fallen off the shelf
  }

  /** Return the subject that a sample or an entry of the library has become, if it was wanted. */
  known(offered: Sample | Entry): Subject | undefined {
    return this.subjects.find((one) =>
      "words" in offered ? one.isNamed && one.id === offered.name : one.sample === offered,
    );
  }

  /** Return the key of a sample, which is encoded when it is first wanted, or of an entry. */
  async meet(offered: Sample | Entry): Promise<number | undefined> {
    if (!this.known(offered)) {
      await this.#doing("subject", `Looking at the ${offered.name}`, async () => {
        const subject =
          "words" in offered ? await this.#fetched(offered) : await this.#encoded(offered);
        this.subjects = [...this.subjects, subject];
      });
    }
    return this.known(offered)?.key;
  }

  async #encoded(sample: Sample): Promise<Subject> {
    const sources = [{ file: await fileOf(sample), mask: null }];
    return this.#encode(++this.#lastKey, sources, sample.name, sample);
  }

  async #fetched(entry: Entry): Promise<Subject> {
    const { name } = entry;
    const thumbnail = await this.sprite(entry);
    const facts = { numPictures: 1, warnings: [], sources: [], kept: [], sample: null };
    return { key: ++this.#lastKey, id: name, isNamed: true, name, thumbnail, ...facts };
  }

  /** Return the picture of an entry of the library, fetched once. */
  sprite({ picture }: Entry): Promise<string> {
    const known = this.#sprites.get(picture);
    if (known) return known;
    const url = server.picture(picture).then((blob) => URL.createObjectURL(blob));
    this.#sprites.set(picture, url);
    url.catch(() => this.#sprites.delete(picture)); // it may come next time
    return url;
  }

  /** Return whom of the library a query finds; null if nobody waits for it any more. */
  async search(query: string, limit: number, signal?: AbortSignal): Promise<Listing | null> {
    try {
      return await server.library(query, limit, signal);
    } catch (error) {
      if (!(error instanceof DOMException)) this.#tell("subject", error);
      return null;
    }
  }

  /** Put another name into what is said of the picture. */
  callOtherwise(word: string, name: string): void {
    const { mode, prompt, change } = this.draft;
    if (mode === "draw") this.set({ prompt: renamed(prompt, word, name) });
    else this.set({ change: renamed(change, word, name) });
  }

  /** Draw this subject in place of the active one. */
  use(key: number): void {
    const { draft } = this;
    const next = this.subject(key)!;
    if (draft.mode === "edit") {
      this.#invite(key);
      return;
    }
    const there = draft.placed.findIndex((one) => one.key === key);
    if (there >= 0) {
      this.active = there;
      return;
    }
    const old = draft.placed[this.active];
    const last = old ? this.subject(old.key)?.name : this.shown?.named[0]?.word;
    const placed = old
      ? draft.placed.map((one) => (one === old ? { ...one, key, yaw: null } : one))
      : [{ key, box: null, yaw: null }];
    const prompt = last ? renamed(draft.prompt, last, next.name) : draft.prompt;
    this.set({ placed, prompt, isOffered: false });
  }

  /** Put this subject into the photo; where something goes already, in its place. */
  #invite(key: number): void {
    const { task, newcomer } = this.draft;
    const isThere = newcomer === key && task !== "remove";
    if (isThere && task === "edit") this.set({ newcomer: null });
    else if (!isThere) {
      const next = task === "remove" ? "replace" : task;
      this.set({ task: next, newcomer: key, yaw: null, pitch: null });
    }
  }

  /** Draw this subject beside those that are there. */
  add(key: number): void {
    const { draft } = this;
    if (draft.placed.length >= this.limits.subjects || draft.placed.some((one) => one.key === key))
      return;
    const last = this.subject(draft.placed.at(-1)?.key ?? null);
    const next = this.subject(key)!;
    let placed = [...draft.placed, { key, box: null as Box | null, yaw: null }];
    if (placed.length === 2 && placed.every((one) => !one.box)) {
      placed = placed.map((one, i) => ({ ...one, box: i ? RIGHT : LEFT }));
    } else if (placed.some((one) => one.box)) {
      placed = placed.map((one) => ({ ...one, box: one.box ?? [0.3, 0.3, 0.7, 0.7] }));
    }
    this.active = placed.length - 1;
    // Who is named already, and was drawn from the library until now, is not named twice.
    const others = draft.placed.map((one) => this.subject(one.key)?.name);
    const isSaid = names(draft.prompt, next.name) && !others.includes(next.name);
    const prompt = last && !isSaid ? joined(draft.prompt, last.name, next.name) : draft.prompt;
    this.set({ placed, prompt, isOffered: false });
  }

  /** Leave a subject out of the picture; it stays on the shelf. */
  leaveOut(index: number): void {
    const { draft } = this;
    const name = this.subject(draft.placed[index]?.key ?? null)?.name ?? "";
    let placed = draft.placed.filter((_, i) => i !== index);
    if (placed.length === 1) placed = placed.map((one) => ({ ...one, box: null }));
    this.active = Math.max(0, Math.min(this.active, placed.length - 1));
    this.set({ placed, prompt: placed.length ? without(draft.prompt, name) : draft.prompt });
  }

  place(index: number, part: Partial<Placed>): void {
    const placed = this.draft.placed.map((one, i) => (i === index ? { ...one, ...part } : one));
    this.set({ placed });
  }

  async remove(key: number): Promise<void> {
    const subject = this.subject(key);
    if (!subject) return;
    const index = this.draft.placed.findIndex((one) => one.key === key);
    if (index >= 0) this.leaveOut(index);
    if (this.draft.newcomer === key) this.set({ newcomer: null });
    this.subjects = this.subjects.filter((one) => one.key !== key);
    try {
      await server.forget(subject.id);
      this.said = `${subject.name} was deleted.`;
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) this.#tell("subject", error);
    }
  }

  // Editing

  async openPhoto(file: Blob): Promise<void> {
    await this.#doing("picture", "Opening the picture", async () => {
      const kept = await server.keep(file);
      const { prompt = "", task } = kept.origin;
      const source = task ? "" : prompt; // of the subject alone that was put into a photo
      this.set({ photo: await this.#workOn(file, kept), ...NOTHING_YET, source, change: source });
    });
  }

  async #workOn(file: Blob, { id, width, height }: KeptPicture): Promise<Photo> {
    const size = sizeWithin(COPY_PX, width, height);
    const copy = size[0] === width ? file : await smaller(file, size);
    const name = copy === file ? id : (await server.keep(copy)).id;
    return { id: name, file, copy, url: URL.createObjectURL(copy), width, height };
  }

  /** Edit what was drawn. */
  async editThis(): Promise<void> {
    const { draft } = this;
    await this.#doing("picture", "Opening the picture", async () => {
      const file = blobOf((await this.#finished()).b64, "image/png");
      const photo = await this.#workOn(file, await server.keep(file));
      const { mode, task, prompt, change } = draft;
      const source = mode === "draw" ? prompt : task === "edit" ? change : draft.source;
      this.set({ mode: "edit", photo, ...NOTHING_YET, newcomer: null, source, change: source });
    });
  }

  async paint(mask: Blob | null): Promise<void> {
    if (!mask) {
      this.set({ mask: null });
      return;
    }
    await this.#doing("mask", "", async () => {
      const { id } = await server.keep(mask);
      this.set({ mask: { id, file: mask, url: URL.createObjectURL(mask) } });
    });
  }

  /** Let what is found by points in the photo be what may change; `show` is given it as a URL. */
  async mark(cutout: string, show: (url: string) => Promise<void>): Promise<void> {
    await this.#doing("mask", "Looking for it", async () => {
      const mask = await server.cutOut(this.draft.photo!.copy, cutout);
      const url = URL.createObjectURL(mask);
      await show(url);
      URL.revokeObjectURL(url);
      await this.paint(mask);
    });
  }

  /** Return the picture as a PNG that says what made it, at the size of the photo. */
  async #finished(more: Record<string, string> = {}): Promise<Drawn> {
    const { draft } = this;
    const request = this.request(draft);
    if (!request) throw new Refused("There is no picture yet.");
    const { type, ...rest } = request;
    const body = { ...rest, ...more, output_format: "png" };
    const [one] = await (type === "draw"
      ? server.draw(body)
      : this.#edited(draft, draft.photo!.file, body));
    return one!;
  }

  async download(): Promise<void> {
    const side = LARGER * (this.facts?.image_size_px ?? 0);
    const isScene = this.draft.mode === "draw" && this.canPlace;
    const more: Record<string, string> = isScene ? { size: `${side}x${side}` } : {};
    await this.#save(this.draft.seed, (one) => one.b64, more);
  }

  /** Write what could change of the photo: white on black. */
  async saveRegion(): Promise<void> {
    await this.#save("region", (one) => one.mask);
  }

  async #save(
    ending: string | number,
    part: (drawn: Drawn) => string,
    more: Record<string, string> = {},
  ): Promise<void> {
    await this.#doing("picture", "Writing the file", async () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blobOf(part(await this.#finished(more)), "image/png"));
      const name = this.caption(this.draft)
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}]+/gu, "-")
        .slice(0, 60);
      link.download = `${name.replaceAll(/^-|-$/g, "") || "picture"}-${ending}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      this.said = `${link.download} was saved.`;
    });
  }

  // What goes wrong

  #connected(state: Connection, retryInS: number): void {
    const was = this.connection;
    this.connection = state;
    this.retryInS = Math.max(1, Math.round(retryInS));
    if (state === "lost" && was === "open") this.said = "The connection is lost. Trying again.";
    if (state === "lost") void this.#checkToken();
    if (state === "open" && was !== "open" && this.draft.placed.length) this.#soon();
  }

  /** A browser does not tell why a live connection was refused; any other request does. */
  async #checkToken(): Promise<void> {
    await server.models().catch((error: Refused) => error.status === 401 && this.#askForToken());
  }

  #refused(problem: Refused): void {
    this.isDrawing = false;
    if (problem.code === "identity_not_found") void this.#revive();
    else if (problem.code === "subject_not_named") {
      this.nobody = { word: problem.word, near: [...problem.near] };
    } else if (problem.param === "picture_id") void this.#keepAgain();
    else if (problem.retryAfterS) setTimeout(() => this.#ask(), problem.retryAfterS * 1000);
    else this.#fail(placeOf(problem), problem.message);
  }

  /** Encode again what a server that was started anew does not know any more. */
  async #revive(): Promise<void> {
    if (this.#isReviving) return; // picture and strip may both have found out
    this.#isReviving = true;
    await this.#doing("subject", "Looking at the subjects again", async () => {
      const known = new Set((await server.identities()).map((one) => one.id));
      await this.#encodeAgain(this.subjects.filter((one) => !known.has(one.id)));
      this.#ask();
    });
    this.#isReviving = false;
  }

  async #encodeAgain(subjects: readonly Subject[]): Promise<void> {
    for (const old of subjects) {
      if (old.isNamed) continue; // the server looks at it itself
      try {
        const sources = await this.sourcesOf(old.key);
        this.#put(await this.#encode(old.key, sources, old.name, old.sample));
      } catch (error) {
        if (!(error instanceof Refused && error.status === 404)) throw error;
        this.subjects = this.subjects.filter((one) => one.key !== old.key);
        this.#fail("subject", `The server has forgotten “${old.name}”. Add its pictures again.`);
      }
    }
  }

  async #keepAgain(): Promise<void> {
    await this.#doing("picture", "Opening the picture again", async () => {
      const { photo, mask } = this.draft;
      if (!photo) return;
      const again = { ...photo, id: (await server.keep(photo.copy)).id };
      this.set({ photo: again, mask: mask && { ...mask, id: (await server.keep(mask.file)).id } });
    });
  }

  async #doing(place: Place, what: string, work: () => Promise<unknown>): Promise<void> {
    this.isBusy = what;
    this.doubtful = null;
    this.problems = { ...this.problems, [place]: undefined };
    try {
      await work();
    } catch (error) {
      this.#tell(place, error);
    } finally {
      this.isBusy = null;
    }
  }

  #tell(place: Place, error: unknown): void {
    if (error instanceof Refused && error.status === 401) {
      this.#askForToken();
      return;
    }
    if (!(error instanceof Refused)) throw error;
    const wait = error.retryAfterS ? ` Free again in about ${Math.ceil(error.retryAfterS)} s.` : "";
    this.#fail(place, error.message + wait);
  }

  #fail(place: Place, message: string): void {
    const plain = message.replace(/^'image'/, "This picture"); // the field it was sent in
    this.problems = { ...this.problems, [place]: plain };
  }
}

export const studio = new Studio();

function release(shown: Shown): void {
  URL.revokeObjectURL(shown.url);
  if (shown.mask) URL.revokeObjectURL(shown.mask);
}

function placeOf({ param, code }: Refused): Place {
  if (param === "prompt") return "prompt";
  if (param === "mask" || param === "mask_id") return "mask";
  if (param === "identity_id" || param === "swiftpie.subjects" || code === "subject_not_found") {
    return "subject";
  }
  return param?.startsWith("swiftpie") ? "settings" : "picture";
}
