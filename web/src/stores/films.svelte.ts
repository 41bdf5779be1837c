/** The film of a draft: states on a time line, the frames between them, and how they play. */

import type { Draft, Placed } from "../draft";
import { later as phrases } from "../ideas.json";
import { letGo, urlOf } from "../keeping";
import { blobOf, Refused, server, type Box } from "../server";
import { drawnWith } from "./variations.svelte";
import type { Studio } from "../studio.svelte";

export const MOST_STATES = 5;
const MOST_FRAMES = 24; // that the server draws
const FRAMES_A_SECOND = 8; // of a film that is not longer than these
const PHRASES = Object.values(phrases).flat();

interface Film {
  file: Blob;
  url: string;
  frames: readonly ImageBitmap[]; // none where the browser plays films only as a whole
  of: string; // what was asked for
}

export class Films {
  later = $state.raw<readonly string[]>(["at night"]); // what each state after the first says
  ends = $state.raw<Readonly<Record<number, Box>>>({}); // where subjects go, by key
  seconds = $state(2);
  at = $state(0); // the frame that is shown
  isPlaying = $state(false);
  film = $state.raw<Film | null>(null);
  stills = $state.raw<ReadonlyMap<string, string>>(new Map()); // addresses of states
  #drawing = new AbortController();

  constructor(
    private readonly stores: Pick<Studio, "models" | "drafts" | "pictures" | "notices">,
  ) {}

  get numFrames(): number {
    return Math.min(MOST_FRAMES, FRAMES_A_SECOND * this.seconds);
  }

  /** The state at which the film stands, null between two and while it plays. */
  get stop(): number | null {
    const { at, numFrames, later } = this;
    const stop = (at / (numFrames - 1)) * later.length;
    return this.isPlaying || this.frameOf(Math.round(stop)) !== at ? null : Math.round(stop);
  }

  frameOf(stop: number): number {
    return Math.round((stop / this.later.length) * (this.numFrames - 1));
  }

  draftAt(stop: number): Draft {
    const { draft } = this.stores.drafts;
    if (!stop) return draft;
    const bare = PHRASES.reduce((words, one) => words.replace(` ${one}`, ""), draft.prompt).trim();
    const words = this.later[stop - 1];
    const prompt = words ? `${bare} ${words}` : draft.prompt;
    return { ...draft, prompt, placed: this.#placed(stop / this.later.length) };
  }

  /** Return where the subjects are after a share of the way. */
  #placed(share: number): readonly Placed[] {
    const { draft } = this.stores.drafts;
    return draft.placed.map((one) => {
      const [start, end] = [one.box ?? this.stores.pictures.shown?.subjectsAt, this.ends[one.key]];
      if (!start || !end) return one;
      return { ...one, box: start.map((from, i) => from + (end[i]! - from) * share) as never };
    });
  }

  /** What is asked of the server, null for a film in which nothing changes. */
  get request(): Record<string, unknown> | null {
    const { draft } = this.stores.drafts;
    const request = this.stores.drafts.request(draft);
    const count = draft.placed.findLastIndex(({ key }) => this.ends[key]) + 1;
    const says = this.later.some(Boolean);
    if (!request || (this.stores.models.canPlace && !says && !count)) return null;
    const { type: _, swiftpie, ...rest } = request;
    const boxes = this.#placed(1).slice(0, count);
    const animate = {
      num_frames: this.numFrames,
      fps: this.numFrames / this.seconds,
      ...(says && { to: this.later.map((_, i) => this.draftAt(i + 1).prompt) }),
      ...(count && { to_boxes: boxes.map(({ box }) => box) }),
    };
    return { ...rest, output_format: "webp", swiftpie: { ...(swiftpie as object), animate } };
  }

  /** Whether the film is not that of the time line. */
  get isDue(): boolean {
    return this.film?.of !== JSON.stringify(this.request);
  }

  /** The frame that is shown, undefined where the film has none of its own. */
  get frame(): ImageBitmap | undefined {
    const frames = this.isDue ? [] : (this.film?.frames ?? []);
    return frames[Math.round((this.at / (this.numFrames - 1)) * (frames.length - 1))];
  }

  /** The address of a state as a picture of its own. */
  stillOf(stop: number): string | undefined {
    if (!stop) return this.stores.pictures.shown?.url;
    return this.stills.get(JSON.stringify(this.stores.drafts.request(this.draftAt(stop))));
  }

  goTo(stop: number): void {
    [this.isPlaying, this.at] = [false, this.frameOf(stop)];
  }

  /** Say what the states after the first are, and show one of them. */
  become(later: readonly string[], stop: number): void {
    this.later = later;
    this.goTo(stop);
  }

  /** Let a subject go to a box, or stay where it is. */
  move(key: number, box: Box | null): void {
    const { [key]: _, ...others } = this.ends;
    this.ends = box ? { ...others, [key]: box } : others;
  }

  step(): void {
    this.at = (this.at + 1) % this.numFrames;
  }

  /** Play the film, which is drawn before if it is not there; or stop it. */
  async play(): Promise<void> {
    if (this.isPlaying) this.isPlaying = false;
    else this.isPlaying = await this.drawn();
  }

  /** Draw the film if it is not there; false if it cannot be drawn. */
  async drawn(): Promise<boolean> {
    const { request } = this;
    if (!this.isDue || !request) return !this.isDue;
    return this.stores.notices.doing("picture", "Drawing the frames", async () => {
      const { animate } = request["swiftpie"] as { animate: { to_boxes?: unknown[] } };
      const why = "A subject moves before one that has no box. Place all of them by boxes.";
      if (animate.to_boxes?.includes(null)) throw new Refused(why);
      const [drawn] = await server.draw(request);
      const file = blobOf(drawn!.b64, "image/webp");
      const frames = await framesOf(file);
      letGo(this.film?.url);
      this.film = { file, url: urlOf(file), frames, of: JSON.stringify(request) };
      this.stores.notices.said = "The film is ready.";
    });
  }

  /** Draw each state as a picture, as far as it is not there. */
  async drawStills(): Promise<void> {
    this.#drawing.abort();
    const { signal } = (this.#drawing = new AbortController());
    const before = this.stills;
    const stills = new Map<string, string>();
    for (const i of this.later.keys()) {
      const draft = this.draftAt(i + 1);
      const request = this.stores.drafts.request(draft);
      const name = JSON.stringify(request);
      if (!request || stills.has(name)) continue;
      let url = before.get(name);
      const wanted = { ...request, output_format: "jpeg" };
      try {
        const [drawn] = url ? [] : await drawnWith(draft, wanted, signal);
        url ??= urlOf(blobOf(drawn!.b64, "image/jpeg"));
      } catch (error) {
        if (error instanceof Refused) continue; // the film says why
        if (error instanceof DOMException) return; // newer ones are on their way
        throw error;
      }
      stills.set(name, url);
      this.stills = new Map([...this.stills, ...stills]);
    }
    for (const [name, url] of this.stills) if (!stills.has(name)) letGo(url);
    this.stills = stills;
  }
}

async function framesOf(file: Blob): Promise<ImageBitmap[]> {
  if (!("ImageDecoder" in globalThis)) return [];
  const decoder = new ImageDecoder({ type: file.type, data: await file.arrayBuffer() });
  await decoder.tracks.ready;
  await decoder.completed;
  const indices = [...Array(decoder.tracks.selectedTrack!.frameCount).keys()];
  const frames = indices.map(async (frameIndex) => {
    const { image } = await decoder.decode({ frameIndex });
    return createImageBitmap(image).finally(() => image.close());
  });
  return Promise.all(frames).finally(() => decoder.close());
}
