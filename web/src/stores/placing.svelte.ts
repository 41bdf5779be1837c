/** Who is in the picture, and what the words call them. */

import { free } from "../box";
import type { Draft, Placed, Source, Subject } from "../draft";
import { isPlacing, joined, names, placedAt, renamed, without } from "../naming";
import { server, type Box } from "../server";
import type { Start } from "./drafts.svelte";
import { ignoreGone } from "./shelf.svelte";
import type { Studio } from "../studio.svelte";

const LEFT: Box = [0.04, 0.4, 0.48, 0.84]; // square, as what the encoder sees
const RIGHT: Box = [0.52, 0.4, 0.96, 0.84];

export class Placing {
  active = $state(0); // index into draft.placed
  onremoved = (_: number): void => undefined; // the subject with this key
  written = async (): Promise<void> => undefined; // once a reload would return to what is now

  constructor(
    private readonly stores: Pick<Studio, "models" | "shelf" | "drafts" | "pictures" | "notices">,
  ) {}

  /** Who was chosen, each with its place in the draft. */
  get chosen(): (Placed & { index: number; subject: Subject })[] {
    return this.stores.drafts.draft.placed.flatMap((one, index) => {
      const subject = this.stores.shelf.subject(one.key);
      return subject ? [{ ...one, index, subject }] : [];
    });
  }

  /** What the prompt calls the subject that the next one replaces. */
  get replaced(): string | undefined {
    const old = this.stores.drafts.draft.placed[this.active];
    return old
      ? this.stores.shelf.subject(old.key)?.name
      : this.stores.pictures.shown?.named[0]?.word;
  }

  /** Draw this subject in place of the active one. */
  use(key: number, start = this.stores.drafts.start): void {
    this.stores.drafts.claim("use");
    const { draft } = this.stores.drafts;
    const next = this.stores.shelf.subject(key)!;
    if (start.mode === "edit") {
      this.#invite(key);
      return;
    }
    const there = draft.placed.findIndex((one) => one.key === key);
    if (there >= 0) {
      this.active = there;
      if (draft.isOffered) this.stores.drafts.set({ isOffered: false });
      return;
    }
    const old = draft.placed[this.active];
    const last = this.stores.drafts.isTypedSince(start) ? "" : this.replaced; // else the words are newer
    const placed = old
      ? draft.placed.map((one) => (one === old ? { ...one, key, yaw: null } : one))
      : [{ key, box: null, yaw: null }];
    const prompt = last ? renamed(draft.prompt, last, next.name) : draft.prompt;
    this.stores.drafts.set({ placed, prompt });
  }

