/** What became of the words of a prompt: which the model does not know. */

import { names } from "../naming";
import type { Studio } from "../studio.svelte";

const ABOUT_WORDS = /was never taught (.*?)\. /;

export class Words {
  constructor(private readonly stores: Pick<Studio, "models" | "shelf" | "drafts" | "pictures">) {}

  /** The words of the prompt that the model does not know. */
  get unknown(): string[] {
    const { vocabulary } = this.stores.models;
    const { mode, prompt, change, source, newcomer, placed } = this.stores.drafts.draft;
    if (!vocabulary) return [];
    if (mode === "draw") {
      const drawn = [
        ...placed.map(({ key }) => this.stores.shelf.subject(key)?.name ?? ""),
        ...(this.stores.pictures.shown?.named.map(({ word }) => word) ?? []),
      ];
      return vocabulary.unknownIn(prompt).filter((word) => !names(drawn.join(", "), word));
    }
    const shown = newcomer === null ? (source.toLowerCase().match(/[\p{L}'-]+/gu) ?? []) : null;
    return vocabulary.unknownIn(change, shown);
  }

  /** Whether a warning says of words what is marked where they are typed. */
  isMarked(warning: string): boolean {
    const words = ABOUT_WORDS.exec(warning)?.[1]?.match(/(?<=')[^']+(?=' ?[,.(]|'$)/g) ?? [];
    const { mode, newcomer } = this.stores.drafts.draft;
    const own = (mode === "edit" && this.stores.shelf.subject(newcomer)?.name) || ""; // said by the page alone
    return words.length > 0 && words.every((one) => this.unknown.includes(one) || names(own, one));
  }
}
