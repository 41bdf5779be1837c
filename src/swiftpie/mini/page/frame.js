// Where the subject of a picture is, and the frame that mini reads of it. The rules and numbers are
// those of swiftpie/engine/graphs/frame.py; a picture is { data, width, height } of bytes, RGBA.
import { areas, boxes, channels, extent, linear, part, plane, resized, smooth, windows, within } from "./fields.js";
import { sharpen } from "./outline.js";

const [VIEW, GUESS, WORK, FILL] = [256, 128, 160, 0.9];
const [LEAST, MOST, DOUBTFUL] = [0.02, 0.95, 0.72];
const [CLOSER, BORDER] = [0.25, 0.33];
const [RADIUS, SOFTNESS, CONTRAST] = [2, 1e-3, 1.7];

/**
 * Return { mask, method, confidence } of a picture's subject, or null where nothing was found.
 * `guess` returns a promise of log-odds of a view, whose channels are in [-1, 1]. With a `box`, shares
 * of the sides, the subject is looked for there, and nothing beyond it is the subject.
 */
export async function find(picture, guess, box = null) {
  if (box) return findIn(box, channels(picture), guess);
  const opacity = plane(picture.width, picture.height);
  for (let i = 0; i < opacity.data.length; i++) opacity.data[i] = picture.data[4 * i + 3] / 255;
  if (opacity.data.some((value) => value < 1)) {
    const isSeen = opacity.data.some((value) => value > 0.5);
    return isSeen ? { mask: opacity, method: "transparency", confidence: 1 } : null;
  }
  const photo = channels(picture);
  const logits = await guessed(photo, whole(photo), guess);
  const first = outlined(photo, logits);
  if (!isUsable(first)) return null;
  const mask = await seenCloser(photo, first, logits, guess);
  const confidence = agreement(logits, mask);
  return isUsable(mask) ? { mask, method: "network", confidence, isDoubtful: confidence < DOUBTFUL } : null;
}

async function findIn([left, top, right, bottom], photo, guess) {
  const [{ width, height }] = photo;
  const [across, down] = [CLOSER * (right - left), CLOSER * (bottom - top)];
  const area = areaOf([left - across, right + across], [top - down, bottom + down], photo);
  const logits = await guessed(photo, area, guess);
  const closer = outlined(photo.map((channel) => part(channel, area)), logits);
  const mask = plane(width, height);
  for (let row = Math.max(area[1], Math.floor(top * height)); row < Math.min(area[3], bottom * height); row++) {
    for (let x = Math.max(area[0], Math.floor(left * width)); x < Math.min(area[2], right * width); x++) {
      mask.data[row * width + x] = closer.data[(row - area[1]) * closer.width + x - area[0]];
    }
  }
  return mask.data.some((value) => value > 0.5) ? { mask, method: "network", confidence: 1, isDoubtful: false } : null;
}

/** Return pixels in [-1, 1], grey outside of the subject, and the mask, each of `side` pixels. */
export function fit(picture, mask, side) {
  const [left, top, right, bottom] = extent(mask);
  const square = Math.max(1, Math.round(Math.max(bottom - top, right - left) / FILL));
  const [x, y] = [Math.floor((left + right - square) / 2), Math.floor((top + bottom - square) / 2)];
  const framed = (field, change) => {
    const frame = plane(square, square);
    for (let row = Math.max(0, y); row < Math.min(field.height, y + square); row++) {
      for (let column = Math.max(0, x); column < Math.min(field.width, x + square); column++) {
        frame.data[(row - y) * square + column - x] = change(field.data[row * field.width + column]);
      }
    }
    return resized(frame, side, side, smooth).data;
  };
  const cover = framed(mask, (value) => value);
  const pixels = new Float32Array(3 * side * side);
  channels(picture).forEach((channel, number) => {
    const values = framed(channel, (value) => value / 127.5 - 1);
    pixels.set(values.map((value, i) => value * cover[i]), number * side * side);
  });
  return { pixels, mask: cover };
}

/** Whether a mask is no part of the picture: neither nearly all of it, nor along three of its borders. */
function isUsable({ data, width, height }) {
  const mean = data.reduce((a, b) => a + b, 0) / data.length;
  const share = (count, at) => Array.from({ length: count }, (_, i) => data[at(i)] > 0.5).filter(Boolean).length / count;
  const borders = [
    share(width, (x) => x),
    share(width, (x) => (height - 1) * width + x),
    share(height, (y) => y * width),
    share(height, (y) => y * width + width - 1),
  ];
  return mean > LEAST && mean <= MOST && borders.filter((value) => value > BORDER).length < 3;
}

