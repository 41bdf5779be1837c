// The outline of a subject from a guess and the colours of its photograph: colour models as in
// GrabCut, and a cut along edges. The rules and numbers are those of swiftpie/imageio/cutout.py.
import { plane } from "./fields.js";

const [BINS, ROUNDS, CUT_STEPS] = [20, 2, 80];
const [MAX_ODDS, GUESS_WEIGHT, SMOOTHNESS] = [4, 0.7, 1.3];
const [SMALL_HOLE, SMALL_PART] = [0.05, 0.1];
const clipped = (value, low, high) => Math.min(high, Math.max(low, value));
const sigmoid = (value) => 1 / (1 + Math.exp(-value));

/** Return how much each pixel belongs to the subject, of log-odds and colours, 0 to 255. */
export function sharpen(logits, colours) {
  const { width, height } = logits;
  const lab = toLab(colours);
  const guess = logits.data.map((odds) => clipped(GUESS_WEIGHT * odds, -MAX_ODDS, MAX_ODDS));
  const edges = [edgeWeights(lab, width, height, width), edgeWeights(lab, width, height, 1)];
  let share = guess.map(sigmoid);
  for (let round = 0; round < ROUNDS; round++) {
    const colour = colourOdds(lab, share);
    share = cut(guess.map((odds, i) => odds + colour[i]), edges, width, height);
  }
  return mainParts(plane(width, height, share));
}

function toLab(colours) {
  const linear = colours.map(({ data }) =>
    data.map((value) => {
      const shade = value / 255;
      return shade <= 0.04045 ? shade / 12.92 : ((shade + 0.055) / 1.055) ** 2.4;
    }),
  );
  const matrix = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.072175],
    [0.0193339, 0.119192, 0.9503041],
  ];
  const roots = matrix.map((row) => {
    const sum = row[0] + row[1] + row[2];
    return linear[0].map((_, i) => {
      const value = (row[0] * linear[0][i] + row[1] * linear[1][i] + row[2] * linear[2][i]) / sum;
      return value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116;
    });
  });
  const [x, y, z] = roots;
  return [y.map((v) => 116 * v - 16), x.map((v, i) => 500 * (v - y[i])), y.map((v, i) => 200 * (v - z[i]))];
}

/** Return log-odds of the subject by colour, if `share` were the subject. */
function colourOdds(lab, share) {
  const index = new Int32Array(share.length);
  for (const axis of lab) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of axis) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const width = Math.max((high - low) / (BINS - 1), 2);
    axis.forEach((value, i) => {
      index[i] = BINS * index[i] + clipped(Math.trunc((value - low) / width + 0.5), 0, BINS - 1);
    });
  }
  const subject = histogram(index, share);
  const background = histogram(index, share.map((value) => 1 - value));
  return Float32Array.from(index, (bin) =>
    clipped(Math.log((subject[bin] + 1e-5) / (background[bin] + 1e-5)), -MAX_ODDS, MAX_ODDS),
  );
}

function histogram(index, weights) {
  let cube = new Float64Array(BINS ** 3);
  index.forEach((bin, i) => (cube[bin] += weights[i]));
  for (const step of [BINS * BINS, BINS, 1]) {
    const old = cube;
    cube = old.map((value, i) => {
      const place = Math.floor(i / step) % BINS;
      const [left, right] = [place ? old[i - step] : value, place < BINS - 1 ? old[i + step] : value];
      return 0.25 * left + 0.5 * value + 0.25 * right;
    });
  }
  const sum = Math.max(cube.reduce((a, b) => a + b, 0), 1e-6);
  return cube.map((value) => value / sum);
}

/** Return the cost of an outline between each pixel and the one `step` further; 0 at the end. */
function edgeWeights(lab, width, height, step) {
  const isEnd = (i) => (step === 1 ? i % width === width - 1 : i >= width * (height - 1));
  const difference = new Float32Array(width * height);
  let [sum, count] = [0, 0];
  for (let i = 0; i < difference.length; i++) {
    if (isEnd(i)) continue;
    for (const axis of lab) difference[i] += (axis[i + step] - axis[i]) ** 2;
    sum += difference[i];
    count++;
  }
  const sigma = (2 * sum) / Math.max(1, count) + 1e-3;
  return difference.map((value, i) => (isEnd(i) ? 0 : SMOOTHNESS * (0.05 + 0.95 * Math.exp(-value / sigma))));
}

/** Return the labelling that follows log-odds with a short outline along edges. */
function cut(odds, [down, right], width) {
  const rate = 0.35; // below 1 / sqrt(8), the bound for convergence
  const share = odds.map((value) => (value > 0 ? 1 : 0));
  const ahead = share.slice();
  const [flowY, flowX] = [new Float32Array(odds.length), new Float32Array(odds.length)];
  for (let step = 0; step < CUT_STEPS; step++) {
    for (let i = 0; i < odds.length; i++) {
      if (down[i]) flowY[i] = clipped(flowY[i] + rate * (ahead[i + width] - ahead[i]), -down[i], down[i]);
      if (right[i]) flowX[i] = clipped(flowX[i] + rate * (ahead[i + 1] - ahead[i]), -right[i], right[i]);
    }
    for (let i = 0; i < odds.length; i++) {
      let change = odds[i] + flowY[i] + flowX[i];
      if (i >= width) change -= flowY[i - width];
      if (i % width) change -= flowX[i - 1];
      const updated = clipped(share[i] + rate * change, 0, 1);
      ahead[i] = 2 * updated - share[i];
      share[i] = updated;
    }
  }
  return share;
}

/** Keep the largest part and those near its size, and fill their small holes. */
function mainParts({ data, width, height }) {
  const solid = data.map((value) => (value > 0.5 ? 1 : 0));
  const parts = connected(solid, width, height);
  const largest = Math.max(0, ...parts.map(({ length }) => length));
  const kept = new Uint8Array(data.length);
  for (const cells of parts) {
    if (cells.length > SMALL_PART * largest) for (const cell of cells) kept[cell] = 1;
  }
  const made = data.map((value, i) => (solid[i] && !kept[i] ? 0 : value));
  const size = kept.reduce((a, b) => a + b, 0);
  const isAtEdge = (cell) =>
    cell < width || cell >= width * (height - 1) || cell % width === 0 || cell % width === width - 1;
  for (const hole of connected(kept.map((value) => 1 - value), width, height)) {
    if (hole.length < SMALL_HOLE * size && !hole.some(isAtEdge)) for (const cell of hole) made[cell] = 1;
  }
  return plane(width, height, made);
}

/** Return the cells of each part of `solid` whose cells touch at their sides. */
function connected(solid, width, height) {
  const seen = new Uint8Array(solid.length);
  const parts = [];
  for (let start = 0; start < solid.length; start++) {
    if (!solid[start] || seen[start]) continue;
    seen[start] = 1;
    const cells = [start];
    for (const cell of cells) {
      const x = cell % width;
      for (const next of [
        x ? cell - 1 : -1,
        x < width - 1 ? cell + 1 : -1,
        cell - width,
        cell + width < width * height ? cell + width : -1,
      ]) {
        if (next >= 0 && solid[next] && !seen[next]) {
          seen[next] = 1;
          cells.push(next);
        }
      }
    }
    parts.push(cells);
  }
  return parts;
}
