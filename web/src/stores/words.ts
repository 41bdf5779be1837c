/** What became of the words of a prompt: which have no effect, as the server says beside its picture. */

import { completed, wordsIn } from "../naming";
import type { SceneEntry } from "../server";
import type { Studio } from "../studio.svelte";

/** What the server says of words without effect, and words that may be meant by each. */
export interface Loss {
  words: readonly (readonly [word: string, near: readonly string[]])[];
  why: string;
}

const LOST =
  /(?:never taught|is called|is spelled) ([^.]*)|((?:'[^']+'(?:, )?)+) ha(?:s|ve) no effect/;
const LISTED = /(['"])(.+?)\1/g;

export class Words {
  constructor(private readonly stores: Pick<Studio, "drafts" | "pictures" | "shelf">) {}

  /** What became of words that are still in the prompt. */
  get lost(): Loss[] {
    const { mode, prompt } = this.stores.drafts.draft;
    const typed = new Set(mode === "edit" ? [] : wordsIn(prompt));
    const isTyped = ([word]: Loss["words"][number]) => wordsIn(word).every((one) => typed.has(one));
    const losses = this.stores.pictures.shown?.warnings.map((why) => ({ words: lostIn(why), why }));
    return (losses ?? []).flatMap(({ words, why }) => {
      const now = words.filter(isTyped);
      return now.length ? [{ words: now, why }] : [];
    });
  }

  /** Places that the last words of the prompt begin, as long as the words say where it is. */
  get places(): ReturnType<typeof completed<SceneEntry>> {
    const { mode, scene, prompt } = this.stores.drafts.draft;
    return mode === "draw" && !scene ? completed(prompt, this.stores.shelf.places) : [];
  }

  /** Where the picture is, if the words do not say it. */
  get ofScene(): string {
    const { scene } = this.stores.drafts.draft;
    if (scene === "words")
      return "The model draws the place itself, without the library's pictures.";
    const own = typeof scene === "string" ? `“${scene}” of the shelf` : "your photograph";
    return `The place is ${own}, whatever place the words name.`;
  }

  /** Whether a warning says of words what is marked where they are typed. */
  isMarked = (warning: string): boolean => lostIn(warning).length > 0;
}

function lostIn(warning: string): Loss["words"] {
  const [, unknown, astray] = LOST.exec(warning) ?? [];
  const quoted = (text = "") => [...text.matchAll(LISTED)].map(([, , word]) => word!);
  const near = quoted(/(?:Did you mean|near it, as) (.*?)(?:\?|, or give)/.exec(warning)?.[1]);
  return quoted(unknown ?? astray).map((word) => [word, near]);
}