  /** Put this subject into the photo; where something goes already, in its place. */
  #invite(key: number): void {
    const { task, newcomer } = this.stores.drafts.draft;
    const isThere = newcomer === key && task !== "remove";
    if (isThere && task === "edit") this.stores.drafts.set({ newcomer: null });
    else if (!isThere) {
      const next = task === "remove" ? "replace" : task;
      this.stores.drafts.set({ task: next, newcomer: key, yaw: null, pitch: null });
    }
  }

  /** Draw this subject beside those that are there. */
  add(key: number, start = this.stores.drafts.start): void {
    const { draft } = this.stores.drafts;
    const isFull = draft.placed.length >= this.stores.models.limits.subjects;
    if (isFull || draft.placed.some((one) => one.key === key)) return;
    const last = this.stores.shelf.nameOf(draft.placed.at(-1));
    const next = this.stores.shelf.subject(key)!;
    let placed = [...draft.placed, { key, box: null as Box | null, yaw: null }];
    if (placed.length === 2 && placed.every((one) => !one.box)) {
      placed = placed.map((one, i) => ({ ...one, box: i ? RIGHT : LEFT }));
    } else if (placed.some((one) => one.box)) {
      const box = free(placed.flatMap((one) => (one.box ? [one.box] : [])));
      placed = placed.map((one) => ({ ...one, box: one.box ?? box }));
    }
    this.active = placed.length - 1;
    // Who is named already, and was drawn from the library until now, is not named twice.
    const others = draft.placed.map((one) => this.stores.shelf.nameOf(one));
    const isSaid = names(draft.prompt, next.name) && !others.includes(next.name);
    const joins = last && !this.stores.drafts.isTypedSince(start) && !isSaid;
    const prompt = joins ? joined(draft.prompt, last, next.name) : draft.prompt;
    this.stores.drafts.set({ placed, prompt });
  }

  /** Draw this subject where it was dropped: beside those that were chosen, or into the photo. */
  drop(key: number, box: Box, start: Start): void {
    const { drafts, models } = this.stores;
    const { placed, isOffered } = drafts.draft;
    const isBeside = placed.length > 0 && placed.length < models.limits.subjects && !isOffered;
    if (isBeside && start.mode === "draw") this.add(key, start);
    else this.use(key, start);
    const index = drafts.draft.placed.findIndex((one) => one.key === key);
    if (start.mode === "edit") drafts.set({ box });
    else this.place(index, { box });
  }

  /** Draw a subject over the others. */
  bringToFront(index: number): void {
    const { placed } = this.stores.drafts.draft;
    const others = placed.filter((_, i) => i !== index);
    this.active = others.length;
    this.stores.drafts.set({ placed: [...others, placed[index]!] });
  }

  /** Leave a subject out of the picture; it stays on the shelf. */
  leaveOut(index: number): void {
    const { draft } = this.stores.drafts;
    const name = this.stores.shelf.nameOf(draft.placed[index]);
    let placed = draft.placed.filter((_, i) => i !== index);
    if (placed.length === 1) placed = placed.map((one) => ({ ...one, box: null }));
    this.limitTo(placed.length);
    const prompt = placed.length ? without(draft.prompt, name) : draft.prompt;
    this.stores.drafts.set({ placed, prompt });
  }

  limitTo(numPlaced: number): void {
    this.active = Math.max(0, Math.min(this.active, numPlaced - 1));
  }

  place(index: number, part: Partial<Placed>): void {
    const { placed } = this.stores.drafts.draft;
    const next = placed.map((one, i) => (i === index ? { ...one, ...part } : one));
    this.stores.drafts.set({ placed: next });
  }

  /** Put another name into what is said of the picture. */
  callOtherwise(word: string, name: string): void {
    const { mode, prompt, change } = this.stores.drafts.draft;
    const call = isPlacing(name) ? placedAt : renamed;
    if (mode === "draw") this.stores.drafts.set({ prompt: call(prompt, word, name) });
    else this.stores.drafts.set({ change: call(change, word, name) });
  }

  /** Call a subject otherwise, in the prompt too. */
  async rename(key: number, name: string): Promise<void> {
    const old = this.stores.shelf.subject(key)!;
    this.stores.shelf.change(key, { name });
    this.stores.drafts.set(this.#renaming(old, name));
    await server.rename(old.id, name).catch(ignoreGone); // it is encoded under this name then
  }

  /** Return what changes in the draft where a subject is called otherwise, which chooses it. */
  #renaming({ key, name }: Subject, next: string): Partial<Draft> {
    const { prompt, isOffered, placed } = this.stores.drafts.draft;
    return {
      prompt: name === next ? prompt : renamed(prompt, name, next),
      isOffered: isOffered && placed[0]?.key !== key,
    };
  }

  /** Encode a subject again, of other pictures or with other cut-outs. */
  async recut(key: number, sources: readonly Source[], name: string): Promise<void> {
    const old = this.stores.shelf.subject(key);
    if (!old) return;
    const { model } = this.stores.models;
    this.stores.shelf.renew(await this.stores.shelf.encode(key, sources, name, null), model, name);
    this.stores.drafts.set(this.#renaming(old, name));
    await this.written(); // else a reload would look for what is gone
    await server.forget(old.id).catch(() => undefined); // it may have fallen off the shelf
  }

  /** Delete a subject here and on the server. */
  async remove(key: number): Promise<void> {
    const subject = this.stores.shelf.subject(key);
    if (!subject) return;
    const { placed, newcomer } = this.stores.drafts.draft;
    const index = placed.findIndex((one) => one.key === key);
    if (index >= 0) this.leaveOut(index);
    if (newcomer === key) this.stores.drafts.set({ newcomer: null });
    this.stores.shelf.takeOff(key);
    this.onremoved(key);
    await this.written();
    try {
      await server.forget(subject.id).catch(ignoreGone);
      this.stores.notices.said = `${subject.name} was deleted.`;
    } catch (error) {
      this.stores.notices.tell("subject", error);
    }
  }
}
