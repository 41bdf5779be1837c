/** The draft, and who may change which part of it. */

import { FIRST, requestOf, type Draft, type Mode } from "../draft";
import { beginsWith, names, said } from "../naming";
import type { Box } from "../server";
import type { Studio } from "../studio.svelte";

/** What only the newest of several may change: a part of the draft, or who is used. */
export type Claim = keyof Draft | "use";

/** How things stood when something was begun that takes a while. */
export interface Start {
  mode: Mode;
  numTexts: number; // that the visitor had written
  at?: Box | null; // where in the picture it was dropped
}

export interface Change {
  parts: readonly string[];
  before: Draft;
}

export class Drafts {
  draft = $state.raw<Draft>(FIRST);
  onchange = (_: Change): void => undefined;
  #claims: Partial<Record<Claim, object>> = {}; // the newest of each
  #numTexts = 0; // that the visitor wrote

  constructor(private readonly stores: Pick<Studio, "models" | "shelf">) {}

  get start(): Start {
    return { mode: this.draft.mode, numTexts: this.#numTexts };
  }

  isTypedSince({ numTexts }: Start): boolean {
    return numTexts !== this.#numTexts;
  }

  /**
   * Begin what will change a part of the draft in a while.
   *
   * What is returned says whether nothing else has changed that part, or begun to, since.
   */
  claim(part: Claim): () => boolean {
    const own = (this.#claims[part] = {});
    return () => this.#claims[part] === own;
  }

  /** Begin what changes parts in a while; what is returned leaves out those that changed since. */
  claimAll(...parts: (keyof Draft)[]): (part: Partial<Draft>) => Partial<Draft> {
    const isLast = new Map<string, () => boolean>(parts.map((name) => [name, this.claim(name)]));
    return (part) =>
      Object.fromEntries(Object.entries(part).filter(([name]) => isLast.get(name)?.() ?? true));
  }

  /** Take words of the visitor, which nothing rewrites that was begun before. */
  write(words: Partial<Pick<Draft, "prompt" | "change" | "source">>): void {
    this.#numTexts++;
    this.set(words);
  }

  set(part: Partial<Draft>): void {
    const { draft: before } = this;
    for (const name of Object.keys(part)) this.claim(name as keyof Draft);
    this.draft = this.changed(part);
    this.onchange({ parts: Object.keys(part), before });
  }

  changed(part: Partial<Draft>): Draft {
    // A subject that is placed, turned or left out was chosen.
    const next = { ...this.draft, ...(part.placed && { isOffered: false }), ...part };
    // Subjects of the prompt come before a sample that was not chosen.
    const isOther = part.prompt && next.isOffered && this.namesAnother(next);
    return isOther ? { ...next, placed: [] } : next;
  }

  /** Return to a draft of before; what was begun since changes nothing of it. */
  restore(draft: Draft): void {
    this.#claims = {};
    this.draft = draft;
  }

  /** Whether the prompt names a subject, and not the one that is placed. */
  namesAnother({ placed, prompt }: Draft): boolean {
    const sample = this.stores.shelf.subject(placed[0]?.key ?? null)?.name ?? "";
    const known = this.stores.models.names;
    return (
      placed.length === 1 && !names(prompt, sample) && known !== null && beginsWith(prompt, known)
    );
  }

  /** Return what a draft asks of the server, null where something is still missing. */
  request(draft: Draft): Record<string, unknown> | null {
    const { model, facts, names } = this.stores.models;
    const { subjects } = this.stores.shelf;
    return requestOf(draft, { model, facts, subjects, drawsNamed: names !== null });
  }

  areAlike(one: Draft, other: Draft): boolean {
    return JSON.stringify(this.request(one)) === JSON.stringify(this.request(other));
  }

  /** Say what a draft shows. */
  caption({ mode, prompt, task, change, newcomer }: Draft): string {
    if (mode === "draw") return prompt;
    if (task === "edit") return change;
    const who = said(this.stores.shelf.subject(newcomer)?.name ?? "subject");
    if (task === "insert") return `${who} in the photograph`;
    return task === "remove" ? "the photograph without it" : `${who} in its place`;
  }
}
