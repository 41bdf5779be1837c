/** Files that come by drop, paste, camera and file pickers, and the subjects that they become. */

import { placesIn, putsIn, type Source, type Subject } from "../draft";
import { inMB, letGo, urlOf } from "../keeping";
import { firstSubjectIn, isUnnamed, names, unnamed, wordsOf } from "../naming";
import { plain } from "../remarks";
import { Refused, server, type Box, type Origin, type Sent } from "../server";
import { fitted, isIdentity, isPicture, saysWhatMadeIt } from "../upload";
import type { Start } from "./drafts.svelte";
import { ignoreGone } from "./shelf.svelte";
import { NUM_SEEDS } from "./variations.svelte";
import type { Studio } from "../studio.svelte";

const PERSON = "person"; // how a prompt calls somebody until they are renamed

/** A picture that was dropped and says what made it. */
export interface Known {
  file: Blob;
  url: string;
  origin: Origin;
}

export interface Crowd {
  file: Blob;
  url: string;
  subjects: readonly { mask: Blob; url: string; box: Box; isTaken: boolean }[];
}

/** Pictures whose cut-outs somebody looks at; of a subject, or of what shall become one. */
export interface Correcting {
  key: number | null;
  name: string;
  sources: readonly Source[];
  warnings?: readonly string[]; // that it may be wrong
}

export class Arrivals {
  known = $state.raw<Known | null>(null);
  several = $state.raw<readonly File[]>([]); // pictures whose use is not chosen yet
  latest = $state.raw<Blob | null>(null); // the picture that came last, which may show several
  crowd = $state.raw<Crowd | null>(null);
  onphoto = async (_: Blob): Promise<void> => undefined; // a picture to edit came
  onmodel = async (_: string): Promise<void> => undefined; // by which a picture was drawn
  #corrections = $state.raw<readonly Correcting[]>([]); // one after the other
  #toName = $state.raw<readonly number[]>([]); // keys of subjects that came without a name
  #adding: Promise<unknown> = Promise.resolve(); // settled when no subject is being added

  constructor(
    private readonly stores: Pick<Studio, "models" | "shelf" | "drafts" | "placing" | "notices">,
  ) {}

  /** Whose cut-out is looked at. */
  get correcting(): Correcting | null {
    return this.#corrections[0] ?? null;
  }

  /** Who has no name yet; the first that came is asked for first. */
  get unnamed(): Subject | undefined {
    const all = this.#toName.map((key) => this.stores.shelf.subject(key));
    return all.find((one) => one && isUnnamed(one.name));
  }

  /** Take pictures and identities that were dropped, pasted, chosen or photographed. */
  async take(files: readonly File[], isForShelf = false, at: Box | null = null): Promise<void> {
    const { draft } = this.stores.drafts;
    const isSubject = isForShelf || draft.mode === "draw" || (at !== null && putsIn(draft));
    const [pictures, identities] = [files.filter(isPicture), files.filter(isIdentity)];
    for (const file of identities) await this.addWhole("identity", file);
    if (!pictures.length) {
      if (files.length > identities.length) {
        const kind = files[0]!.type || "of an unknown kind";
        this.stores.notices.fail("subject", `“${files[0]!.name}” is ${kind}. A picture is needed.`);
      }
      return;
    }
    if (!isSubject) await this.onphoto(pictures[0]!);
    else if (pictures.length > 1) this.several = pictures;
    else await this.#lookAt(pictures[0]!, at);
  }

