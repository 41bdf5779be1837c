/** The subjects to choose from, and what the server has of them. */

import type { Source, Subject } from "../draft";
import { urlOf } from "../keeping";
import { fileOf, remember, samplesMet, type Sample } from "../samples";
import { Refused, server } from "../server";
import type { Entry, KnownIdentity, Listing, SceneEntry, Sent } from "../server";
import type { Studio } from "../studio.svelte";

/** Return what the server was sent in place of pictures, by what it keeps. */
function sentOf({ is_face, pictures }: KnownIdentity): Sent | undefined {
  if (is_face) return "face";
  return pictures.length ? undefined : "identity";
}

export class Shelf {
  subjects = $state.raw<readonly Subject[]>([]);
  places = $state.raw<readonly SceneEntry[]>([]); // of the library, once they are known
  onrenewed = (): void => undefined; // what the picture needs is with the server again
  #lastKey = 0;
  #meeting = new Map<string, Promise<unknown>>(); // samples and entries that are on their way
  #sprites = new Map<string, Promise<string>>(); // URLs of pictures of the library
  #numReviving = 0;

  constructor(private readonly stores: Pick<Studio, "models" | "notices">) {}

  subject(key: number | null): Subject | undefined {
    return this.subjects.find((one) => one.key === key);
  }

  /** Return what prompts call the first of these, "" for none. */
  nameOf(placed: { key: number } | undefined): string {
    return this.subject(placed?.key ?? null)?.name ?? "";
  }

  newKey(): number {
    return ++this.#lastKey;
  }

  /** Take over the subjects of an earlier visit. */
  restore(subjects: readonly Subject[]): void {
    this.subjects = subjects;
    this.#lastKey = Math.max(0, ...subjects.map(({ key }) => key));
  }

  /** Put on the shelf what only the server knows of this visitor. */
  async list(): Promise<void> {
    const here = new Set(this.subjects.map(({ id }) => id));
    const theirs = (await this.#identities()).filter(({ id }) => !here.has(id));
    const samples = samplesMet();
    const more = await Promise.all(
      theirs.map(async (one): Promise<Subject[]> => {
        const picture = await server.picture(one.thumbnail).catch(ignoreGone);
        if (!picture) return []; // deleted meanwhile, by another tab
        const sample = samples[one.id] ?? null;
        return [{ ...subjectOf(one, this.newKey(), picture), sent: sentOf(one), sample }];
      }),
    );
    for (const one of more.flat())
      if (!this.subjects.some(({ id }) => id === one.id)) this.shelve(one);
  }

  /** Return what the server has of this visitor for the model. */
  async #identities(): Promise<KnownIdentity[]> {
    return (await server.identities()).filter(({ model }) => model === this.stores.models.model);
  }

  /** Have pictures encoded, with masks of them all where one was corrected. */
  async encode(
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
    const known = await server.encode(files, masks, name, this.stores.models.model);
    if (sample) remember(known.id, sample);
    const picture = await server.picture(known.thumbnail);
    return { ...subjectOf(known, key, picture), sources, name, sample };
  }

  /** Have the face of a photograph encoded, or take the file of an identity. */
  async encodeWhole(sent: Sent, key: number, file: Blob, name: string): Promise<Subject> {
    const known = await server.encodeWhole(sent, file, name, this.stores.models.model);
    const picture = await server.picture(known.thumbnail);
    const sources = [{ file, mask: null }];
    return { ...subjectOf(known, key, picture), numPictures: 0, kept: [], sent, name, sources };
  }

  /** Put a subject on the shelf, in the place of the one with its key if there is one. */
  shelve(subject: Subject): void {
    const { key, id, isNamed } = subject;
    this.subjects = this.subject(key)
      ? this.subjects.map((one) => (one.key === key ? subject : one))
      : [...this.subjects, subject];
    if (isNamed) return;
    // Its file comes meanwhile, with which another server can go on at once.
    server.picture(`/v1/identities/${id}/file`).then(
      (file) => this.subject(key)?.id === id && this.change(key, { file }),
      () => undefined, // its pictures are sent instead
    );
  }

  /** Put what became of a subject in its place, unless it is gone or another model was chosen. */
  renew(next: Subject, model: string, name?: string): void {
    const old = this.subject(next.key);
    if (old && model === this.stores.models.model) this.shelve({ ...next, name: name ?? old.name });
    else server.forget(next.id).catch(() => undefined);
  }

  /** Change some of a subject, which may have changed otherwise since it was looked up. */
  change(key: number, change: Partial<Subject>): void {
    this.subjects = this.subjects.map((one) => (one.key === key ? { ...one, ...change } : one));
  }

  takeOff(key: number): void {
    this.subjects = this.subjects.filter((one) => one.key !== key);
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
    this.change(key, { sources });
    return sources;
  }

  // What a server that was started anew does not know

