/** The stores of the page, and what each does when another has changed. */

import type { Draft } from "./draft";
import { SAMPLES } from "./samples";
import { patience, Refused, server, setToken } from "./server";
import { Arrivals } from "./stores/arrivals.svelte";
import { Downloads } from "./stores/downloads";
import { Drafts, type Change } from "./stores/drafts.svelte";
import { Drawing } from "./stores/drawing.svelte";
import { Edits } from "./stores/edits.svelte";
import { Films } from "./stores/films.svelte";
import { Links } from "./stores/links.svelte";
import { Models } from "./stores/models.svelte";
import { Notices } from "./stores/notices.svelte";
import { Pictures } from "./stores/pictures.svelte";
import { Placing } from "./stores/placing.svelte";
import { Queue } from "./stores/queue.svelte";
import { Shelf } from "./stores/shelf.svelte";
import { Variations } from "./stores/variations.svelte";
import { Visits } from "./stores/visits.svelte";
import { Words } from "./stores/words";

const OF_OTHERS = ["mode", "task", "photo"] as const; // with others, variations have nothing to say
const AWAY_MS = 2_000; // until a server that is not there is asked again

export class Studio {
  readonly notices: Notices = new Notices();
  readonly models: Models = new Models();
  readonly shelf: Shelf = new Shelf(this);
  readonly drafts: Drafts = new Drafts(this);
  readonly pictures: Pictures = new Pictures(this);
  readonly words: Words = new Words(this);
  readonly placing: Placing = new Placing(this);
  readonly drawing: Drawing = new Drawing(this);
  readonly variations: Variations = new Variations(this);
  readonly queue: Queue = new Queue(this);
  readonly downloads: Downloads = new Downloads(this);
  readonly films: Films = new Films(this);
  readonly arrivals: Arrivals = new Arrivals(this);
  readonly edits: Edits = new Edits(this);
  readonly links: Links = new Links(this);
  readonly visits: Visits = new Visits(this);
  #isOpening = false;
  #isAtWork = false; // the server knows what the last visit left

  constructor() {
    this.notices.onforgotten = () => void this.#revive();
    this.drafts.onchange = (change) => this.#changed(change);
    this.pictures.onreturn = (before) => this.#returned(before);
    this.drawing.onsettled = () => void this.variations.draw();
    this.drawing.onforgotten = (what) =>
      void (what === "subject" ? this.#revive() : this.edits.keepAgain());
    this.shelf.onrenewed = () => this.drawing.soon();
    this.placing.onremoved = (key) => this.arrivals.drop(key);
    this.placing.written = () => this.visits.written();
    this.arrivals.onphoto = (file) => this.edits.openPhoto(file);
    this.arrivals.onmodel = (model) => this.switchTo(model);
    patience.tell = (seconds) => this.#waits(seconds);
  }

  #changed({ parts, before }: Change): void {
    const { draft } = this.drafts;
    if (OF_OTHERS.some((name) => draft[name] !== before[name])) this.variations.forget();
    this.variations.areDue ||= parts.some((name) => name !== "seed");
    this.notices.clear();
    this.drawing.begin();
  }

  #returned(before: Draft): void {
    const { draft } = this.drafts;
    const { at, history } = this.pictures;
    this.drawing.rest();
    this.notices.clear();
    if (OF_OTHERS.some((name) => draft[name] !== before[name])) this.variations.forget();
    this.placing.limitTo(draft.placed.length);
    void this.variations.draw();
    this.notices.said = `Step ${at + 1} of ${history.length}.`;
  }

  /** Let pictures that wait go before variations, which fill the queue. */
  #waits(seconds: number | null): void {
    const isOver = this.notices.waitsS !== null && seconds === null;
    this.notices.waitsS = seconds;
    if (seconds !== null) this.variations.stop();
    else if (isOver) void this.variations.draw();
  }

  async #revive(): Promise<void> {
    const { placed, newcomer } = this.drafts.draft;
    const needed = new Set([...placed.map(({ key }) => key), newcomer]);
    if (!(await this.shelf.revive(needed))) this.pictures.isDrawing = false;
  }

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
    const isBack = await this.visits.resume();
    try {
      this.models.learn(await server.models());
      this.notices.needsToken = false;
      while (!(await server.isReady())) {
        this.drawing.isStarting = true;
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
      this.drawing.isStarting = false;
      this.drawing.connect();
      if (this.#isAtWork) return; // a token was asked for meanwhile
      await (isBack ? this.#goOn() : this.#begin());
      await this.links.open();
      this.#isAtWork = true;
      if (!isBack) this.visits.keepFromNow();
    } catch (error) {
      this.drawing.isStarting = false;
      if (error instanceof Refused && isAway(error)) {
        this.drawing.connection = "lost";
        this.drawing.retryInS = AWAY_MS / 1_000;
        setTimeout(() => void this.open(), AWAY_MS);
      } else this.notices.tell("picture", error);
    }
  }

  /** Tell the server what the last visit left, as far as needed. */
  async #goOn(): Promise<void> {
    const { all, model } = this.models;
    const isOffered = all.some(({ id }) => id === model);
    if (isOffered) await this.models.learnWords();
    else await this.#choose(all[0]!.id);
    await this.shelf.list();
    if (!isOffered) await this.shelf.encodeAgain(this.shelf.subjects);
    if (this.pictures.isStep) await this.variations.draw();
    else this.#anew();
  }

  async #begin(): Promise<void> {
    await this.#choose(this.models.all[0]!.id);
    await this.shelf.list();
    const { drafts } = this;
    const { prompt: words, placed, photo } = drafts.draft;
    if (words || placed.length || photo) return drafts.set({}); // somebody began already
    const prompt = "a photo of a dog on a frozen lake";
    if (!this.models.readsPictures) return drafts.set({ prompt });
    const offered = (drafts.draft = { ...drafts.draft, prompt });
    const key = await this.shelf.meet(SAMPLES[0]!);
    if (drafts.draft !== offered) return;
    if (key === undefined) return this.#anew();
    this.placing.use(key);
    drafts.draft = { ...drafts.draft, isOffered: true };
  }

  async logIn(token: string): Promise<void> {
    this.notices.tokenProblem = "";
    try {
      setToken(token);
    } catch (error) {
      this.notices.tokenProblem = (error as Refused).message;
      return;
    }
    await this.open();
  }

  async #choose(model: string): Promise<void> {
    const learning = this.models.choose(model);
    const { usual, canEdit } = this.models;
    const { draft } = this.drafts;
    const task = !canEdit && draft.task === "edit" ? "insert" : draft.task;
    this.drafts.draft = { ...draft, ...usual, task };
    await learning;
  }

  /** Go on with another model, which has to look at the subjects itself. */
  async switchTo(model: string): Promise<void> {
    const choose = () => this.#choose(model);
    const isReady = await this.shelf.reviveAll(`Getting ${model} ready`, choose);
    if (model !== this.models.model) return; // another one was chosen meanwhile
    if (isReady) this.#anew();
    else this.pictures.isDrawing = false;
  }

  /** Ask for the picture of a draft whose subjects are others now; what is said of them stays. */
  #anew(): void {
    const { subject } = this.notices.problems;
    this.drafts.set({});
    if (subject) this.notices.fail("subject", subject);
  }
}

export const studio = new Studio();

/** Whether nothing answers, or a proxy in its place: both pass. */
const isAway = ({ status }: Refused): boolean => status === 0 || status >= 500;
