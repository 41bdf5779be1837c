/** Photographs: those that are edited, with what may change of them, and places and styles to draw in. */

import type { Draft, Photo, SentPicture } from "../draft";
import { letGo, urlOf } from "../keeping";
import { blobOf, Refused, server, type Origin } from "../server";
import { fitted, saysWhatMadeIt, sizeOf, smaller } from "../upload";
import type { Place } from "./notices.svelte";
import type { Studio } from "../studio.svelte";

const COPY_PX = 768; // of a photo's longer side, while it is worked on
const NOTHING_YET = { mask: null, box: null, yaw: null, pitch: null } as const; // in a new photo
const IN_DRAWINGS = ["scene", "styleReference"] as const; // parts that the server keeps
const IN_EDITS = ["photo", "mask"] as const;

export class Edits {
  constructor(
    private readonly stores: Pick<
      Studio,
      "models" | "drafts" | "pictures" | "notices" | "downloads" | "arrivals"
    >,
  ) {}

  /** Draw in a place that somebody photographed, or in the style of a picture. */
  async use(part: "scene" | "styleReference", file: Blob): Promise<void> {
    const [place, what] = part === "scene" ? [part, "place"] : (["settings", "style"] as const);
    const find = () => this.stores.arrivals.fitted(file);
    await this.#sending(place, part, `Looking at the ${what}`, find);
  }

  /** Let the server keep a picture that goes with the draft, unless a later change comes first. */
  async #sending(
    place: Place,
    part: "scene" | "styleReference" | "mask",
    what: string,
    find: (isLast: () => boolean) => Promise<Blob>,
  ): Promise<void> {
    const isLast = this.stores.drafts.claim(part);
    await this.stores.notices.doing(place, what, async () => {
      const file = await find(isLast);
      if (!isLast()) return;
      const { id } = await server.keep(file);
      if (isLast()) this.stores.drafts.set({ [part]: { id, file, url: urlOf(file) } });
    });
  }

  async openPhoto(file: Blob): Promise<void> {
    await this.#opening(["source", "change"], async () => {
      const { photo, origin } = await this.workOn(file);
      const { prompt = "", task } = origin;
      const source = task ? "" : prompt; // of the subject alone that was put into a photo
      return { photo, source, change: source };
    });
  }

  /** Edit what was drawn. */
  async editThis(): Promise<void> {
    const draft = this.stores.downloads.drawable;
    await this.#opening(["mode", "newcomer", "source", "change"], async () => {
      const file = blobOf((await this.stores.downloads.finished(draft)).b64, "image/png");
      const { photo } = await this.workOn(file);
      const { mode, task, prompt, change } = draft;
      const source = mode === "draw" ? prompt : task === "edit" ? change : draft.source;
      return { photo, mode: "edit", newcomer: null, source, change: source };
    });
  }

  /** Open a photo with parts of the draft, of which those stay that change meanwhile. */
  async #opening(
    parts: (keyof Draft)[],
    work: () => Promise<Partial<Draft> & { photo: Photo }>,
  ): Promise<void> {
    const isLast = this.stores.drafts.claim("photo");
    const stillOf = this.stores.drafts.claimAll(...parts);
    await this.stores.notices.doing("picture", "Opening the picture", async () => {
      const { photo, ...rest } = await work();
      if (!isLast()) return letGo(photo.url);
      this.stores.drafts.set({ photo, ...NOTHING_YET, ...stillOf(rest) });
    });
  }

  /** Return a picture to edit, of which only a copy is sent until somebody saves it. */
  async workOn(picture: Blob): Promise<{ photo: Photo; origin: Origin }> {
    const file = await fitted(picture, this.stores.models.limits.picture, Infinity);
    const [width, height] = await sizeOf(file);
    const copy = Math.max(width, height) > COPY_PX ? await smaller(file, COPY_PX) : file;
    const kept = await server.keep(copy);
    const isLost = copy !== file && (await saysWhatMadeIt(file));
    const { origin } = isLost ? await server.keep(file) : kept;
    return { photo: { id: kept.id, file, copy, url: urlOf(copy), width, height }, origin };
  }

  async paint(mask: Blob | null): Promise<void> {
    if (mask) await this.#sending("mask", "mask", "", async () => mask);
    else this.stores.drafts.set({ mask: null });
  }

  /** Let what is found by points in the photo be what may change; `show` is called with its URL. */
  async mark(cutout: string, show: (url: string) => Promise<void>): Promise<void> {
    const { photo } = this.stores.drafts.draft;
    await this.#sending("mask", "mask", "Looking for it", async (isLast) => {
      const mask = await server.cutOut(photo!.copy, cutout);
      const url = urlOf(mask);
      if (isLast()) await show(url);
      letGo(url);
      return mask;
    });
  }

  /** Let what the words may change be the mask, which can be painted before anything is drawn. */
  async findArea(): Promise<void> {
    await this.#sending("mask", "mask", "Looking for it", async () => {
      const { draft } = this.stores.drafts;
      const request = this.stores.drafts.request(draft);
      if (!request) throw new Refused("Say what the picture shall show first.");
      return server.region(draft.photo!.copy, request);
    });
  }

  /** Send again the pictures of the draft, which the server has forgotten. */
  async keepAgain(): Promise<void> {
    const old = this.stores.drafts.draft;
    const what = "Opening the picture again";
    const isDone = await this.stores.notices.doing("picture", what, async () => {
      const again: Partial<Record<keyof Draft, unknown>> = {};
      for (const part of old.mode === "draw" ? IN_DRAWINGS : IN_EDITS) {
        const one = old[part];
        if (one && typeof one !== "string") again[part] = await keptAnew(one);
      }
      const isAsItWas = ([part]: [string, unknown]) =>
        this.stores.drafts.draft[part as keyof Draft] === old[part as keyof Draft];
      this.stores.drafts.set(Object.fromEntries(Object.entries(again).filter(isAsItWas)));
    });
    if (!isDone) this.stores.pictures.isDrawing = false;
  }
}

/** Return a picture that the server has forgotten, under another name. */
async function keptAnew<T extends SentPicture | Photo>(picture: T): Promise<T> {
  const { id } = await server.keep("copy" in picture ? picture.copy : picture.file);
  return { ...picture, id };
}
