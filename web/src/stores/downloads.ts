/** What is saved as files: pictures at full size, with what made them, regions and films. */

import { downloadZip } from "client-zip";
import { LARGER, sizeOfShape, type Draft } from "../draft";
import { Files, jobOf } from "../jobs";
import { letGo, urlOf } from "../keeping";
import { blobOf, Refused, type Drawn } from "../server";
import type { Moment, Shown } from "./pictures.svelte";
import { drawnWith } from "./variations.svelte";
import type { Studio } from "../studio.svelte";

export class Downloads {
  constructor(
    private readonly stores: Pick<Studio, "models" | "shelf" | "drafts" | "pictures" | "notices">,
  ) {}

  /** What is saved or edited; where a draft still lacks something, that of the picture shown. */
  get drawable(): Draft {
    const { draft } = this.stores.drafts;
    const { shown } = this.stores.pictures;
    return this.stores.drafts.request(draft) || !shown ? draft : shown.draft;
  }

  /** Width and height of what is saved. */
  get sizePx(): readonly number[] {
    return this.#sizeOf(this.stores.drafts.draft, this.stores.pictures.shown);
  }

  #sizeOf(draft: Draft, shown: Shown | null): readonly number[] {
    if (draft.mode === "edit" && draft.photo) return [draft.photo.width, draft.photo.height];
    const { facts, canPlace } = this.stores.models;
    const [side, chosen] = [facts?.image_size_px ?? 0, facts && sizeOfShape(draft, facts, true)];
    const isPlace = shown && !shown.photo && Math.max(shown.width, shown.height) > side;
    const usual = canPlace ? [LARGER * side, LARGER * side] : [side, side];
    return chosen ?? (isPlace ? [shown.width, shown.height] : usual);
  }

  /** Return a draft's picture as a PNG that says what made it, at the size of the photo. */
  async finished(draft: Draft, more: Record<string, string> = {}): Promise<Drawn> {
    const request = this.stores.drafts.request(draft);
    if (!request) throw new Refused("There is no picture yet.");
    const [drawn] = await drawnWith(draft, { ...request, ...more, output_format: "png" });
    return drawn!;
  }

  /** Save the picture, or what could change of the photo: white on black. */
  async download(part: "b64" | "mask" = "b64"): Promise<void> {
    const draft = this.drawable;
    const [more, ending] = part === "mask" ? [{}, "region"] : [this.#more(draft), draft.seed];
    await this.stores.notices.doing("picture", "Writing the file", async () => {
      const file = blobOf((await this.finished(draft, more))[part], "image/png");
      this.offer(file, this.stores.drafts.caption(draft), `${ending}.png`);
    });
  }

  /** Return the size at which a drawing is saved, nothing where the model has one alone. */
  #more(draft: Draft, shown = this.stores.pictures.shown): Record<string, string> {
    const isSized = draft.mode === "draw" && (draft.shape || this.stores.models.canPlace);
    return isSized ? { size: this.#sizeOf(draft, shown).join("x") } : {};
  }

  /** Save pictures with a job file that draws them anew, and with whatever that reads. */
  async downloadAll(moments: readonly Moment[]): Promise<void> {
    const [files, jobs, pictures] = [new Files(), [] as string[], [] as File[]];
    for (const [i, { draft, shown, name }] of moments.entries()) {
      const what = `Writing ${i + 1} of ${moments.length}`;
      const more = this.#more(draft, shown);
      const request = this.stores.drafts.request(draft);
      const about = name ?? this.stores.drafts.caption(draft);
      const id = `${String(i + 1).padStart(3, "0")}-${fileName(about)}`;
      let picture = shown.file; // where a subject of it is gone
      if (request) {
        const isDrawn = await this.stores.notices.doing("picture", what, async () => {
          picture = blobOf((await this.finished(draft, more)).b64, "image/png");
        });
        if (!isDrawn) return;
        const job = jobOf({ ...request, ...more }, draft, this.stores.shelf.subjects, files);
        jobs.push(JSON.stringify({ id, ...job }));
      }
      pictures.push(new File([picture], `pictures/${id}.${request ? "png" : "jpg"}`));
    }
    const sources = [...files.all].map(([file, name]) => new File([file], name));
    const list = new File([jobs.join("\n")], "jobs.jsonl");
    this.offer(await downloadZip([...pictures, list, ...sources]).blob(), "pictures", "all.zip");
  }

  /** Let the browser save a file, called by what it shows. */
  offer(file: Blob, about: string, ending: string): void {
    const link = document.createElement("a");
    link.href = urlOf(file);
    link.download = `${fileName(about)}-${ending}`;
    link.click();
    setTimeout(() => letGo(link.href), 10_000);
    this.stores.notices.said = `${link.download} was saved.`;
  }
}

/** Return what a file is called by what it shows. */
function fileName(about: string): string {
  const name = about.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, "-");
  return name.slice(0, 60).replaceAll(/^-|-$/g, "") || "picture";
}
