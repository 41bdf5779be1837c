/** The strip of variations: the same draft with other seeds. */

import { followsSeed, varies, type Draft } from "../draft";
import { letGo, urlOf } from "../keeping";
import { blobOf, Refused, server, type Drawn } from "../server";
import type { Studio } from "../studio.svelte";

export const NUM_SEEDS = 6;
export const BEST_OF = 4; // seeds, of which the best is shown
const USUAL_VARIATION = 0.5; // of an edit whose noise was all found, once somebody asks for others

export interface Variation {
  seed: number;
  url: string;
  file: Blob;
}

export class Variations {
  seeds = $state.raw<readonly Variation[]>([]);
  areDue = $state(true); // those that are shown are of another draft
  #strip: AbortController | null = null;
  #stripOf = ""; // what was asked for last
  #stripShown = "";

  constructor(
    private readonly stores: Pick<Studio, "models" | "drafts" | "pictures" | "notices">,
  ) {}

  /** Whether other seeds give other results; a small model dyes alike with every seed. */
  get varies(): boolean {
    const { draft } = this.stores.drafts;
    const { canPlace } = this.stores.models;
    const isByFormula = draft.mode === "edit" && draft.task === "edit" && canPlace;
    return varies(draft, canPlace) && !(isByFormula && !this.stores.pictures.shown?.followsSeed);
  }

  /** Whether the seed that is chosen counts as it is. */
  get followsSeed(): boolean {
    return followsSeed(this.stores.drafts.draft) || !this.stores.models.steersEdits;
  }

  /** Whether there is a subject by which pictures of several seeds can be ranked. */
  get canRank(): boolean {
    const { mode, task, placed, newcomer } = this.stores.drafts.draft;
    if (mode === "edit") return (task === "insert" || task === "replace") && newcomer !== null;
    return placed.length > 0 || this.stores.models.names !== null;
  }

  /** Show no variations of another photo or task while new ones are drawn. */
  forget(): void {
    this.stop();
    this.#stripShown = "";
    for (const { url } of this.seeds) letGo(url);
    this.seeds = [];
  }

  stop(): void {
    this.#strip?.abort();
    this.#stripOf = "";
  }

  async draw(): Promise<void> {
    const { draft } = this.stores.drafts;
    const more = this.stores.models.steersEdits && {
      variation: draft.variation || USUAL_VARIATION,
    };
    const request = this.stores.drafts.request({ ...draft, ...more });
    if (!request || !this.varies || this.stores.notices.waitsS !== null) return;
    const { type, seed: _, ...rest } = request;
    const what = JSON.stringify([type, rest, draft.firstSeed]);
    this.areDue = what !== this.#stripShown;
    if (what === this.#stripOf) return;
    this.#strip?.abort();
    const { signal } = (this.#strip = new AbortController());
    this.#stripOf = what;
    try {
      const drawn: Drawn[] = [];
      // One after the other, so that they leave room for whatever else this page asks.
      for (let seed = draft.firstSeed; seed < draft.firstSeed + NUM_SEEDS; seed++) {
        const body = { ...rest, seed, output_format: "jpeg" };
        drawn.push(...(await drawnWith(draft, { type, ...body }, signal)));
      }
      signal.throwIfAborted();
      for (const one of this.seeds) letGo(one.url);
      this.seeds = drawn.map(({ seed, b64 }) => {
        const file = blobOf(b64, "image/jpeg");
        return { seed, url: urlOf(file), file };
      });
      this.#stripShown = what;
      this.areDue = false;
    } catch (error) {
      if (error instanceof DOMException) return; // a newer strip is on its way
      this.#stripOf = "";
      if (error instanceof Refused && error.retryAfterS) {
        setTimeout(() => void this.draw(), error.retryAfterS * 1000);
      } else if (!(error instanceof Refused && !error.status)) {
        this.stores.notices.tell("seeds", error); // without an answer the connection says it
      }
    }
  }

  /** Draw with another seed; an edit by words takes some of its noise from it. */
  vary(seed: number): void {
    this.stores.drafts.set(this.followsSeed ? { seed } : { seed, variation: USUAL_VARIATION });
  }

  /** Return the draft of one of them. */
  draftOf({ seed }: Variation): Draft {
    const { draft } = this.stores.drafts;
    return { ...draft, seed, ...(this.followsSeed ? {} : { variation: USUAL_VARIATION }) };
  }

  more(): void {
    const firstSeed = this.stores.drafts.draft.firstSeed + NUM_SEEDS;
    this.stores.drafts.set({ firstSeed });
    this.vary(firstSeed);
  }

  /** Draw some seeds in one pass, and show the one in which the subject shows best. */
  async drawBest(): Promise<void> {
    const { draft } = this.stores.drafts;
    const { swiftpie, ...rest } = this.stores.drafts.request(draft) ?? {};
    if (!swiftpie) return;
    const own = { ...(swiftpie as object), best_of: BEST_OF };
    const body = { ...rest, seed: draft.firstSeed, output_format: "jpeg", swiftpie: own };
    await this.stores.notices.doing("seeds", `Drawing ${BEST_OF} pictures`, async () => {
      const [best] = await drawnWith(draft, body);
      if (best && this.stores.drafts.areAlike(this.stores.drafts.draft, draft))
        this.vary(best.seed);
    });
  }
}

/** Return what a request of a draft draws; a strip of the photo's copy, as live ones are. */
export function drawnWith(
  { mask, photo }: Draft,
  request: Record<string, unknown>,
  signal?: AbortSignal,
): Promise<Drawn[]> {
  const { type, ...body } = request;
  if (type === "draw") return server.draw(body, signal);
  const picture = signal ? photo!.copy : photo!.file;
  return server.edit(picture, "mask_id" in body ? mask!.file : null, body, signal);
}
