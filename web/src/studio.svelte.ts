/** What the page is about: one draft, its picture, its history, and the subjects to choose from. */

import { flushSync } from "svelte";
import { described, free } from "./box";
import { canPlace, FIRST, followsSeed, placesIn, readsPictures, requestOf, varies } from "./draft";
import type { Draft, Mode, Photo, Placed, SentPicture, Source, Subject } from "./draft";
import { isUnnamed, joined, names, renamed, said, unnamed, without, wordsOf } from "./naming";
import { OWN } from "./home";
import { forget, inMB, keep, kept, letGo, urlOf } from "./keeping";
import { blobOf, hasToken, Live, patience, Refused, server, setToken } from "./server";
import type {
  Box,
  Connection,
  Drawn,
  Entry,
  Header,
  KnownIdentity,
  Listing,
  Model,
  Named,
  Offer,
  Origin,
  SceneEntry,
  Sent,
} from "./server";
import { plain } from "./remarks";
import { fileOf, remember, SAMPLES, samplesMet, type Sample } from "./samples";
import { fitted, isIdentity, isPicture, saysWhatMadeIt, sizeOf, smaller } from "./upload";
import { firstSubjectIn, Vocabulary } from "./vocabulary";

export const NUM_SEEDS = 6;
export const BEST_OF = 4; // seeds, of which the best is shown
const PERSON = "person"; // how a prompt calls somebody until they are renamed
const SETTLED_MS = 700; // after the last change, a draft is one to come back to
const USUAL_VARIATION = 0.5; // of an edit whose noise was all found, once somebody asks for others
const LARGER = 2; // a drawn scene has more detail than the page shows while one types
const FRAME_MS = 16; // changes sooner than this are one change
const LIVE_MS = 300; // a picture that takes longer is asked for at the end of a drag
const COPY_PX = 768; // of a photo's longer side, while it is worked on
const MAX_HISTORY = 60;
const KEEP_MS = 100; // after the last change, a visit is kept
const ABOUT_WORDS = /was never taught (.*?)\. /;
const NOTHING_YET = { mask: null, box: null, yaw: null, pitch: null } as const; // in a new photo
const OF_OTHERS = ["mode", "task", "photo"] as const; // with others, variations have nothing to say
const IN_DRAWINGS = ["scene", "styleReference"] as const; // parts that the server keeps
const IN_EDITS = ["photo", "mask"] as const;
const LEFT: Box = [0.04, 0.4, 0.48, 0.84]; // square, as what the encoder sees
const RIGHT: Box = [0.52, 0.4, 0.96, 0.84];

export interface Shown {
  url: string;
  file: Blob;
  width: number;
  height: number;
  mask: string | null; // URL of what an edit could change
  photo: string | null; // id of what was edited
  draft: Draft; // of which it is
  box: Box | null; // where a subject was put into it
  followsSeed: boolean; // another seed gives another one
  named: readonly Named[]; // who is of the library, besides those who were chosen
  warnings: readonly string[];
}

export interface Moment {
  draft: Draft;
  shown: Shown;
}

/** What a reload returns to. */
interface Visit {
  offer: Offer;
  model: string;
  draft: Draft | null; // null: as the step of the history says
  subjects: readonly Subject[];
  history: readonly Moment[];
  at: number;
}

/** What only the newest of several may change: a part of the draft, or who is used. */
type Claim = keyof Draft | "use";

export type Place = "subject" | "scene" | "prompt" | "picture" | "settings" | "seeds" | "mask";

/** A picture that was dropped and says what made it. */
export interface Found {
  file: Blob;
  url: string;
  origin: Origin;
}

/** A picture whose subjects are to be clicked. */
export interface Crowd {
  file: Blob;
  url: string;
  subjects: readonly { mask: Blob; url: string; box: Box; isTaken: boolean }[];
}

/** How things stood when something was begun that takes a while. */
export interface Start {
  mode: Mode;
  numTexts: number; // that the visitor had written
}

/** Pictures whose cut-outs somebody looks at; of a subject, or of what shall become one. */
export interface Correcting {
  key: number | null;
  name: string;
  sources: readonly Source[];
  warnings?: readonly string[]; // that it may be wrong
}

const ANY = { types: ["image/*"], bytes: Infinity, pixels: Infinity, side_px: Infinity };
const UNKNOWN: Offer["limits"] = {
  subjects: 1,
  view: [0, 0],
  picture: { ...ANY, kept_px: Infinity },
};

/** Return what the server was sent in place of pictures, by what it keeps. */
function sentOf({ is_face, pictures }: KnownIdentity): Sent | undefined {
  if (is_face) return "face";
  return pictures.length ? undefined : "identity";
}

class Studio {
  draft = $state.raw<Draft>(FIRST);
  shown = $state.raw<Shown | null>(null);
  subjects = $state.raw<readonly Subject[]>([]);
  active = $state(0); // index into draft.placed
  models = $state.raw<readonly Model[]>([]);
  options = $state.raw<Offer["options"]>({});
  choices = $state.raw<Offer["choices"]>({});
  limits = $state.raw<Offer["limits"]>(UNKNOWN); // until the server says
  model = $state("");
  vocabulary = $state.raw<Vocabulary | null>(null);
  connection = $state<Connection>("connecting");
  isStarting = $state(false); // the server, whose model is not ready yet
  retryInS = $state(0);
  endedBy = $state(""); // why the server ended the connection, until the next change
  latencyMs = $state<number | null>(null);
  outageS = $state<number | null>(null); // for which the picture had to wait
  isDrawing = $state(false);
  film = $state.raw<{ file: Blob; url: string; about: string } | null>(null); // drawn last
  waitsS = $state<number | null>(null); // with pictures that the server has no room for
  keptBytes = $state(0); // in this browser
  keepProblem = $state("");
  needsToken = $state(false);
  tokenProblem = $state("");
  problems = $state<Partial<Record<Place, string>>>({});
  missing = $state.raw<Pick<Named, "word" | "near"> | null>(null); // named in the prompt alone
  seeds = $state.raw<readonly { seed: number; url: string }[]>([]);
  seedsAreDue = $state(true); // those that are shown are of another draft
  history = $state.raw<readonly Moment[]>([]);
  at = $state(-1);
  found = $state.raw<Found | null>(null);
  several = $state.raw<readonly File[]>([]); // pictures whose use is not chosen yet
  latest = $state.raw<Blob | null>(null); // the picture that came last, which may show several
  crowd = $state.raw<Crowd | null>(null);
  visit = $state(0); // counts returns to a moment of the history; what was asked before is void
  note = $state(""); // on how a picture was sent
  said = $state(""); // by a screen reader

