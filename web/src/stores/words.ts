/** What became of the words of a prompt: which have no effect, as the server says beside its picture. */

import { wordsIn } from "../naming";
import type { Studio } from "../studio.svelte";

/** A word without effect. */
export interface LostWord {
  word: string;
  near: readonly string[]; // that may be meant
  isAstray: boolean; // it names a subject where none is drawn
}

const UNTAUGHT = /was never taught (.*?)\. /;
const ASTRAY = /^The words (.*) have no effect at their place/;
const LISTED = /(['"])(.+?)\1(?: \(near: ([^)]*)\))?/g;

export class Words {
  constructor(private readonly stores: Pick<Studio, "drafts" | "pictures">) {}

  /** The words of the prompt that have no effect. */
  get lost(): LostWord[] {
    const { mode, prompt } = this.stores.drafts.draft;
    if (mode === "edit") return [];
    const typed = new Set(wordsIn(prompt));
    const all = this.stores.pictures.shown?.warnings.flatMap(lostIn) ?? [];
    return all.filter(({ word }) => wordsIn(word).every((one) => typed.has(one)));
  }

  /** Whether a warning says of words what is marked where they are typed. */
  isMarked = (warning: string): boolean => lostIn(warning).length > 0;
}

function lostIn(warning: string): LostWord[] {
  const [isAstray, found] = [ASTRAY.test(warning), UNTAUGHT.exec(warning) ?? ASTRAY.exec(warning)];
  return [...(found?.[1] ?? "").matchAll(LISTED)].map(([, , word, near = ""]) => ({
    word: word!,
    near: near.split(", ").filter(Boolean),
    isAstray,
  }));
}
