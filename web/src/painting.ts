/** A mask that somebody paints: a canvas that tints what is on, or veils what is off. */

import type { Point } from "./box";
import type { Box } from "./server";

const MOST_UNDO = 30;
const MOST_PX = 640; // of the longer side; outlines of masks are no finer
const TINT = [240, 96, 32] as const; // over what may change
const VEIL = [128, 128, 128] as const; // over what the encoder does not see, in the grey it gets

export type Look = "tint" | "veil";

export class Painting {
  readonly #paper: CanvasRenderingContext2D;
  readonly #undo: ImageData[] = [];

  constructor(
    readonly canvas: HTMLCanvasElement,
    readonly look: Look,
  ) {
    this.#paper = canvas.getContext("2d", { willReadFrequently: true })!;
  }

  get #color(): readonly [number, number, number] {
    return this.look === "tint" ? TINT : VEIL;
  }

  /** Whether the canvas is opaque where the mask is as told. */
  #isOpaque(isOn: boolean): boolean {
    return isOn === (this.look === "tint");
  }

  /** Return the size of a mask for a picture of this size. */
  static sizeFor(width: number, height: number): [number, number] {
    return sizeWithin(MOST_PX, width, height);
  }

  get #size(): [number, number] {
    return [this.canvas.width, this.canvas.height];
  }

  get canUndo(): boolean {
    return this.#undo.length > 0;
  }

  /** Remember how it is, so that `undo` returns here. */
  begin(): void {
    this.#undo.push(this.#paper.getImageData(0, 0, ...this.#size));
    if (this.#undo.length > MOST_UNDO) this.#undo.shift();
  }

  undo(): void {
    const last = this.#undo.pop();
    if (last) this.#paper.putImageData(last, 0, 0);
  }

  clear(): void {
    this.#fill([0, 0, 1, 1], false);
  }

  rectangle(box: Box): void {
    this.#fill(box, true);
  }

  #fill([left, top, right, bottom]: Box, isOn: boolean): void {
    const [width, height] = this.#size;
    const area = [left * width, top * height, (right - left) * width, (bottom - top) * height];
    const [x, y, across, down] = area as [number, number, number, number];
    this.#paper.fillStyle = `rgb(${this.#color.join()})`;
    if (this.#isOpaque(isOn)) this.#paper.fillRect(x, y, across, down);
    else this.#paper.clearRect(x, y, across, down);
  }

  /** Show a mask that is white where it is on. */
  async load(url: string | null): Promise<void> {
    this.clear();
    if (!url) return;
    const pixels = (await readPicture(url, ...this.#size)).data;
    const on = this.#paper.createImageData(...this.#size);
    for (let i = 0; i < pixels.length; i += 4) {
      on.data.set([...this.#color, this.#isOpaque(true) ? pixels[i]! : 255 - pixels[i]!], i);
    }
    this.#paper.putImageData(on, 0, 0);
  }

  /** Draw a round stroke between two points, in pixels of the mask. */
  stroke(from: Point, to: Point, width: number, isOn: boolean): void {
    const paper = this.#paper;
    paper.globalCompositeOperation = this.#isOpaque(isOn) ? "source-over" : "destination-out";
    paper.strokeStyle = `rgb(${this.#color.join()})`;
    paper.lineWidth = width;
    paper.lineCap = "round";
    paper.beginPath();
    paper.moveTo(...from);
    paper.lineTo(...to);
    paper.stroke();
    paper.globalCompositeOperation = "source-over";
  }

  /** Return the mask as the server reads it: white on black. */
  async file(): Promise<Blob> {
    const [width, height] = this.#size;
    const sheet = new OffscreenCanvas(width, height);
    const paper = sheet.getContext("2d")!;
    const [opaque, clear] = this.#isOpaque(true) ? ["#fff", "#000"] : ["#000", "#fff"];
    paper.fillStyle = opaque;
    paper.drawImage(this.canvas, 0, 0);
    paper.globalCompositeOperation = "source-in";
    paper.fillRect(0, 0, width, height);
    paper.globalCompositeOperation = "destination-over";
    paper.fillStyle = clear;
    paper.fillRect(0, 0, width, height);
    return sheet.convertToBlob({ type: "image/png" });
  }

  get isEmpty(): boolean {
    const { data } = this.#paper.getImageData(0, 0, ...this.#size);
    return !data.some((value, i) => i % 4 === 3 && this.#isOpaque(value > 127));
  }
}

/** Return a size of the same shape whose longer side is at most so long. */
export function sizeWithin(most: number, width: number, height: number): [number, number] {
  const scale = Math.min(1, most / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

async function readPicture(url: string, width: number, height: number): Promise<ImageData> {
  const image = new Image();
  image.src = url;
  await image.decode();
  const paper = new OffscreenCanvas(width, height).getContext("2d")!;
  paper.drawImage(image, 0, 0, width, height);
  return paper.getImageData(0, 0, width, height);
}