  #live = new Live({
    connection: (state, retryInS, why) => this.#connected(state, retryInS, why),
    picture: (header, file) => void this.#took(header, file),
    problem: (id, problem) => (id === null || id === this.#asked) && this.#refused(problem),
  });
  #works = $state.raw<readonly { what: string }[]>([]); // what is being done
  #corrections = $state.raw<readonly Correcting[]>([]); // one after the other
  #claims: Partial<Record<Claim, object>> = {}; // the newest of each
  #numTexts = 0; // that the visitor wrote
  #toName = $state.raw<readonly number[]>([]); // keys of subjects that came without a name
  #adding: Promise<unknown> = Promise.resolve(); // settled when no subject is being added
  #meeting = new Map<string, Promise<unknown>>(); // samples and entries that are on their way
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
  #strip: AbortController | null = null;
  #stripOf = ""; // what was asked for last
  #stripShown = "";
  #lastKey = 0;
  #numReviving = 0;
  #isOpening = false;
  #others: BroadcastChannel | null = null; // tabs of this visitor
  #isResumed = false; // what was kept was looked for
  #isBack = false; // and found
  #isAtWork = false; // and the server was told
  #keeping: ReturnType<typeof setTimeout> | undefined;
  #keeps = true;
  #visit: Visit | null = null; // that is not kept yet
  #kept = Promise.resolve(); // settled when nothing is being written
  #places: ReadonlySet<string> = new Set(); // names of scenes
  #sprites = new Map<string, Promise<string>>(); // URLs of pictures of the library

  /** What is being done with a picture that was given; "" for what is not worth a word. */
  get isBusy(): string | null {
    if (!this.#works.length) return null;
    return this.#works.map(({ what }) => what).findLast(Boolean) ?? "";
  }

  /** Whose cut-out is looked at. */
  get correcting(): Correcting | null {
    return this.#corrections[0] ?? null;
  }

  /** Who has no name yet; the first that came is asked for first. */
  get unnamed(): Subject | undefined {
    const all = this.#toName.map((key) => this.subject(key));
    return all.find((one) => one && isUnnamed(one.name));
  }

  get start(): Start {
    return { mode: this.draft.mode, numTexts: this.#numTexts };
  }

  get facts(): Model["swiftpie"] | null {
    return this.models.find((one) => one.id === this.model)?.swiftpie ?? null;
  }

  /** Say that pictures wait. */
  get waiting(): string {
    return `The server has no room now. Your picture is sent again in ${Math.ceil(this.waitsS ?? 0)} s …`;
  }

  get canPlace(): boolean {
    return canPlace(this.facts);
  }

  /** Whether other seeds give other results; a small model dyes alike with every seed. */
  get varies(): boolean {
    const { mode, task } = this.draft;
    const isByFormula = mode === "edit" && task === "edit" && this.canPlace;
    return varies(this.draft, this.facts) && !(isByFormula && !this.shown?.followsSeed);
  }

  /** Whether the seed that is chosen counts as it is. */
  get followsSeed(): boolean {
    return followsSeed(this.draft) || !this.steersEdits;
  }

  /** Whether strengths change what words make of a photo; a small model reads the words alone. */
  get steersEdits(): boolean {
    return !this.canPlace;
  }

  /** Whether words can change a picture; subjects come and go with any model. */
  get canEdit(): boolean {
    return this.facts?.capabilities.includes("edit") ?? false;
  }

  /** The words of the prompt that the model does not know. */
  get unknown(): string[] {
    const { mode, prompt, change, source, newcomer } = this.draft;
    if (!this.vocabulary) return [];
    if (mode === "draw") {
      const drawn = [
        ...this.draft.placed.map(({ key }) => this.subject(key)?.name ?? ""),
        ...(this.shown?.named.map(({ word }) => word) ?? []),
      ];
      return this.vocabulary.unknownIn(prompt).filter((word) => !names(drawn.join(", "), word));
    }
    const shown = newcomer === null ? (source.toLowerCase().match(/[\p{L}'-]+/gu) ?? []) : null;
    return this.vocabulary.unknownIn(change, shown);
  }

  subject(key: number | null): Subject | undefined {
    return this.subjects.find((one) => one.key === key);
  }

  // Coming and going

  /** Return to what was kept, ask the server what it has, and draw the first picture. */
  async open(): Promise<void> {
    if (this.#isOpening) return;
    this.#isOpening = true;
    try {
      await this.#opened();
    } finally {
      this.#isOpening = false;
    }
  }

  async #opened(): Promise<void> {
    const isBack = await this.#resume();
    try {
      this.#learnOffer(await server.models());
      this.needsToken = false;
      while (!(await server.isReady())) {
        this.isStarting = true;
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
      this.isStarting = false;
      this.#live.connect();
      if (this.#isAtWork) return; // a token was asked for meanwhile
      await (isBack ? this.#goOn() : this.#begin());
      this.#isAtWork = true;
      if (!isBack) this.#keepFromNow();
    } catch (error) {
      this.isStarting = false;
      if (error instanceof Refused && error.status === 401) this.#askForToken();
      else if (error instanceof Refused && isAway(error)) {
        this.connection = "lost";
        this.retryInS = 2;
        setTimeout(() => void this.open(), 2_000);
      } else this.#tell("picture", error);
    }
  }

  #learnOffer({ data, options, choices = {}, limits }: Offer): void {
    [this.models, this.options, this.choices, this.limits] = [data, options, choices, limits];
  }

  /** Return to the last visit, whether the server is there or not; false if this is the first. */
  async #resume(): Promise<boolean> {
    if (this.#isResumed) return this.#isBack;
    this.#isResumed = true;
    patience.tell = (seconds) => this.#waits(seconds);
    let visit: Visit | undefined;
    try {
      visit = await kept<Visit>();
      this.#others = new BroadcastChannel(OWN);
      this.#others.onmessage = () => void this.#leave();
    } catch (error) {
      this.keepProblem = `This browser keeps nothing: ${(error as Error).message}`;
    }
    if (!visit) return false;
    this.#learnOffer(visit.offer);
    this.subjects = visit.subjects.map((one) => ({
      ...one,
      sample: SAMPLES.find(({ name }) => name === one.sample?.name) ?? null,
    }));
    this.#lastKey = Math.max(0, ...this.subjects.map(({ key }) => key));
    const moment = visit.history[visit.at];
    this.model = visit.model;
    this.history = visit.history;
    this.at = visit.at;
    this.draft = visit.draft ?? moment!.draft;
    this.shown = moment?.shown ?? null;
    this.#isBack = true;
    this.#keepFromNow();
    return true;
  }

  /** Tell the server what the last visit left, as far as needed. */
  async #goOn(): Promise<void> {
    const isOffered = this.models.some(({ id }) => id === this.model);
    if (isOffered) await this.#learnWords();
    else await this.#choose(this.models[0]!.id);
    await this.#list();
    if (!isOffered) await this.#encodeAgain(this.subjects);
    if (this.history[this.at]?.draft === this.draft) await this.#drawSeeds();
    else this.#anew();
  }

  /** Keep whatever changes, a moment after it did, and at once where the page is left. */
  #keepFromNow(): void {
    $effect.root(() => {
      $effect(() => {
        const { models: data, options, choices, limits, model } = this;
        const { draft, subjects, history, at } = this;
        const isStep = history[at]?.draft === draft;
        const offer = { data, options, choices, limits };
        this.#visit = { offer, model, draft: isStep ? null : draft, subjects, history, at };
        clearTimeout(this.#keeping);
        this.#keeping = setTimeout(() => this.#write(), KEEP_MS);
      });
    });
    addEventListener("pagehide", () => void this.#written());
  }

  #write(): void {
    clearTimeout(this.#keeping);
    const visit = this.#visit;
    this.#visit = null;
    if (visit) this.#kept = this.#kept.then(() => this.#keepVisit(visit));
  }

  /** Wait until the browser keeps everything of now. */
  async #written(): Promise<void> {
    flushSync();
    this.#write();
    await this.#kept;
  }

  async #keepVisit(visit: Visit): Promise<void> {
    if (!this.#keeps) return;
    try {
      this.keptBytes = await keep(visit);
      this.keepProblem = "";
    } catch (error) {
      this.keepProblem = `This browser could not keep the last change: ${(error as Error).message}`;
    }
  }

  /** Delete what this browser keeps, and what the server has of it; the page begins anew. */
  async forgetAll(): Promise<void> {
    this.#others?.postMessage("all is deleted"); // else they would keep theirs again
    const mine = this.subjects.filter(({ isNamed }) => !isNamed);
    await Promise.allSettled(mine.map(({ id }) => server.forget(id)));
    await this.#leave();
  }

  async #leave(): Promise<void> {
    this.#keeps = false;
    await this.#kept;
    await forget().catch(() => undefined); // a browser that keeps nothing has nothing to delete
    location.reload();
  }

  /** Let pictures that wait go before variations, which fill the queue. */
  #waits(seconds: number | null): void {
    const isOver = this.waitsS !== null && seconds === null;
    this.waitsS = seconds;
    if (seconds !== null) {
      this.#strip?.abort();
      this.#stripOf = "";
    } else if (isOver) void this.#drawSeeds();
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
    await this.#learnWords();
  }

  async #learnWords(): Promise<void> {
    const { model } = this;
    const words = await server.vocabulary(model);
    if (model === this.model && words) this.vocabulary = new Vocabulary(words);
  }

  /** Go on with another model, which has to look at the subjects itself. */
  async switchTo(model: string): Promise<void> {
    this.#numReviving++; // subjects that it does not know come anyway
    const isReady = await this.#doing("subject", `Getting ${model} ready`, async () => {
      await this.#choose(model);
      await this.#encodeAgain(this.subjects);
    });
    this.#numReviving--;
    if (model !== this.model) return; // another one was chosen meanwhile
    if (isReady) this.#anew();
    else this.isDrawing = false;
  }

  /** Ask for the picture of a draft whose subjects are others now; what is said of them stays. */
  #anew(): void {
    const { subject } = this.problems;
    this.set({});
    if (subject) this.#fail("subject", subject);
  }

  /** Put on the shelf what only the server knows of this visitor. */
  async #list(): Promise<void> {
    const here = new Set(this.subjects.map(({ id }) => id));
    const found = (await server.identities()).filter(
      ({ id, model }) => model === this.model && !here.has(id),
    );
    const samples = samplesMet();
    const more = await Promise.all(
      found.map(async (one): Promise<Subject[]> => {
        const picture = await server.picture(one.thumbnail).catch(ignoreGone);
        if (!picture) return []; // deleted meanwhile, by another tab
        const subject = {
          key: ++this.#lastKey,
          id: one.id,
          isNamed: false,
          sent: sentOf(one),
          name: one.name,
          thumbnail: urlOf(picture),
          numPictures: one.num_pictures,
          warnings: one.warnings,
          sources: [],
          kept: one.pictures,
          sample: samples[one.id] ?? null,
        };
        return [subject];
      }),
    );
    for (const one of more.flat())
      if (!this.subjects.some(({ id }) => id === one.id)) this.#shelve(one);
  }

  async #begin(): Promise<void> {
    await this.#choose(this.models[0]!.id);
    await this.#list();
    const { placed, photo } = this.draft;
    if (this.draft.prompt || placed.length || photo) return this.set({}); // somebody began already
    const prompt = "a photo of a dog on a frozen lake";
    if (!readsPictures(this.facts)) return this.set({ prompt });
    const offered = (this.draft = { ...this.draft, prompt });
    const key = await this.meet(SAMPLES[0]!);
    if (this.draft !== offered) return;
    if (key === undefined) return this.#anew();
    this.use(key);
    this.draft = { ...this.draft, isOffered: true };
  }

  // The draft

  /**
   * Begin what will change a part of the draft in a while.
   *
   * What is returned says whether nothing else has changed that part, or begun to, since.
   */
  claim(part: Claim): () => boolean {
    const own = (this.#claims[part] = {});
    return () => this.#claims[part] === own;
  }

  /** Begin what changes parts in a while; what is returned leaves out those that changed since. */
  #claimAll(...parts: (keyof Draft)[]): (part: Partial<Draft>) => Partial<Draft> {
    const isLast = new Map<string, () => boolean>(parts.map((name) => [name, this.claim(name)]));
    return (part) =>
      Object.fromEntries(Object.entries(part).filter(([name]) => isLast.get(name)?.() ?? true));
  }

  /** Take words of the visitor, which nothing rewrites that was begun before. */
  write(words: Partial<Pick<Draft, "prompt" | "change" | "source">>): void {
    this.#numTexts++;
    this.set(words);
  }

  /** Change the draft, and ask for its picture. */
  set(part: Partial<Draft>): void {
    for (const name of Object.keys(part)) this.claim(name as keyof Draft);
    // A subject that is placed, turned or left out was chosen.
    const next = { ...this.draft, ...(part.placed && { isOffered: false }), ...part };
    if (OF_OTHERS.some((name) => next[name] !== this.draft[name])) this.#forgetSeeds();
    // Subjects of the prompt come before a sample that was not chosen.
    this.draft =
      part.prompt && next.isOffered && this.namesAnother(next) ? { ...next, placed: [] } : next;
    this.problems = {};
    this.missing = null;
    this.endedBy = "";
    this.seedsAreDue ||= Object.keys(part).some((name) => name !== "seed");
    this.#changedAt = performance.now();
    this.#soon();
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#settle(), SETTLED_MS);
  }

  /** Whether the prompt names a subject, and not the one that is placed. */
  namesAnother({ placed, prompt }: Draft): boolean {
    const sample = this.subject(placed[0]?.key ?? null)?.name ?? "";
    const isNamed = this.vocabulary?.namesSubject(prompt) ?? false;
    return placed.length === 1 && !names(prompt, sample) && isNamed;
  }

  #soon(): void {
    clearTimeout(this.#later);
    this.#asked = 0;
    this.isDrawing = this.request(this.draft) !== null;
    const since = performance.now() - this.#sentAt;
    if (since >= FRAME_MS) this.#ask();
    else this.#later = setTimeout(() => this.#ask(), FRAME_MS - since);
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
    const { draft } = this;
    const request = this.request(draft);
    this.isDrawing = request !== null;
    if (!request) return this.#live.forget();
    this.#asked = this.#live.ask({ ...request, output_format: "jpeg" });
    this.#drafts.set(this.#asked, draft);
  }

  /** Return what a draft asks of the server, null where something is still missing. */
  request(draft: Draft): Record<string, unknown> | null {
    const { model, facts, subjects } = this;
    return requestOf(draft, { model, facts, subjects, drawsNamed: this.vocabulary !== null });
  }

  async #took(header: Header, file: Blob): Promise<void> {
    const { visit, draft: now } = this;
    const draft = this.#drafts.get(header.id) ?? now; // what it was asked for
    for (const id of this.#drafts.keys()) if (id <= header.id) this.#drafts.delete(id);
    const url = urlOf(file);
    const image = new Image();
    image.src = url;
    await image.decode(); // so that one picture follows the other without a gap
    if (visit !== this.visit || header.id < this.#shownNumber) {
      letGo(url);
      return;
    }
    this.#shownNumber = header.id;
    this.#frameMs = header.milliseconds;
    const isNewest = header.id === this.#asked;
    if (isNewest) {
      this.isDrawing = false;
      const hasWaited = this.#backAt > this.#changedAt;
      this.outageS = hasWaited ? this.#awayS : null;
      this.latencyMs = hasWaited ? null : Math.round(performance.now() - this.#changedAt);
    }
    const mask = header.mask_b64 && urlOf(blobOf(header.mask_b64, "image/png"));
    const photo = mask ? (draft.photo?.id ?? null) : null;
    const { width, height, box } = header;
    const { placed, newcomer } = draft;
    const chosen = [...placed.map((one) => one.key), newcomer].map((key) => this.subject(key));
    // Once a word, however often the prompt has it.
    const named = [...new Map(header.named.map((one) => [one.word, one])).values()].filter(
      ({ word }) => !chosen.some((one) => one?.isNamed && one.id === word),
    );
    const warnings = [...new Set(header.warnings)];
    const followsSeed = header.follows_seed;
    this.#show({ url, file, width, height, mask, photo, draft, box, followsSeed, named, warnings });
    if (isNewest) this.#settle();
  }

  /** Whether a warning says of words what is marked where they are typed. */
  isMarked(warning: string): boolean {
    const words = ABOUT_WORDS.exec(warning)?.[1]?.match(/(?<=')[^']+(?=' ?[,.(]|'$)/g) ?? [];
    const { mode, newcomer } = this.draft;
    const own = (mode === "edit" && this.subject(newcomer)?.name) || ""; // said by the page alone
    return words.length > 0 && words.every((one) => this.unknown.includes(one) || names(own, one));
  }

  #show(next: Shown): void {
    const last = this.shown;
    this.shown = next;
    if (last && !this.history.some((moment) => moment.shown === last)) release(last);
  }

  /** Keep a draft that no longer changes, with its picture. */
  #settle(): void {
    const isQuiet = performance.now() - this.#changedAt >= SETTLED_MS - FRAME_MS;
    if (!isQuiet || this.isDrawing || !this.shown || !this.request(this.draft)) return;
    if (this.missing || this.problems.prompt || this.problems.picture) return; // it shows the last
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
    const who = said(this.subject(newcomer)?.name ?? "subject");
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
    this.#asked = 0;
    this.#claims = {};
    this.visit++;
    this.#isDue = false;
    this.isDrawing = false;
    this.problems = {};
    this.missing = null;
    this.at = index;
    if (OF_OTHERS.some((name) => moment.draft[name] !== this.draft[name])) this.#forgetSeeds();
    this.draft = moment.draft;
    this.#show(moment.shown);
    this.active = Math.min(this.active, Math.max(0, this.draft.placed.length - 1));
    void this.#drawSeeds();
    this.said = `Step ${index + 1} of ${this.history.length}.`;
  }

  // Seeds

  /** Show no variations of another photo or task while new ones are drawn. */
  #forgetSeeds(): void {
    this.#strip?.abort();
    [this.#stripOf, this.#stripShown] = ["", ""];
    for (const { url } of this.seeds) letGo(url);
    this.seeds = [];
  }

  async #drawSeeds(): Promise<void> {
    const { draft } = this;
    const more = this.steersEdits && { variation: draft.variation || USUAL_VARIATION };
    const request = this.request({ ...draft, ...more });
    if (!request || !this.varies || this.waitsS !== null) return;
    const { type, seed, ...rest } = request;
    const what = JSON.stringify([type, rest, draft.firstSeed]);
    this.seedsAreDue = what !== this.#stripShown;
    if (what === this.#stripOf) return;
    this.#strip?.abort();
    const { signal } = (this.#strip = new AbortController());
    this.#stripOf = what;
    try {
      const drawn: Drawn[] = [];
      // One after the other, so that they leave room for whatever else this page asks.
      for (let next = draft.firstSeed; next < draft.firstSeed + NUM_SEEDS; next++) {
        const body = { ...rest, seed: next, output_format: "jpeg" };
        const one = type === "draw" ? server.draw(body, signal) : this.#edited(draft, body, signal);
        drawn.push(...(await one));
      }
      signal.throwIfAborted();
      for (const one of this.seeds) letGo(one.url);
      this.seeds = drawn.map(({ seed: number, b64 }) => ({
        seed: number,
        url: urlOf(blobOf(b64, "image/jpeg")),
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

  /** Return a picture that is asked for with the photo, or its copy, as live ones are by its name. */
  #edited(draft: Draft, body: Record<string, unknown>, signal?: AbortSignal) {
    const mask = "mask_id" in body ? draft.mask!.file : null;
    return server.edit(signal ? draft.photo!.copy : draft.photo!.file, mask, body, signal);
  }

  /** Draw with another seed; an edit by words takes some of its noise from it. */
  vary(seed: number): void {
    this.set(this.followsSeed ? { seed } : { seed, variation: USUAL_VARIATION });
  }

  /** Whether there is a subject by which pictures of several seeds can be ranked. */
  get canRank(): boolean {
    const { mode, task, placed, newcomer } = this.draft;
    if (mode === "edit") return (task === "insert" || task === "replace") && newcomer !== null;
    return placed.length > 0 || this.vocabulary !== null;
  }

  /** Draw some seeds in one pass, and show the one in which the subject shows best. */
  async drawBest(): Promise<void> {
    const { draft } = this;
    const { type, swiftpie, ...rest } = this.request(draft) ?? {};
    if (!swiftpie) return;
    const own = { ...(swiftpie as object), best_of: BEST_OF };
    const body = { ...rest, seed: draft.firstSeed, output_format: "jpeg", swiftpie: own };
    await this.#doing("seeds", `Drawing ${BEST_OF} pictures`, async () => {
      const [best] = await (type === "draw" ? server.draw(body) : this.#edited(draft, body));
      if (best && this.#asks(this.draft) === this.#asks(draft)) this.vary(best.seed);
    });
  }

  moreSeeds(): void {
    const firstSeed = this.draft.firstSeed + NUM_SEEDS;
    this.set({ firstSeed });
    this.vary(firstSeed);
  }

  // Subjects

  /** Take pictures and identities that were dropped, pasted, chosen or photographed. */
  async take(files: readonly File[], isSubject = this.draft.mode === "draw"): Promise<void> {
    const [pictures, identities] = [files.filter(isPicture), files.filter(isIdentity)];
    for (const file of identities) await this.addWhole("identity", file);
    if (!pictures.length) {
      if (files.length > identities.length) {
        const kind = files[0]!.type || "of an unknown kind";
        this.#fail("subject", `“${files[0]!.name}” is ${kind}. A picture is needed.`);
      }
      return;
    }
    if (!isSubject) await this.openPhoto(pictures[0]!);
    else if (pictures.length > 1) this.several = pictures;
    else await this.#lookAt(pictures[0]!);
  }

  async #lookAt(given: File): Promise<void> {
    await this.#addingOne("Looking at the picture", async (start) => {
      const file = await this.fitted(given);
      const { origin } = await server.keep(file);
      if (origin["prompt"]) this.#find(file, origin);
      else {
        this.closeCrowd();
        await this.#addSubject([file], given.name, start);
        this.latest = file;
      }
    });
  }

  /** Find all subjects of the picture that came last, to be clicked. */
  async openCrowd(): Promise<void> {
    const file = this.latest!;
    await this.#doing("subject", "Looking for all subjects", async () => {
      const found = await server.cutOutAll(file);
      if (file !== this.latest) return;
      const subjects = found.map((one) => ({ ...one, url: urlOf(one.mask), isTaken: false }));
      this.crowd = { file, url: urlOf(file), subjects };
    });
  }

  /** Add a subject of that picture: in place of what the cut-out of all showed, or beside others. */
  async takeFrom(crowd: Crowd, number: number): Promise<void> {
    const { file, subjects } = crowd;
    const { mask, url } = subjects[number]!;
    await this.#addingOne("Looking at the picture", async (start) => {
      const isBeside = (this.crowd ?? crowd).subjects.some((one) => one.isTaken);
      const name = unnamed(this.subjects.map((one) => one.name));
      this.#doubt(await this.addCut([{ file, mask }], name, start, isBeside));
      const now = this.crowd;
      const taken = now?.subjects.map((one) => (one.url === url ? { ...one, isTaken: true } : one));
      if (now && taken) this.crowd = { ...now, subjects: taken };
    });
  }

  closeCrowd(): void {
    for (const { url } of this.crowd ? [this.crowd, ...this.crowd.subjects] : []) letGo(url);
    [this.crowd, this.latest] = [null, null];
  }

  /** Return a picture of a subject to send, and say so where that is another one. */
  async fitted(file: Blob): Promise<Blob> {
    const { picture } = this.limits;
    const sent = await fitted(file, picture, picture.kept_px);
    if (sent !== file) this.note = `Sent as ${inMB(sent.size)} in place of ${inMB(file.size)}.`;
    return sent;
  }

  /** Say what made a picture, or that it does not tell. */
  async lookUp(file: File): Promise<void> {
    await this.#doing("picture", "Looking at the picture", async () => {
      const origin: Origin = (await saysWhatMadeIt(file)) ? (await server.keep(file)).origin : {};
      if (!origin["prompt"]) {
        this.#fail("picture", "This picture does not say what made it.");
        return;
      }
      this.#find(file, origin);
    });
  }

  #find(file: Blob, origin: Origin): void {
    this.closeFound();
    this.found = { file, url: urlOf(file), origin };
  }

  /** Add subjects after those that are on their way, so that each is named beside the others. */
  async #addingOne(what: string, work: (start: Start) => Promise<unknown>): Promise<void> {
    await this.#doing("subject", what, () => {
      const turn = this.#adding.then(() => work(this.start));
      this.#adding = turn.catch(() => undefined);
      return turn;
    });
  }

  /** Take the pictures that were waiting, as one subject or as one each. */
  async resolveSeveral(asOne: boolean): Promise<void> {
    const files = this.several;
    this.several = [];
    await this.#addingOne("Looking at the pictures", async () => {
      for (const group of asOne ? [files] : files.map((file) => [file])) {
        await this.#addSubject(group, group[0]!.name, this.start);
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
      const [what, { file }] = ["Looking at the picture", found];
      await this.#addingOne(what, (start) => this.#addSubject([file], "", start));
    }
  }

  closeFound(): void {
    if (this.found) letGo(this.found.url);
    this.found = null;
  }

  #restore(origin: Origin): void {
    const number = (name: string, usual: number) => {
      const value = Number(origin[name] ?? Number.NaN);
      return Number.isFinite(value) ? value : usual;
    };
    const { draft } = this;
    const saved = Math.max(0, Math.round(number("seed", draft.seed)));
    const seed = Number.isSafeInteger(saved + NUM_SEEDS) ? saved : draft.seed; // larger ones are not exact
    const boxes = placesIn(origin["subjects"]);
    const { prompt = draft.prompt, scene = "" } = origin;
    const isChosen = this.#places.has(scene) && !names(prompt, scene); // else the words say it
    this.set({
      mode: "draw",
      prompt,
      scene: isChosen ? scene : "",
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

  /** Return all words, or the last one, if that is a noun of the library. */
  async #nounIn(text: string): Promise<string | null> {
    for (const words of wordsOf(text)) {
      if (words && (await server.library(words, 1)).meant) return words;
    }
    return null;
  }

  /** Return what to call the subject of a file: its name if that is a noun of the library. */
  async #nameOf(file: string): Promise<string> {
    return (await this.#nounIn(file)) ?? unnamed(this.subjects.map(({ name }) => name));
  }

  async #addSubject(files: readonly Blob[], file: string, start: Start): Promise<void> {
    const name = await this.#nameOf(file);
    const sent = await Promise.all(files.map((file) => this.fitted(file)));
    const sources = sent.map((file) => ({ file, mask: null }));
    try {
      this.#doubt(await this.addCut(sources, name, start));
    } catch (error) {
      if (!(error instanceof Refused && error.code === "subject_not_found")) throw error;
      this.correct({ key: null, name, sources });
    }
  }

  /** Show a cut-out that may be bad. */
  #doubt(subject: Subject): void {
    if (subject.warnings.length) this.correct(subject);
  }

  /** Add a subject to the shelf, and to the picture. */
  async addCut(
    sources: readonly Source[],
    name: string,
    start = this.start,
    isBeside = false,
  ): Promise<Subject> {
    return this.#welcome(
      await this.#encode(++this.#lastKey, sources, name, null),
      start,
      isBeside && start.mode === "draw",
    );
  }

  /** Put a new subject on the shelf and into the picture; words that were typed meanwhile name it. */
  async #welcome(encoded: Subject, start: Start, isBeside = false): Promise<Subject> {
    const isTyped = start.mode === "draw" && start.numTexts !== this.#numTexts;
    const name = isTyped && !isBeside ? await this.#calledNow(encoded) : encoded.name;
    const [subject, { key, id }] = [{ ...encoded, name }, encoded];
    this.#shelve(subject);
    if (isBeside) this.add(key, start);
    else this.use(key, start);
    if (isUnnamed(name)) this.#toName = [...this.#toName, key];
    if (name !== encoded.name) await server.rename(id, name).catch(ignoreGone);
    return subject;
  }

  /** Return what the prompt of now calls a subject that was given before it was typed. */
  async #calledNow({ name }: Subject): Promise<string> {
    const noun = await this.#nounIn(firstSubjectIn(this.draft.prompt).join(" "));
    const known = [name, noun, this.#replaced];
    return known.find((one) => one && names(this.draft.prompt, one)) ?? name;
  }

  /** What the prompt calls the subject that the next one replaces. */
  get #replaced(): string | undefined {
    const old = this.draft.placed[this.active];
    return old ? this.subject(old.key)?.name : this.shown?.named[0]?.word;
  }

  /** Add a person by the face, or the subject of a file, to the shelf and to the picture. */
  async addWhole(what: Sent, file: File): Promise<void> {
    const isFace = what === "face";
    await this.#addingOne(isFace ? "Looking at the face" : "Opening the subject", async (start) => {
      const sent = isFace ? await this.fitted(file) : file;
      const name = isFace ? PERSON : await this.#nameOf(file.name);
      const known = await this.#encodeWhole(what, ++this.#lastKey, sent, name);
      const subject = await this.#welcome(known, start);
      this.note = plain(subject.warnings.join(" ")) || this.note;
    });
  }

  async #encodeWhole(sent: Sent, key: number, file: Blob, name: string): Promise<Subject> {
    const known = await server.encodeWhole(sent, file, name, this.model);
    return {
      key,
      id: known.id,
      isNamed: false,
      sent,
      name,
      thumbnail: urlOf(await server.picture(known.thumbnail)),
      numPictures: 0,
      warnings: known.warnings,
      sources: [{ file, mask: null }],
      kept: [],
      sample: null,
    };
  }

  /** Open the cut-out for correction, after any that is open. */
  correct(what: Correcting): void {
    this.#corrections = [...this.#corrections, what];
  }

  /** Go on with the next cut-out, if one waits. */
  corrected(): void {
    this.#corrections = this.#corrections.slice(1);
  }

  async #encode(
    key: number,
    sources: readonly Source[],
    name: string,
    sample: Sample | null,
  ): Promise<Subject> {
    const masks: Blob[] = [];
    if (sources.some((one) => one.mask)) {
      for (const { file, mask } of sources) masks.push(mask ?? (await server.cutOut(file)));
    }
    const files = sources.map((one) => one.file);
    const known = await server.encode(files, masks, name, this.model);
    if (sample) remember(known.id, sample);
    return {
      key,
      id: known.id,
      isNamed: false,
      name,
      thumbnail: urlOf(await server.picture(known.thumbnail)),
      numPictures: known.num_pictures,
      warnings: known.warnings,
      sources,
      kept: known.pictures,
      sample,
    };
  }

  /** Put a subject on the shelf, in the place of the one with its key if there is one. */
  #shelve(subject: Subject): void {
    const { key, id, isNamed } = subject;
    this.subjects = this.subject(key)
      ? this.subjects.map((one) => (one.key === key ? subject : one))
      : [...this.subjects, subject];
    if (isNamed) return;
    // Its file comes meanwhile, with which another server can go on at once.
    server.picture(`/v1/identities/${id}/file`).then(
      (file) => this.subject(key)?.id === id && this.#change(key, { file }),
      () => undefined, // its pictures are sent instead
    );
  }

  /** Put what became of a subject in its place, unless it is gone or another model was chosen. */
  #renew(next: Subject, model: string, name?: string): void {
    const old = this.subject(next.key);
    if (old && model === this.model) this.#shelve({ ...next, name: name ?? old.name });
    else server.forget(next.id).catch(() => undefined);
  }

  /** Change some of a subject, which may have changed otherwise since it was looked up. */
  #change(key: number, change: Partial<Subject>): void {
    this.subjects = this.subjects.map((one) => (one.key === key ? { ...one, ...change } : one));
  }

  /** Send the file of a subject that a server does not know; false if that is no use. */
  async #sendFile(old: Subject): Promise<boolean> {
    if (!old.file) return false;
    try {
      const { id } = await server.encodeWhole("identity", old.file, old.name, this.model);
      if (old.sample) remember(id, old.sample);
      // Pictures that the server alone had are gone: it is corrected no more.
      const whole = {
        sent: "identity",
        sources: [{ file: old.file, mask: null }],
        kept: [],
      } as const;
      this.#change(old.key, { id, ...(!old.sources.length && whole) });
      return true;
    } catch (error) {
      if (error instanceof Refused && error.status === 400) return false; // of other weights
      throw error;
    }
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
    this.#change(key, { sources });
    return sources;
  }

  /** Call a subject otherwise, in the prompt too. */
  async rename(key: number, name: string): Promise<void> {
    const old = this.subject(key)!;
    this.#change(key, { name });
    this.set(this.#renaming(old, name));
    await server.rename(old.id, name).catch(ignoreGone); // it is encoded under this name then
  }

  /** Return what changes in the draft where a subject is called otherwise, which chooses it. */
  #renaming({ key, name }: Subject, next: string): Partial<Draft> {
    const { prompt, isOffered, placed } = this.draft;
    return {
      prompt: name === next ? prompt : renamed(prompt, name, next),
      isOffered: isOffered && placed[0]?.key !== key,
    };
  }

  /** Say what a subject without a name is; "" leaves it without. */
  async name(key: number, name: string): Promise<void> {
    this.#toName = this.#toName.filter((one) => one !== key);
    if (name) await this.#doing("subject", "", () => this.rename(key, name));
  }

  /** Encode a subject again, of other pictures or with other cut-outs. */
  async recut(key: number, sources: readonly Source[], name: string): Promise<void> {
    const old = this.subject(key);
    if (!old) return;
    const { model } = this;
    this.#renew(await this.#encode(key, sources, name, null), model, name);
    this.set(this.#renaming(old, name));
    await this.#written(); // else a reload would look for what is gone
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
    const isEntry = "words" in offered;
    const where = isEntry ? offered.picture : offered.url;
    if (!this.known(offered) && !this.#meeting.has(where)) {
      const coming = this.#doing("subject", `Looking at the ${offered.name}`, async () => {
        this.#shelve(await (isEntry ? this.#fetched(offered) : this.#encoded(offered)));
      });
      this.#meeting.set(where, coming);
    }
    await this.#meeting.get(where);
    this.#meeting.delete(where);
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
  sprite({ picture }: Pick<Entry, "picture">): Promise<string> {
    const known = this.#sprites.get(picture);
    if (known) return known;
    const url = server.picture(picture).then((blob) => urlOf(blob));
    this.#sprites.set(picture, url);
    url.catch(() => this.#sprites.delete(picture)); // it may come next time
    return url;
  }

  /** Return the subjects of the library that a query finds; null if a later query replaced it. */
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
  use(key: number, { mode, numTexts } = this.start): void {
    this.claim("use");
    const { draft } = this;
    const next = this.subject(key)!;
    if (mode === "edit") {
      this.#invite(key);
      return;
    }
    const there = draft.placed.findIndex((one) => one.key === key);
    if (there >= 0) {
      this.active = there;
      if (draft.isOffered) this.set({ isOffered: false });
      return;
    }
    const old = draft.placed[this.active];
    const last = numTexts === this.#numTexts ? this.#replaced : ""; // else the words are newer
    const placed = old
      ? draft.placed.map((one) => (one === old ? { ...one, key, yaw: null } : one))
      : [{ key, box: null, yaw: null }];
    const prompt = last ? renamed(draft.prompt, last, next.name) : draft.prompt;
    this.set({ placed, prompt });
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
  add(key: number, { numTexts } = this.start): void {
    const { draft } = this;
    if (draft.placed.length >= this.limits.subjects || draft.placed.some((one) => one.key === key))
      return;
    const last = this.subject(draft.placed.at(-1)?.key ?? null);
    const next = this.subject(key)!;
    let placed = [...draft.placed, { key, box: null as Box | null, yaw: null }];
    if (placed.length === 2 && placed.every((one) => !one.box)) {
      placed = placed.map((one, i) => ({ ...one, box: i ? RIGHT : LEFT }));
    } else if (placed.some((one) => one.box)) {
      const box = free(placed.flatMap((one) => (one.box ? [one.box] : [])));
      placed = placed.map((one) => ({ ...one, box: one.box ?? box }));
    }
    this.active = placed.length - 1;
    // Who is named already, and was drawn from the library until now, is not named twice.
    const others = draft.placed.map((one) => this.subject(one.key)?.name);
    const isSaid = names(draft.prompt, next.name) && !others.includes(next.name);
    const isOld = numTexts === this.#numTexts; // else the words are newer than the wish
    const joins = last && isOld && !isSaid;
    const prompt = joins ? joined(draft.prompt, last.name, next.name) : draft.prompt;
    this.set({ placed, prompt });
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
    this.#corrections = this.#corrections.filter((one, i) => !i || one.key !== key); // 0: it closes
    await this.#written();
    try {
      await server.forget(subject.id).catch(ignoreGone);
      this.said = `${subject.name} was deleted.`;
    } catch (error) {
      this.#tell("subject", error);
    }
  }

  // Scenes

  /** Return the places of the library, to be chosen from. */
  async scenes(): Promise<readonly SceneEntry[]> {
    try {
      const known = await server.scenes();
      this.#places = new Set(known.map(({ name }) => name));
      return known;
    } catch (error) {
      this.#tell("scene", error);
      return [];
    }
  }

  /** Draw in a place that somebody photographed. */
  async useScene(given: Blob): Promise<void> {
    await this.#sending("scene", "scene", "Looking at the place", () => this.fitted(given));
  }

  /** Draw in the style of a picture. */
  async useStyle(given: Blob): Promise<void> {
    const part = "styleReference";
    await this.#sending("settings", part, "Looking at the style", () => this.fitted(given));
  }

  /** Let the server keep a picture that goes with the draft, unless a later change comes first. */
  async #sending(
    place: Place,
    part: "scene" | "styleReference" | "mask",
    what: string,
    found: (isLast: () => boolean) => Promise<Blob>,
  ): Promise<void> {
    const isLast = this.claim(part);
    await this.#doing(place, what, async () => {
      const file = await found(isLast);
      if (!isLast()) return;
      const { id } = await server.keep(file);
      if (isLast()) this.set({ [part]: { id, file, url: urlOf(file) } });
    });
  }

  // Editing

  async openPhoto(file: Blob): Promise<void> {
    const isLast = this.claim("photo");
    const stillOf = this.#claimAll("source", "change");
    await this.#doing("picture", "Opening the picture", async () => {
      const { photo, origin } = await this.#workOn(file);
      if (!isLast()) return letGo(photo.url);
      const { prompt = "", task } = origin;
      const source = task ? "" : prompt; // of the subject alone that was put into a photo
      this.set({ photo, ...NOTHING_YET, ...stillOf({ source, change: source }) });
    });
  }

  /** Return a picture to edit, of which only a copy is sent until somebody saves it. */
  async #workOn(given: Blob): Promise<{ photo: Photo; origin: Origin }> {
    const file = await fitted(given, this.limits.picture, Infinity);
    const [width, height] = await sizeOf(file);
    const copy = Math.max(width, height) > COPY_PX ? await smaller(file, COPY_PX) : file;
    const kept = await server.keep(copy);
    const isLost = copy !== file && (await saysWhatMadeIt(file));
    const { origin } = isLost ? await server.keep(file) : kept;
    return { photo: { id: kept.id, file, copy, url: urlOf(copy), width, height }, origin };
  }

  /** Edit what was drawn. */
  async editThis(): Promise<void> {
    const draft = this.#drawable;
    const isLast = this.claim("photo");
    const stillOf = this.#claimAll("mode", "newcomer", "source", "change");
    await this.#doing("picture", "Opening the picture", async () => {
      const file = blobOf((await this.#finished(draft)).b64, "image/png");
      const { photo } = await this.#workOn(file);
      if (!isLast()) return letGo(photo.url);
      const { mode, task, prompt, change } = draft;
      const source = mode === "draw" ? prompt : task === "edit" ? change : draft.source;
      const next = { mode: "edit", newcomer: null, source, change: source } as const;
      this.set({ photo, ...NOTHING_YET, ...stillOf(next) });
    });
  }

  async paint(mask: Blob | null): Promise<void> {
    if (mask) await this.#sending("mask", "mask", "", async () => mask);
    else this.set({ mask: null });
  }

  /** Let what is found by points in the photo be what may change; `show` is given it as a URL. */
  async mark(cutout: string, show: (url: string) => Promise<void>): Promise<void> {
    const { photo } = this.draft;
    await this.#sending("mask", "mask", "Looking for it", async (isLast) => {
      const mask = await server.cutOut(photo!.copy, cutout);
      const url = urlOf(mask);
      if (isLast()) await show(url);
      letGo(url);
      return mask;
    });
  }

  /** Let what the words may change be the mask, which can be painted before anything is drawn. */
  async findArea(): Promise<void> {
    await this.#sending("mask", "mask", "Looking for it", async () => {
      const request = this.request(this.draft);
      if (!request) throw new Refused("Say what the picture shall show first.");
      return server.region(this.draft.photo!.copy, request);
    });
  }

  /** What is saved or edited; where a draft still lacks something, that of the picture shown. */
  get #drawable(): Draft {
    return this.request(this.draft) || !this.shown ? this.draft : this.shown.draft;
  }

  /** Return a draft's picture as a PNG that says what made it, at the size of the photo. */
  async #finished(draft: Draft, more: Record<string, string> = {}): Promise<Drawn> {
    const request = this.request(draft);
    if (!request) throw new Refused("There is no picture yet.");
    const { type, ...rest } = request;
    const body = { ...rest, ...more, output_format: "png" };
    const [one] = await (type === "draw" ? server.draw(body) : this.#edited(draft, body));
    return one!;
  }

  /** Width and height of what is saved. */
  get savedPx(): [number, number] {
    const { shown } = this;
    const { mode, photo } = this.draft;
    if (mode === "edit" && photo) return [photo.width, photo.height];
    const side = this.facts?.image_size_px ?? 0;
    const isPhoto = shown && !shown.photo && Math.max(shown.width, shown.height) > side;
    if (isPhoto) return [shown.width, shown.height]; // of the place
    return this.canPlace ? [LARGER * side, LARGER * side] : [side, side];
  }

  async download(): Promise<void> {
    const { mode, seed } = this.#drawable;
    const isScene = mode === "draw" && this.canPlace;
    const more: Record<string, string> = isScene ? { size: this.savedPx.join("x") } : {};
    await this.#save(seed, (one) => one.b64, more);
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
    const draft = this.#drawable;
    await this.#doing("picture", "Writing the file", async () => {
      const file = blobOf(part(await this.#finished(draft, more)), "image/png");
      this.offer(file, this.caption(draft), `${ending}.png`);
    });
  }

  /** Let the browser save a file, called by what it shows. */
  offer(file: Blob, about: string, ending: string): void {
    const link = document.createElement("a");
    link.href = urlOf(file);
    const name = about
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}]+/gu, "-")
      .slice(0, 60);
    link.download = `${name.replaceAll(/^-|-$/g, "") || "picture"}-${ending}`;
    link.click();
    setTimeout(() => letGo(link.href), 10_000);
    this.said = `${link.download} was saved.`;
  }

  /** Draw the animation from the draft to what `animate` says, which its last frame shows. */
  async animate(about: string, animate: Record<string, unknown>): Promise<void> {
    await this.#doing("picture", "Drawing the frames", async () => {
      const { type: _, swiftpie, ...rest } = this.request(this.draft)!;
      const own = { ...(swiftpie as object), animate };
      const [drawn] = await server.draw({ ...rest, output_format: "webp", swiftpie: own });
      const file = blobOf(drawn!.b64, "image/webp");
      letGo(this.film?.url);
      this.film = { file, url: urlOf(file), about };
      this.said = "The animation is ready.";
    });
  }

  // What goes wrong

  #connected(state: Connection, retryInS: number, why: string): void {
    const was = this.connection;
    this.endedBy = why || this.endedBy;
    this.connection = state;
    this.retryInS = Math.max(1, Math.round(retryInS));
    const now = performance.now();
    if (state === "lost" && was === "open") this.#lostAt = now;
    if (state === "open" && this.#lostAt > this.#backAt) {
      this.#awayS = (now - this.#lostAt) / 1000;
      this.#backAt = now;
    }
    if (state === "lost" && was === "open") this.said = "The connection is lost. Trying again.";
    if (state === "lost") void this.#checkToken();
    if (state === "open" && was !== "open" && this.draft.placed.length) this.#soon();
  }

  /** A browser does not tell why a live connection was refused; any other request does. */
  async #checkToken(): Promise<void> {
    await server.models().catch((error: Refused) => error.status === 401 && this.#askForToken());
  }

  #refused(problem: Refused): void {
    // Until it was asked for again the picture is on its way: the one that is shown is of another draft.
    if (problem.code === "identity_not_found") return void this.#revive();
    if (problem.param === "picture_id") return void this.#keepAgain();
    if (problem.retryAfterS) {
      this.#later = setTimeout(() => this.#ask(), problem.retryAfterS * 1000);
      return;
    }
    this.isDrawing = false;
    if (problem.code === "subject_not_named") {
      this.missing = { word: problem.word, near: [...problem.near] };
    } else {
      const { mode, task } = this.draft;
      const place = placeOf(problem);
      const isOfWords = mode === "edit" && task === "edit" && place === "picture";
      this.#fail(isOfWords ? "prompt" : place, problem.message);
    }
  }

  /** Send again what the picture needs and a server that was started anew does not know. */
  async #revive(): Promise<void> {
    if (this.#numReviving) return; // picture and strip may both have found out
    this.#numReviving++;
    const isDone = await this.#doing("subject", "Looking at the subjects again", async () => {
      const theirs = (await server.identities()).filter((one) => one.model === this.model);
      const known = new Set(theirs.map((one) => one.id));
      const { placed, newcomer } = this.draft;
      const needed = new Set([...placed.map(({ key }) => key), newcomer]);
      for (const one of this.subjects) {
        if (one.isNamed || !needed.has(one.key) || known.has(one.id)) continue;
        if (!(await this.#sendFile(one))) await this.#encodeAgain([one]);
      }
    });
    this.#numReviving--;
    if (isDone) this.#soon();
    else this.isDrawing = false;
  }

  async #encodeAgain(subjects: readonly Subject[]): Promise<void> {
    const { model } = this;
    for (const old of subjects) {
      if (model !== this.model) return; // chosen meanwhile, which looks at them as well
      if (old.isNamed || !this.subject(old.key)) continue; // the server looks at it itself
      if (old.sent) {
        await this.#encodeWholeAgain(old, old.sent);
        continue;
      }
      try {
        const sources = await this.sourcesOf(old.key);
        this.#renew(await this.#encode(old.key, sources, old.name, old.sample), model);
      } catch (error) {
        if (!(error instanceof Refused && error.status === 404)) throw error;
        this.subjects = this.subjects.filter((one) => one.key !== old.key);
        this.#fail("subject", `The server has forgotten “${old.name}”. Add its pictures again.`);
      }
    }
  }

  /** Send a person or a file to another model; a subject that it cannot draw is left out. */
  async #encodeWholeAgain(old: Subject, sent: Sent): Promise<void> {
    const file = old.sources[0]?.file;
    const { model } = this;
    let why = "What was sent of it is not here any more.";
    if (sent === "face" && !this.facts?.knows_faces) why = `${this.model} draws no faces.`;
    else if (file) {
      try {
        this.#renew(await this.#encodeWhole(sent, old.key, file, old.name), model);
        return;
      } catch (error) {
        if (!(error instanceof Refused && error.code === "identity_of_others")) throw error;
        why = error.message;
      }
    }
    this.subjects = this.subjects.filter((one) => one.key !== old.key);
    this.#fail("subject", `“${old.name}” was left out. ${why}`);
  }

  async #keepAgain(): Promise<void> {
    const old = this.draft;
    const isDone = await this.#doing("picture", "Opening the picture again", async () => {
      const again: Partial<Record<keyof Draft, unknown>> = {};
      for (const part of old.mode === "draw" ? IN_DRAWINGS : IN_EDITS) {
        const one = old[part];
        if (one && typeof one !== "string") again[part] = await this.#keptAnew(one);
      }
      const isAsItWas = ([part]: [string, unknown]) =>
        this.draft[part as keyof Draft] === old[part as keyof Draft];
      this.set(Object.fromEntries(Object.entries(again).filter(isAsItWas)));
    });
    if (!isDone) this.isDrawing = false;
  }

  /** Return a picture that the server has forgotten, under another name. */
  async #keptAnew<T extends SentPicture | Photo>(one: T): Promise<T> {
    return { ...one, id: (await server.keep("copy" in one ? one.copy : one.file)).id };
  }

  /** Do what takes a while, and say what goes wrong; false if something did. */
  async #doing(place: Place, what: string, work: () => Promise<unknown>): Promise<boolean> {
    const own = { what };
    this.#works = [...this.#works, own];
    this.note = "";
    this.problems = { ...this.problems, [place]: undefined };
    try {
      await work();
      return true;
    } catch (error) {
      this.#tell(place, error);
      return false;
    } finally {
      this.#works = this.#works.filter((one) => one !== own);
    }
  }

  #tell(place: Place, error: unknown): void {
    if (error instanceof Refused && error.status === 401) {
      this.#askForToken();
      return;
    }
    if (!(error instanceof Refused)) throw error;
    if (error.code === "identity_not_found") {
      void this.#revive();
      return;
    }
    const wait = error.retryAfterS ? ` Free again in about ${Math.ceil(error.retryAfterS)} s.` : "";
    this.#fail(place, error.message + wait);
  }

  #fail(place: Place, message: string): void {
    this.problems = { ...this.problems, [place]: message };
  }
}

export const studio = new Studio();

/** Whether nothing answers, or a proxy in its place: both pass. */
const isAway = ({ status }: Refused): boolean => status === 0 || status >= 500;

function ignoreGone(error: unknown): void {
  if (!(error instanceof Refused && error.status === 404)) throw error;
}

function release(shown: Shown): void {
  letGo(shown.url);
  if (shown.mask) letGo(shown.mask);
}

function placeOf({ param, code }: Refused): Place {
  if (param === "prompt") return "prompt";
  const isOfMask = ["mask", "mask_id"].includes(param ?? "");
  if (isOfMask || code === "subject_not_found") return "mask";
  if (param === "identity_id" || param === "swiftpie.subjects") return "subject";
  return param?.startsWith("swiftpie") ? "settings" : "picture";
}
