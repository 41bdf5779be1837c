/** The picture that is shown, and those that the visitor came to rest on before. */

import type { Draft } from "../draft";
import { letGo } from "../keeping";
import type { Box, Named } from "../server";
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

function release(shown: Shown): void {
  letGo(shown.url);
  if (shown.mask) letGo(shown.mask);
}