  /** Send again what the picture needs, of which the server does not know all. */
  async revive(needed: ReadonlySet<number | null>): Promise<boolean> {
    if (this.#numReviving) return true; // picture and strip may both miss it
    return this.#reviving("Looking at the subjects again", async () => {
      const known = new Set((await this.#identities()).map(({ id }) => id));
      for (const one of this.subjects) {
        if (one.isNamed || !needed.has(one.key) || known.has(one.id)) continue;
        if (!(await this.#sendFile(one))) await this.encodeAgain([one]);
      }
      this.onrenewed();
    });
  }

  /** Let another model look at the subjects; those that it does not know come anyway. */
  reviveAll(what: string, begin: () => Promise<void>): Promise<boolean> {
    return this.#reviving(what, async () => {
      await begin();
      await this.encodeAgain(this.subjects);
    });
  }

  async #reviving(what: string, work: () => Promise<void>): Promise<boolean> {
    this.#numReviving++;
    const isDone = await this.stores.notices.doing("subject", what, work);
    this.#numReviving--;
    return isDone;
  }

  /** Send the file of a subject that a server does not know; false if that is no use. */
  async #sendFile(old: Subject): Promise<boolean> {
    if (!old.file) return false;
    try {
      const { model } = this.stores.models;
      const { id } = await server.encodeWhole("identity", old.file, old.name, model);
      if (old.sample) remember(id, old.sample);
      // Pictures that the server alone had are gone: it is corrected no more.
      const sources = [{ file: old.file, mask: null }];
      const whole = { sent: "identity", sources, kept: [] } as const;
      this.change(old.key, { id, ...(!old.sources.length && whole) });
      return true;
    } catch (error) {
      if (error instanceof Refused && error.status === 400) return false; // of other weights
      throw error;
    }
  }

  async encodeAgain(subjects: readonly Subject[]): Promise<void> {
    const { model } = this.stores.models;
    for (const old of subjects) {
      if (model !== this.stores.models.model) return; // chosen meanwhile, which looks at them as well
      if (old.isNamed || !this.subject(old.key)) continue; // the server looks at it itself
      if (old.sent) {
        await this.#encodeWholeAgain(old, old.sent);
        continue;
      }
      try {
        const sources = await this.sourcesOf(old.key);
        this.renew(await this.encode(old.key, sources, old.name, old.sample), model);
      } catch (error) {
        if (!(error instanceof Refused && error.status === 404)) throw error;
        this.takeOff(old.key);
        const why = `The server has forgotten “${old.name}”. Add its pictures again.`;
        this.stores.notices.fail("subject", why);
      }
    }
  }

  /** Send a person or a file to another model; a subject that it cannot draw is left out. */
  async #encodeWholeAgain(old: Subject, sent: Sent): Promise<void> {
    const file = old.sources[0]?.file;
    const { model, facts } = this.stores.models;
    let why = "What was sent of it is not here any more.";
    if (sent === "face" && !facts?.knows_faces) why = `${model} draws no faces.`;
    else if (file) {
      try {
        this.renew(await this.encodeWhole(sent, old.key, file, old.name), model);
        return;
      } catch (error) {
        if (!(error instanceof Refused && error.code === "identity_of_others")) throw error;
        why = error.message;
      }
    }
    this.takeOff(old.key);
    this.stores.notices.fail("subject", `“${old.name}” was left out. ${why}`);
  }

  // Samples and the library

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
      const coming = async () =>
        this.shelve(await (isEntry ? this.#fetched(offered) : this.#encoded(offered)));
      const what = `Looking at the ${offered.name}`;
      this.#meeting.set(where, this.stores.notices.doing("subject", what, coming));
    }
    await this.#meeting.get(where);
    this.#meeting.delete(where);
    return this.known(offered)?.key;
  }

  async #encoded(sample: Sample): Promise<Subject> {
    const sources = [{ file: await fileOf(sample), mask: null }];
    return this.encode(this.newKey(), sources, sample.name, sample);
  }

  async #fetched(entry: Entry): Promise<Subject> {
    const { name } = entry;
    const thumbnail = await this.sprite(entry);
    const facts = { numPictures: 1, warnings: [], sources: [], kept: [], sample: null };
    return { key: this.newKey(), id: name, isNamed: true, name, thumbnail, ...facts };
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
      if (!(error instanceof DOMException)) this.stores.notices.tell("subject", error);
      return null;
    }
  }

  /** Learn the places of the library; without an answer, with the next connection. */
  async learnPlaces(): Promise<void> {
    if (this.places.length) return;
    const tell = (error: unknown) => this.stores.notices.tell("scene", error);
    await server.scenes().then((places) => (this.places = places), tell);
  }

  isPlace(name: string): boolean {
    return this.places.some((place) => place.name === name);
  }
}

/** Return a subject as the server knows it. */
function subjectOf(known: KnownIdentity, key: number, picture: Blob): Subject {
  const { id, name, warnings, num_pictures: numPictures, pictures: kept } = known;
  const thumbnail = urlOf(picture);
  const facts = { isNamed: false, sources: [], sample: null };
  return { key, id, name, thumbnail, numPictures, warnings, kept, ...facts };
}

export function ignoreGone(error: unknown): void {
  if (!(error instanceof Refused && error.status === 404)) throw error;
}