  async #lookAt(picture: File, at: Box | null): Promise<void> {
    await this.#addingOne("Looking at the picture", async (start) => {
      const file = await this.fitted(picture);
      const { origin } = await server.keep(file);
      if (origin["prompt"]) this.#know(file, origin);
      else {
        this.closeCrowd();
        await this.#addSubject([file], picture.name, { ...start, at });
        this.latest = file;
      }
    });
  }

  /** Return a picture of a subject to send, and say so where that is another one. */
  async fitted(file: Blob): Promise<Blob> {
    const { picture } = this.stores.models.limits;
    const sent = await fitted(file, picture, picture.kept_px);
    if (sent !== file) {
      this.stores.notices.note = `Sent as ${inMB(sent.size)} in place of ${inMB(file.size)}.`;
    }
    return sent;
  }

  // Several subjects

  async openCrowd(): Promise<void> {
    const file = this.latest!;
    await this.stores.notices.doing("subject", "Looking for all subjects", async () => {
      const all = await server.cutOutAll(file);
      if (file !== this.latest) return;
      const subjects = all.map((one) => ({ ...one, url: urlOf(one.mask), isTaken: false }));
      this.crowd = { file, url: urlOf(file), subjects };
    });
  }

  /** Add a subject of that picture: in place of what the cut-out of all showed, or beside others. */
  async takeFrom(crowd: Crowd, number: number): Promise<void> {
    const { file, subjects } = crowd;
    const { mask, url } = subjects[number]!;
    await this.#addingOne("Looking at the picture", async (start) => {
      const isBeside = (this.crowd ?? crowd).subjects.some((one) => one.isTaken);
      const name = this.#noName();
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

  /** Take the pictures that were waiting, as one subject or as one each. */
  async resolveSeveral(asOne: boolean): Promise<void> {
    const files = this.several;
    this.several = [];
    await this.#addingOne("Looking at the pictures", async () => {
      for (const group of asOne ? [files] : files.map((file) => [file])) {
        await this.#addSubject(group, group[0]!.name, this.stores.drafts.start);
      }
    });
  }

  // Pictures that say what made them

  /** Say what made a picture, or that it does not tell. */
  async lookUp(file: File): Promise<void> {
    await this.stores.notices.doing("picture", "Looking at the picture", async () => {
      const origin: Origin = (await saysWhatMadeIt(file)) ? (await server.keep(file)).origin : {};
      if (origin["prompt"]) this.#know(file, origin);
      else this.stores.notices.fail("picture", "This picture does not say what made it.");
    });
  }

  #know(file: Blob, origin: Origin): void {
    this.closeKnown();
    this.known = { file, url: urlOf(file), origin };
  }

  async useKnownAs(use: "settings" | "subject" | "photo"): Promise<void> {
    const { known } = this;
    this.closeKnown();
    if (!known) return;
    if (use === "settings") this.restore(known.origin);
    else if (use === "photo") {
      this.stores.drafts.set({ mode: "edit" });
      await this.onphoto(known.file);
    } else {
      const [what, { file }] = ["Looking at the picture", known];
      await this.#addingOne(what, (start) => this.#addSubject([file], "", start));
    }
  }

  closeKnown(): void {
    if (this.known) letGo(this.known.url);
    this.known = null;
  }

  /** Draw what made a picture, with the subjects of now. */
  restore(origin: Origin): void {
    const number = (name: string, usual: number) => {
      const value = Number(origin[name] ?? Number.NaN);
      return Number.isFinite(value) ? value : usual;
    };
    const { draft } = this.stores.drafts;
    const saved = Math.max(0, Math.round(number("seed", draft.seed)));
    const seed = Number.isSafeInteger(saved + NUM_SEEDS) ? saved : draft.seed; // larger ones are not exact
    const places = placesIn(origin["subjects"]);
    const { prompt = draft.prompt, scene = "" } = origin;
    const isChosen = this.stores.shelf.isPlace(scene) && !names(prompt, scene); // else the words say it
    this.stores.drafts.set({
      mode: "draw",
      prompt,
      scene: isChosen ? scene : "",
      seed,
      firstSeed: seed,
      identity: number("identity_scale", draft.identity),
      detail: number("detail_scale", draft.detail),
      balance: number("balance", 0),
      placed: draft.placed.map((one, i) => ({ ...one, ...places[i]?.place })),
    });
    const { preset } = origin;
    const { all, model } = this.stores.models;
    if (preset && preset !== model && all.some(({ id }) => id === preset)) {
      void this.onmodel(preset);
    }
  }

  // Subjects

  /** Add subjects after those that are on their way, so that each is named beside the others. */
  async #addingOne(what: string, work: (start: Start) => Promise<unknown>): Promise<void> {
    await this.stores.notices.doing("subject", what, () => {
      const turn = this.#adding.then(() => work(this.stores.drafts.start));
      this.#adding = turn.catch(() => undefined);
      return turn;
    });
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

  async addCut(
    sources: readonly Source[],
    name: string,
    start = this.stores.drafts.start,
    isBeside = false,
  ): Promise<Subject> {
    const encoded = await this.stores.shelf.encode(this.stores.shelf.newKey(), sources, name, null);
    return this.#welcome(encoded, start, isBeside && start.mode === "draw");
  }

  /** Add a person by the face, or the subject of a file, to the shelf and to the picture. */
  async addWhole(what: Sent, file: File): Promise<void> {
    const isFace = what === "face";
    await this.#addingOne(isFace ? "Looking at the face" : "Opening the subject", async (start) => {
      const sent = isFace ? await this.fitted(file) : file;
      const name = isFace ? PERSON : await this.#nameOf(file.name);
      const { shelf } = this.stores;
      const encoded = await shelf.encodeWhole(what, shelf.newKey(), sent, name);
      const subject = await this.#welcome(encoded, start);
      this.stores.notices.note = plain(subject.warnings.join(" ")) || this.stores.notices.note;
    });
  }

  /** Put a new subject on the shelf and into the picture; words that were typed meanwhile name it. */
  async #welcome(encoded: Subject, start: Start, isBeside = false): Promise<Subject> {
    const isTyped = start.mode === "draw" && this.stores.drafts.isTypedSince(start);
    const name = isTyped && !isBeside ? await this.#calledNow(encoded) : encoded.name;
    const [subject, { key, id }] = [{ ...encoded, name }, encoded];
    this.stores.shelf.shelve(subject);
    if (start.at) this.stores.placing.drop(key, start.at, start);
    else if (isBeside) this.stores.placing.add(key, start);
    else this.stores.placing.use(key, start);
    if (isUnnamed(name)) this.#toName = [...this.#toName, key];
    if (name !== encoded.name) await server.rename(id, name).catch(ignoreGone);
    return subject;
  }

  // Names

  /** Return all words, or the last one, if that is a noun of the library. */
  async #nounIn(text: string): Promise<string | null> {
    for (const words of wordsOf(text)) {
      if (words && (await server.library(words, 1)).meant) return words;
    }
    return null;
  }

  /** Return what to call the subject of a file: its name if that is a noun of the library. */
  async #nameOf(file: string): Promise<string> {
    return (await this.#nounIn(file)) ?? this.#noName();
  }

  #noName(): string {
    return unnamed(this.stores.shelf.subjects.map(({ name }) => name));
  }

  /** Return what the prompt of now calls a subject that was sent before it was typed. */
  async #calledNow({ name }: Subject): Promise<string> {
    const noun = await this.#nounIn(firstSubjectIn(this.stores.drafts.draft.prompt).join(" "));
    const known = [name, noun, this.stores.placing.replaced];
    return known.find((one) => one && names(this.stores.drafts.draft.prompt, one)) ?? name;
  }

  /** Say what a subject without a name is; "" leaves it without. */
  async name(key: number, name: string): Promise<void> {
    this.#toName = this.#toName.filter((one) => one !== key);
    if (name)
      await this.stores.notices.doing("subject", "", () => this.stores.placing.rename(key, name));
  }

  // Corrections

  #doubt(subject: Subject): void {
    if (subject.warnings.length) this.correct(subject);
  }

  correct(what: Correcting): void {
    this.#corrections = [...this.#corrections, what];
  }

  corrected(): void {
    this.#corrections = this.#corrections.slice(1);
  }

  /** Ask no more about a subject that is gone; the first is open, and closes itself. */
  drop(key: number): void {
    this.#corrections = this.#corrections.filter((one, i) => !i || one.key !== key);
  }
}
