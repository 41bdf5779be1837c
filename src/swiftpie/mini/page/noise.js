// The noise of a seed as SwiftPie draws it: the Mersenne twister, and Box and Muller's method in
// blocks of 16. See src/swiftpie/engine/graphs/draw.py.
const [WORDS, MIDDLE, BLOCK] = [624, 397, 16];

function* twister(seed) {
  const state = new Uint32Array(WORDS);
  state[0] = Number(seed & 0xffffffffn);
  for (let i = 1; i < WORDS; i++) {
    state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  }
  for (;;) {
    for (let i = 0; i < WORDS; i++) {
      const mixed = (state[i] & 0x80000000) | (state[(i + 1) % WORDS] & 0x7fffffff);
      state[i] = state[(i + MIDDLE) % WORDS] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    for (let word of state) {
      word ^= word >>> 11;
      word ^= (word << 7) & 0x9d2c5680;
      word ^= (word << 15) & 0xefc60000;
      yield (word ^ (word >>> 18)) >>> 0;
    }
  }
}

/** Return `count` normal numbers, a multiple of 16, of a seed that is a BigInt. */
export function noise(seed, count) {
  const words = twister(seed);
  const values = Float32Array.from({ length: count }, () => (words.next().value & 0xffffff) / 2 ** 24);
  for (let start = 0; start < count; start += BLOCK) {
    for (let i = start; i < start + BLOCK / 2; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - values[i]));
      const angle = 2 * Math.PI * values[i + BLOCK / 2];
      values[i] = radius * Math.cos(angle);
      values[i + BLOCK / 2] = radius * Math.sin(angle);
    }
  }
  return values;
}
