/** Several prompts that are drawn one after the other, each as the draft is otherwise. */

import type { Draft } from "../draft";
import { blobOf, Refused } from "../server";
import { shownOf } from "./pictures.svelte";
import { drawnWith } from "./variations.svelte";
import type { Studio } from "../studio.svelte";

export class Queue {
  waiting = $state.raw<readonly Draft[]>([]);
  refused = $state.raw<readonly { prompt: string; why: string }[]>([]);
  numDrawn = $state(0);
  #stopping = new AbortController();

  constructor(private readonly stores: Pick<Studio, "drafts" | "pictures" | "notices">) {}

  get isDrawing(): boolean {
    return this.waiting.length > 0;
  }

  /** Draw prompts, one a line; each picture is kept as it comes. */
  async draw(lines: string): Promise<void> {
    const prompts = lines.split("\n").flatMap((line) => line.trim() || []);
    this.waiting = prompts.map((prompt) => this.stores.drafts.changed({ mode: "draw", prompt }));
    [this.refused, this.numDrawn, this.#stopping] = [[], 0, new AbortController()];
    const { signal } = this.#stopping;
    for (let next; (next = this.waiting[0]) && !signal.aborted;) {
      const waitS = await this.#drawOne(next, signal);
      if (waitS) await new Promise((resolve) => setTimeout(resolve, waitS * 1000));
      else if (!signal.aborted) this.waiting = this.waiting.slice(1);
    }
    this.stores.notices.said = `${this.numDrawn} of ${prompts.length} pictures were drawn.`;
  }

  stop(): void {
    this.#stopping.abort();
    this.waiting = [];
  }

  /** Return after how many seconds it is to be asked for again, 0 once it came or was refused. */
  async #drawOne(draft: Draft, signal: AbortSignal): Promise<number> {
    try {
      const request = this.stores.drafts.request(draft);
      if (!request) throw new Refused("Choose a subject first.");
      const [drawn] = await drawnWith(draft, { ...request, output_format: "jpeg" }, signal);
      signal.throwIfAborted();
      const shown = await shownOf(blobOf(drawn!.b64, "image/jpeg"), draft);
      this.stores.pictures.add({ draft, shown });
      this.numDrawn++;
    } catch (error) {
      if (error instanceof DOMException) return 0; // it was stopped
      if (!(error instanceof Refused)) throw error;
      if (error.retryAfterS) return error.retryAfterS;
      this.refused = [...this.refused, { prompt: draft.prompt, why: error.message }];
    }
    return 0;
  }
}
