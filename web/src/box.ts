/** Boxes in a picture, in shares of its width and height. */

import type { Box } from "./server";

export const CORNERS = ["top left", "top right", "bottom left", "bottom right"] as const;
export type Corner = (typeof CORNERS)[number];

const LEAST = 0.08; // a side; nothing could be seen of a smaller subject
const LARGE = 0.45; // the longer side of what is dropped
const EDGE = 0.02; // left free beside a subject

export const within = (value: number, low: number, high: number) =>
  Math.min(high, Math.max(low, value));
const tidy = (value: number) => Math.round(value * 1000) / 1000;

/** Return the box moved as far as it stays inside of the picture. */
export function moved([left, top, right, bottom]: Box, across: number, down: number): Box {
  const x = within(across, -left, 1 - right);
  const y = within(down, -top, 1 - bottom);
  return [tidy(left + x), tidy(top + y), tidy(right + x), tidy(bottom + y)];
}

/** Return a box around a point, as high as `LARGE` of a picture and square in its pixels. */
export function around([x, y]: Point, ratio: number): Box {
  const [across, down] = [LARGE / Math.max(1, ratio) / 2, (LARGE * Math.min(1, ratio)) / 2];
  const [left, top] = [within(x, across, 1 - across), within(y, down, 1 - down)];
  return [tidy(left - across), tidy(top - down), tidy(left + across), tidy(top + down)];
}

/** Return a box for one more subject, as high as the last one and in the widest gap beside them all. */
export function free(boxes: readonly Box[]): Box {
  const [, top, , bottom] = boxes.at(-1)!;
  const starts = [0, ...boxes.map(([, , right]) => right)];
  const gaps = starts.map((left): [number, number] => {
    if (boxes.some((one) => one[0] <= left && left < one[2])) return [left, left]; // inside of one
    return [left, Math.min(1, ...boxes.map((one) => one[0]).filter((end) => end >= left))];
  });
  const [left, right] = gaps.reduce((a, b) => (b[1] - b[0] > a[1] - a[0] ? b : a));
  const half = Math.min(bottom - top, right - left) / 2 - EDGE;
  if (half < LEAST) return [0.3, 0.3, 0.7, 0.7]; // there is no gap
  const middle = (left + right) / 2;
  return [tidy(middle - half), tidy(bottom - 2 * half), tidy(middle + half), bottom];
}

export function resized(box: Box, corner: Corner, across: number, down: number): Box {
  let [left, top, right, bottom] = box;
  if (corner.endsWith("left")) left = within(left + across, 0, right - LEAST);
  else right = within(right + across, left + LEAST, 1);
  if (corner.startsWith("top")) top = within(top + down, 0, bottom - LEAST);
  else bottom = within(bottom + down, top + LEAST, 1);
  return [tidy(left), tidy(top), tidy(right), tidy(bottom)];
}

export type Point = readonly [x: number, y: number];

/** Return where a pointer is in an element, or at which of its edges. */
export function placeIn(element: HTMLElement, event: MouseEvent): Point {
  const { left, top, width, height } = element.getBoundingClientRect();
  const [x, y] = [(event.clientX - left) / width, (event.clientY - top) / height];
  return [within(x, 0, 1), within(y, 0, 1)];
}

/** Return the box between two points, null where that is hardly more than a click. */
export function between(a: Point, b: Point, least = LEAST): Box | null {
  const [left, right] = [Math.min(a[0], b[0]), Math.max(a[0], b[0])];
  const [top, bottom] = [Math.min(a[1], b[1]), Math.max(a[1], b[1])];
  if (right - left < least || bottom - top < least) return null;
  return [tidy(left), tidy(top), tidy(right), tidy(bottom)];
}

/** Return where a box is drawn, as styles. */
export const styleOf = ([left, top, right, bottom]: Box): string =>
  `left:${left * 100}%;top:${top * 100}%;` +
  `width:${(right - left) * 100}%;height:${(bottom - top) * 100}%`;

export function described([left, top, right, bottom]: Box): string {
  const shares = { left, top, width: right - left, height: bottom - top };
  const said = Object.entries(shares).map(([name, one]) => `${name} ${Math.round(one * 100)} %`);
  return said.join(", ");
}

const ARROWS: Record<string, Point> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** Return how far an arrow key moves, null for any other key. */
export function arrowOf(event: KeyboardEvent): readonly [number, number] | null {
  const step = event.shiftKey ? 0.1 : 0.02;
  const way = ARROWS[event.key];
  return way ? [way[0] * step, way[1] * step] : null;
}
