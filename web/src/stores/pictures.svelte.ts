/** The picture that is shown, and those that the visitor came to rest on before. */

import type { Draft } from "../draft";
import { letGo, urlOf } from "../keeping";
import type { Box, Named } from "../server";
import { sizeOf } from "../upload";
import type { Studio } from "../studio.svelte";

const MAX_HISTORY = 60;

export interface Shown {
  url: string;
  file: Blob;
  width: number;
  height: number;
  mask: string | null; // URL of what an edit could change
  photo: string | null; // id of what was edited
  draft: Draft; // of which it is
  box: Box | null; // where a subject was put into it
  subjectsAt: Box | null; // just around those of a drawing
  followsSeed: boolean; // another seed gives another one
  named: readonly Named[]; // who is of the library, besides those who were chosen
  warnings: readonly string[];
}

export interface Moment {
  draft: Draft;
  shown: Shown;
  name?: string; // that the visitor gave it
  isFavourite?: boolean; // it stays, however many come
}

export class Pictures {
  shown = $state.raw<Shown | null>(null);
  isDrawing = $state(false); // a newer one is on its way
  history = $state.raw<readonly Moment[]>([]);
  at = $state(-1);
  visit = $state(0); // counts returns to a moment of the history; what was asked before is void
  onreturn = (_: Draft): void => undefined; // from this draft to one of the history

  constructor(private readonly stores: Pick<Studio, "drafts">) {}

  get moment(): Moment | undefined {
    return this.history[this.at];
  }

  /** Whether the draft is that of the step of the history that is shown. */
  get isStep(): boolean {
    return this.moment?.draft === this.stores.drafts.draft;
  }

  get canUndo(): boolean {
    return this.at > 0 || (this.at === 0 && !this.isStep);
  }

  get canRedo(): boolean {
    return this.at < this.history.length - 1;
  }

  show(next: Shown): void {
    const last = this.shown;
    this.shown = next;
    if (last && !this.history.some((moment) => moment.shown === last)) release(last);
  }

  /** Keep the draft with its picture, once that is here. */
  keep(): void {
    const { shown, moment: last } = this;
    const { draft } = this.stores.drafts;
    if (!shown || this.isDrawing || !this.stores.drafts.request(draft) || last?.draft === draft)
      return;
    const moment = { draft, shown };
    if (last && this.stores.drafts.areAlike(last.draft, draft)) {
      this.history = this.history.map((one) => (one === last ? { ...one, ...moment } : one)); // as it was before
      this.#release(last);
    } else this.#insert(moment, this.at + 1);
  }

  /** Keep a picture as the last one, without a change of the draft. */
  add(moment: Moment): void {
    const { moment: now } = this;
    this.#insert(moment, this.history.length);
    if (now && this.history.includes(now)) this.at = this.history.indexOf(now);
  }

  /** Keep one more as a step, in place of one of the same draft, and forget the first beyond the bound. */
  #insert(moment: Moment, place: number): void {
    const twin = this.history.find(({ draft }) => this.stores.drafts.areAlike(draft, moment.draft));
    const next = { ...twin, ...moment };
    const isOther = (one: Moment) => one !== twin;
    const [before, after] = [this.history.slice(0, place), this.history.slice(place)];
    const kept = [...before.filter(isOther), next, ...after.filter(isOther)];
    const mayGo = kept.filter((one) => !one.isFavourite && one !== next);
    const gone = mayGo.slice(0, Math.max(0, kept.length - MAX_HISTORY));
    this.history = kept.filter((one) => !gone.includes(one));
    this.at = this.history.indexOf(next);
    for (const one of twin ? [...gone, twin] : gone) this.#release(one);
  }

  change(moment: Moment, part: Partial<Moment>): void {
    this.history = this.history.map((one) => (one === moment ? { ...one, ...part } : one));
  }

  /** Delete a picture; the draft that is shown stays. */
  remove(moment: Moment): void {
    const index = this.history.indexOf(moment);
    this.history = this.history.filter((one) => one !== moment);
    if (index <= this.at) this.at--;
    this.#release(moment);
  }

  /** Let the pictures of a step go that neither is shown nor stands in another. */
  #release({ shown }: Moment): void {
    const isUsed = shown === this.shown || this.history.some((one) => one.shown === shown);
    if (!isUsed) release(shown);
  }

  undo(): void {
    this.keep();
    if (!this.isStep) this.goTo(this.at);
    else if (this.at > 0) this.goTo(this.at - 1);
  }

  redo(): void {
    if (this.canRedo) this.goTo(this.at + 1);
  }

  /** Return to a moment of the history, whose picture is still here. */
  goTo(index: number): void {
    const moment = this.history[index];
    if (!moment) return;
    const { draft } = this.stores.drafts;
    this.visit++;
    this.isDrawing = false;
    this.at = index;
    this.stores.drafts.restore(moment.draft);
    this.show(moment.shown);
    this.onreturn(draft);
  }
}

/** Return a drawing of which nothing but its file came. */
export async function shownOf(file: Blob, draft: Draft): Promise<Shown> {
  const [width, height] = await sizeOf(file);
  const photo = draft.mode === "edit" ? (draft.photo?.id ?? null) : null;
  const facts = { mask: null, box: null, subjectsAt: null, followsSeed: true };
  return { url: urlOf(file), file, width, height, photo, draft, ...facts, named: [], warnings: [] };
}

function release(shown: Shown): void {
  letGo(shown.url);
  if (shown.mask) letGo(shown.mask);
}
