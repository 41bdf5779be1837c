/** What is saved as files: pictures at full size, with what made them, regions and films. */

import type { Draft } from "../draft";
import { letGo, urlOf } from "../keeping";
import { blobOf, Refused, type Drawn } from "../server";
import { drawnWith } from "./variations.svelte";
import type { Studio } from "../studio.svelte";

const LARGER = 2; // a drawn scene has more detail than the page shows while one types

export class Downloads {
  constructor(
    private readonly stores: Pick<Studio, "models" | "drafts" | "pictures" | "notices">,
  ) {}

  /** What is saved or edited; where a draft still lacks something, that of the picture shown. */
  get drawable(): Draft {
    const { draft } = this.stores.drafts;
    const { shown } = this.stores.pictures;
    return this.stores.drafts.request(draft) || !shown ? draft : shown.draft;
  }

  /** Width and height of what is saved. */
  get sizePx(): [number, number] {
    const { shown } = this.stores.pictures;
    const { mode, photo } = this.stores.drafts.draft;
    if (mode === "edit" && photo) return [photo.width, photo.height];
    const side = this.stores.models.facts?.image_size_px ?? 0;
    const isPhoto = shown && !shown.photo && Math.max(shown.width, shown.height) > side;
    if (isPhoto) return [shown.width, shown.height]; // of the place
    return this.stores.models.canPlace ? [LARGER * side, LARGER * side] : [side, side];
  }

  /** Return a draft's picture as a PNG that says what made it, at the size of the photo. */
  async finished(draft: Draft, more: Record<string, string> = {}): Promise<Drawn> {
    const request = this.stores.drafts.request(draft);
    if (!request) throw new Refused("There is no picture yet.");
    const [drawn] = await drawnWith(draft, { ...request, ...more, output_format: "png" });
    return drawn!;
  }

  async download(): Promise<void> {
    const { mode, seed } = this.drawable;
    const isScene = mode === "draw" && this.stores.models.canPlace;
    const more: Record<string, string> = isScene ? { size: this.sizePx.join("x") } : {};
    await this.#save(seed, (drawn) => drawn.b64, more);
  }

  /** Write what could change of the photo: white on black. */
  async saveRegion(): Promise<void> {
    await this.#save("region", (drawn) => drawn.mask);
  }

  async #save(
    ending: string | number,
    part: (drawn: Drawn) => string,
    more: Record<string, string> = {},
  ): Promise<void> {
    const draft = this.drawable;
    await this.stores.notices.doing("picture", "Writing the file", async () => {
      const file = blobOf(part(await this.finished(draft, more)), "image/png");
      this.offer(file, this.stores.drafts.caption(draft), `${ending}.png`);
    });
  }

  /** Let the browser save a file, called by what it shows. */
  offer(file: Blob, about: string, ending: string): void {
    const link = document.createElement("a");
    link.href = urlOf(file);
    const name = about
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}]+/gu, "-")
      .slice(0, 60);
    link.download = `${name.replaceAll(/^-|-$/g, "") || "picture"}-${ending}`;
    link.click();
    setTimeout(() => letGo(link.href), 10_000);
    this.stores.notices.said = `${link.download} was saved.`;
  }
}