const whole = ([{ width, height }]) => [0, 0, width, height];

function areaOf([left, right], [top, bottom], [{ width, height }]) {
  const low = (value, side) => Math.min(side - 1, Math.max(0, Math.floor(value * side)));
  const [x, y] = [low(left, width), low(top, height)];
  const high = (value, side, least) => Math.max(Math.min(side, Math.ceil(value * side)), least + 1);
  return [x, y, high(right, width, x), high(bottom, height, y)];
}

/** Return the mask that a closer look at what was found gives together with the first guess. */
async function seenCloser(photo, mask, logits, guess) {
  const { width, height } = mask;
  const [left, top, right, bottom] = extent(mask);
  const [across, down] = [(CLOSER * (right - left)) / width, (CLOSER * (bottom - top)) / height];
  const area = areaOf(
    [left / width - across, right / width + across],
    [top / height - down, bottom / height + down],
    photo,
  );
  const crop = photo.map((channel) => part(channel, area));
  const place = (edge, side) => (edge * GUESS) / side;
  const columns = within(place(area[0], width), place(area[2], width));
  const before = resized(logits, GUESS, GUESS, columns, within(place(area[1], height), place(area[3], height)));
  const odds = await guessed(photo, area, guess);
  const both = plane(GUESS, GUESS, odds.data.map((value, i) => (value + before.data[i]) / 2));
  const closer = outlined(crop, both);
  const made = plane(width, height);
  for (let row = 0; row < closer.height; row++) {
    const values = closer.data.subarray(row * closer.width, (row + 1) * closer.width);
    made.data.set(values, (area[1] + row) * width + area[0]);
  }
  return made;
}

function shrunk(photo, width, height, [left, top, right, bottom] = whole(photo)) {
  return photo.map((channel) => {
    const small = resized(channel, width, height, boxes(left, right), boxes(top, bottom));
    return plane(width, height, small.data.map(Math.round));
  });
}

async function guessed(photo, area, guess) {
  const view = shrunk(photo, VIEW, VIEW, area).map(({ data }) => data.map((value) => value / 127.5 - 1));
  return plane(GUESS, GUESS, await guess(view));
}

/** Return the mask that colours and edges of a photo make of a guess about it. */
function outlined(photo, logits) {
  const [{ width, height }] = photo;
  const scale = Math.min(1, WORK / Math.max(width, height));
  const size = [width, height].map((side) => Math.max(1, Math.round(scale * side)));
  const small = shrunk(photo, ...size);
  const coarse = sharpen(resized(logits, ...size, linear), small);
  return followEdges(coarse, grey(small), grey(photo));
}

/** Return a photo's brightness in [0, 1], as Pillow counts it. */
function grey([red, green, blue]) {
  const made = plane(red.width, red.height);
  for (let i = 0; i < made.data.length; i++) {
    const sum = 19595 * red.data[i] + 38470 * green.data[i] + 7471 * blue.data[i] + 0x8000;
    made.data[i] = Math.floor(sum / 0x10000) / 255;
  }
  return made;
}

/** Enlarge a mask along a photo's edges (fast guided filter, He and Sun, 2015). */
function followEdges(mask, guide, full) {
  const { width, height } = mask;
  const mean = (values) => resized(plane(width, height, values), width, height, windows(RADIUS)).data;
  const product = (a, b) => mean(a.map((value, i) => value * b[i]));
  const [means, guides] = [mean(mask.data), mean(guide.data)];
  const [both, squares] = [product(guide.data, mask.data), product(guide.data, guide.data)];
  const slope = both.map((value, i) => (value - guides[i] * means[i]) / (squares[i] - guides[i] ** 2 + SOFTNESS));
  const offset = means.map((value, i) => value - slope[i] * guides[i]);
  const [slopes, offsets] = [slope, offset].map((values) =>
    resized(plane(width, height, mean(values)), full.width, full.height, linear),
  );
  const refined = full.data.map((value, i) => {
    const share = slopes.data[i] * value + offsets.data[i];
    return Math.min(1, Math.max(0, (share - 0.5) * CONTRAST + 0.5));
  });
  return plane(full.width, full.height, refined);
}

/** Return how alike a guess about a photo and the mask in the end are, in [0, 1]. */
function agreement(logits, mask) {
  const odds = logits.data.map((value) => 1 / (1 + Math.exp(-value)));
  return overlap(odds, resized(mask, GUESS, GUESS, areas).data);
}

function overlap(a, b) {
  let [least, most] = [0, 0];
  a.forEach((value, i) => {
    least += Math.min(value, b[i]);
    most += Math.max(value, b[i]);
  });
  return least / most;
}
