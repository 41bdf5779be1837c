// Planes of numbers, { data, width, height }, and how they change their size. The rows say which
// old values make a new one: [first, weights]. See src/swiftpie/imageio/cutout.py.
export const plane = (width, height, data = new Float32Array(width * height)) => ({ data, width, height });

/** Return `field` at another size by `across(new, old)` and `down(new, old)`, which make rows. */
export function resized(field, width, height, across, down = across) {
  const [wide, tall] = [across(width, field.width), down(height, field.height)];
  const half = plane(width, field.height);
  for (let y = 0; y < field.height; y++) {
    for (let x = 0; x < width; x++) {
      const [first, weights] = wide[x];
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * field.data[y * field.width + first + i];
      half.data[y * width + x] = sum;
    }
  }
  const made = plane(width, height);
  for (let y = 0; y < height; y++) {
    const [first, weights] = tall[y];
    for (let i = 0; i < weights.length; i++) {
      const from = (first + i) * width;
      for (let x = 0; x < width; x++) made.data[y * width + x] += weights[i] * half.data[from + x];
    }
  }
  return made;
}

/** Make rows of `new` values from the weights that `reach(place)` gives, each row with a sum of 1. */
function rows(count, reach) {
  return Array.from({ length: count }, (_, place) => {
    const [first, weights] = reach(place);
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, Float32Array.from(weights, (weight) => weight / sum)];
  });
}

const span = (first, end, weight = () => 1) => [
  first,
  Array.from({ length: end - first }, (_, i) => weight(first + i)),
];

/** Means over all values that a new one touches. */
export const areas = (count, old) =>
  rows(count, (at) => span(Math.floor((at * old) / count), Math.ceil(((at + 1) * old) / count)));

/** Triangles as wide as what shrinks, as Pillow's bilinear filter. */
export const smooth = (count, old) => {
  const scale = old / count;
  const reach = Math.max(scale, 1);
  return rows(count, (at) => {
    const centre = (at + 0.5) * scale;
    const [first, end] = [Math.max(0, Math.floor(centre - reach)), Math.min(old, Math.ceil(centre + reach))];
    return span(first, end, (i) => Math.max(0, 1 - Math.abs(i + 0.5 - centre) / reach));
  });
};

/** Values between two neighbours, in proportion. */
export const linear = (count, old) => within(0, old)(count, old);

/** Values between two neighbours, of the part from `from` to `to`. */
export const within = (from, to) => (count, old) =>
  rows(count, (at) => {
    const place = Math.min(old - 1, Math.max(0, from + ((at + 0.5) * (to - from)) / count - 0.5));
    const low = Math.floor(place);
    return low + 1 < old ? [low, [1 - (place - low), place - low]] : [low, [1]];
  });

/** Means over a window of `radius` around each value. */
export const windows = (radius) => (count, old) =>
  rows(count, (at) => span(Math.max(0, at - radius), Math.min(old, at + radius + 1)));

/** Means over equal parts of the values from `low` to `high`, as Pillow's box filter. */
export const boxes = (low, high) => (count) => {
  const scale = (high - low) / count;
  const reach = 0.5 * Math.max(scale, 1);
  return rows(count, (at) => {
    const centre = low + (at + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    return span(first, Math.max(first + 1, Math.floor(centre + reach + 0.5)));
  });
};

/** Return red, green and blue of a picture, 0 to 255. */
export function channels({ data, width, height }) {
  return [0, 1, 2].map((channel) => {
    const made = plane(width, height);
    for (let i = 0; i < made.data.length; i++) made.data[i] = data[4 * i + channel];
    return made;
  });
}

/** Return an area [left, top, right, bottom] of a field. */
export function part(field, [left, top, right, bottom]) {
  const made = plane(right - left, bottom - top);
  for (let y = top; y < bottom; y++) {
    const row = field.data.subarray(y * field.width + left, y * field.width + right);
    made.data.set(row, (y - top) * made.width);
  }
  return made;
}

/** Return what is just around the values above a half, all of the field if there are none. */
export function extent({ data, width, height }) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let i = 0; i < data.length; i++) {
    if (data[i] <= 0.5) continue;
    const [x, y] = [i % width, Math.floor(i / width)];
    [left, top] = [Math.min(left, x), Math.min(top, y)];
    [right, bottom] = [Math.max(right, x + 1), Math.max(bottom, y + 1)];
  }
  return right ? [left, top, right, bottom] : [0, 0, width, height];
}
