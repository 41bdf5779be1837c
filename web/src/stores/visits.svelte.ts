/** What a visit leaves in this browser, and a reload returns to. */

import { flushSync } from "svelte";
import { FIRST, type Draft, type Subject } from "../draft";
import { OWN } from "../home";
import { forget, keep, kept } from "../keeping";
import { SAMPLES } from "../samples";
import { server, type Offer } from "../server";
import type { Moment } from "./pictures.svelte";
import type { Studio } from "../studio.svelte";

const KEEP_MS = 100; // after the last change, a visit is kept

interface Visit {
  offer: Offer;
  model: string;
  draft: Draft | null; // null: as the step of the history says
  subjects: readonly Subject[];
  history: readonly Moment[];
  at: number;
}

export class Visits {
  keptBytes = $state(0); // in this browser
  problem = $state("");
  #others: BroadcastChannel | null = null; // tabs of this visitor
  #isResumed = false; // what was kept was looked for
  #isBack = false; // and found
  #keeping: ReturnType<typeof setTimeout> | undefined;
  #keeps = true;
  #visit: Visit | null = null; // that is not kept yet
  #kept = Promise.resolve(); // settled when nothing is being written

  constructor(private readonly stores: Pick<Studio, "models" | "shelf" | "drafts" | "pictures">) {}

  /** Return to the last visit, whether the server is there or not; false if this is the first. */
  async resume(): Promise<boolean> {
    if (this.#isResumed) return this.#isBack;
    this.#isResumed = true;
    let visit: Visit | undefined;
    try {
      visit = await kept<Visit>();
      this.#others = new BroadcastChannel(OWN);
      this.#others.onmessage = () => void this.#leave();
    } catch (error) {
      this.problem = `This browser keeps nothing: ${(error as Error).message}`;
    }
    if (!visit) return false;
    const { offer, model, draft, subjects, history, at } = visit;
    const sampleOf = (one: Subject) => SAMPLES.find(({ name }) => name === one.sample?.name);
    this.stores.models.learn(offer);
    this.stores.models.model = model;
    this.stores.shelf.restore(subjects.map((one) => ({ ...one, sample: sampleOf(one) ?? null })));
    const whole = (draft: Draft) => ({ ...FIRST, ...draft }); // an older page kept less
    const steps = history.map((one) => ({ ...one, draft: whole(one.draft) }));
    [this.stores.pictures.history, this.stores.pictures.at] = [steps, at];
    this.stores.drafts.draft = draft ? whole(draft) : steps[at]!.draft;
    this.stores.pictures.shown = history[at]?.shown ?? null;
    this.#isBack = true;
    this.keepFromNow();
    return true;
  }

  /** Keep whatever changes, a moment after it did, and at once where the page is left. */
  keepFromNow(): void {
    $effect.root(() => {
      $effect(() => {
        const { offer, model } = this.stores.models;
        const { subjects } = this.stores.shelf;
        const { history, at, isStep } = this.stores.pictures;
        const draft = isStep ? null : this.stores.drafts.draft;
        this.#visit = { offer, model, draft, subjects, history, at };
        clearTimeout(this.#keeping);
        this.#keeping = setTimeout(() => this.#write(), KEEP_MS);
      });
    });
    addEventListener("pagehide", () => void this.written());
  }

  #write(): void {
    clearTimeout(this.#keeping);
    const visit = this.#visit;
    this.#visit = null;
    if (visit) this.#kept = this.#kept.then(() => this.#keep(visit));
  }

  /** Wait until the browser keeps everything of now. */
  async written(): Promise<void> {
    flushSync();
    this.#write();
    await this.#kept;
  }

  async #keep(visit: Visit): Promise<void> {
    if (!this.#keeps) return;
    try {
      this.keptBytes = await keep(visit);
      this.problem = "";
    } catch (error) {
      const { name, message } = error as Error;
      const why = name === "QuotaExceededError" ? "It has no room for more." : message;
      this.problem = `This browser does not keep the last change. ${why}`;
    }
  }

  /** Delete what this browser keeps, and what the server has of it; the page begins anew. */
  async forgetAll(): Promise<void> {
    this.#others?.postMessage("all is deleted"); // else they would keep theirs again
    const mine = this.stores.shelf.subjects.filter(({ isNamed }) => !isNamed);
    await Promise.allSettled(mine.map(({ id }) => server.forget(id)));
    await this.#leave();
  }

  async #leave(): Promise<void> {
    this.#keeps = false;
    await this.#kept;
    await forget().catch(() => undefined); // a browser that keeps nothing has nothing to delete
    location.reload();
  }
}
