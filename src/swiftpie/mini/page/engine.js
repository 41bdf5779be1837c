// Computes for the page, in a worker: opens the graphs of mini, reads subjects, draws pictures.
import { channels, plane, resized, smooth } from "./fields.js";
import { find, fit } from "./frame.js";
import { noise } from "./noise.js";
import { decoded, sprite } from "./pictures.js";
import { tokenizer } from "./tokens.js";
import { Vocabulary } from "./vocabulary.js";
import { reader } from "./words.js";

const LONGEST = 1024; // side of a photograph that is looked at
const EAGER = ["identity", "text", "draw", "join"]; // the others are opened when they are needed
const RUNTIME = "ort-wasm-simd-threaded";

const fetched = async (name) => {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name} cannot be loaded (HTTP ${answer.status}). Reload the page.`);
  return answer;
};
const json = async (name) => (await fetched(name)).json();
const unpacked = async (name) => {
  const stream = (await fetched(name)).body.pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

/** Return the numbers of all weights, of their bytes with exponents and with fractions. */
async function weights() {
  const planes = await Promise.all(["high", "low"].map((name) => unpacked(`model/weights-${name}.bin`)));
  const [high, low] = planes;
  const values = new Float32Array(1 << 16);
  for (let bits = 0; bits < values.length; bits++) {
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) values[bits] = fraction ? NaN : sign * Infinity;
    else values[bits] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  }
  const made = new Float32Array(high.length);
  for (let i = 0; i < made.length; i++) made[i] = values[(high[i] << 8) | low[i]];
  return new Uint8Array(made.buffer);
}

class Engine {
  #opened = {};
  #subjects = new Map();
  #drawn = new Set(); // the keys of subjects of the library

  static async open() {
    const engine = new Engine();
    const loaded = [import("./runtime/ort.wasm.min.mjs"), unpacked(`runtime/${RUNTIME}.wasm.bin`), weights()];
    const texts = [json("model/sheet.json"), json("model/words.json"), unpacked("model/tokenizer.bin")];
    const [[ort, wasmBinary, data], [sheet, words, tokens]] = await Promise.all([
      Promise.all(loaded),
      Promise.all(texts),
    ]);
    const numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
    Object.assign(ort.env.wasm, {
      numThreads,
      wasmBinary: wasmBinary.buffer,
      wasmPaths: { mjs: new URL(`./runtime/${RUNTIME}.mjs`, import.meta.url).href },
    });
    Object.assign(engine, { ort, data, sheet, words: reader(words) });
    engine.tokenize = tokenizer(JSON.parse(new TextDecoder().decode(tokens)));
    engine.vocabulary = new Vocabulary(sheet.taught);
    for (const name of EAGER) await engine.#graph(name);
    return { engine, numThreads };
  }

  #graph(name) {
    return (this.#opened[name] ??= this.#open(name));
  }

  async #open(name) {
    return this.ort.InferenceSession.create(await unpacked(`model/${name}.graph`), {
      externalData: [{ path: "weights", data: this.data }],
      executionProviders: ["wasm"],
      graphOptimizationLevel: "disabled", // they were folded when the page was exported
      extra: { session: { intra_op: { allow_spinning: "0" } } }, // threads that wait leave their core
    });
  }

  async #compute(name, tensors) {
    const graph = await this.#graph(name);
    return graph.run(Object.fromEntries(graph.inputNames.map((input) => [input, tensors[input]])));
  }

  #floats(values, shape) {
    return new this.ort.Tensor("float32", values, shape);
  }

  #filled(value, shape) {
    return this.#floats(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value), shape);
  }

  #whole(values) {
    return new this.ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  }

  #number(value) {
    return new this.ort.Tensor("int64", BigInt64Array.of(BigInt(value)), [1]);
  }

  /** Read the subject of a picture, or of a box in it, under a key; return its cut-out and how it was found. */
  async read({ key, file, bytes, box }) {
    const picture = bytes ? await sprite(new Uint8Array(bytes)) : await decoded(file, LONGEST);
    const found = await find(picture, async (view) => {
      const side = Math.sqrt(view[0].length);
      const values = new Float32Array(3 * side * side);
      view.forEach((channel, i) => values.set(channel, i * side * side));
      return (await this.#compute("cutout", { view: this.#floats(values, [1, 3, side, side]) })).logits.data;
    }, box);
    if (found === null) throw new Error("The picture shows no subject. Choose one with a single thing in its middle.");
    const side = this.sheet.frame_px;
    const { pixels, mask } = fit(picture, found.mask, side);
    const frames = { pixels: this.#floats(pixels, [1, 3, side, side]), mask: this.#floats(mask, [1, 1, side, side]) };
    if (bytes) this.#drawn.add(key);
    this.#subjects.set(key, { ...frames, ...(await this.#compute("identity", frames)) });
    const { method, confidence, isDoubtful } = found;
    return { method, confidence, isDoubtful, cutout: painted(pixels, side, side, mask) };
  }

  async draw({ key, prompt, seed, box }) {
    const beyond = this.words.beyond(prompt);
    if (beyond !== null) {
      throw new Error(`This page draws photographs, not "${beyond}", which the Python package does. Leave that out.`);
    }
    const { inputs } = this.sheet.graphs.draw;
    const shape = inputs.noise[1];
    const numbers = noise(BigInt(seed), shape.reduce((a, b) => a * b, 1));
    const given = { ...this.sheet.defaults, region: 1, detail_region: 1, has_box: box ? 1 : 0 };
    const scales = Object.entries(given).map(([name, value]) => [name, this.#filled(value, inputs[name][1])]);
    const { ids, mask } = this.tokenize(this.vocabulary.asTaught(this.words.plainly(prompt)));
    const text = await this.#compute("text", { input_ids: this.#whole(ids), attention_mask: this.#whole(mask) });
    const drawn = await this.#compute("draw", {
      ...Object.fromEntries(scales),
      ...this.#subjects.get(key),
      ...text,
      noise: this.#floats(numbers, shape),
      box: this.#floats(Float32Array.from(box ?? [0, 0, 1, 1]), [1, 4]),
    });
    const { finished, place } = await this.#finish(drawn, prompt, numbers, shape.slice(1), this.#drawn.has(key));
    const [, , height, width] = finished.dims;
    return {
      picture: painted(finished.data, width, height),
      scene: place.name,
      isPhoto: place.isPhoto,
      unknown: this.vocabulary.unknownIn(this.words.inKnownWords(prompt)),
    };
  }

  /** Put the drawn subject before the place of its prompt, in its light and weather. */
  async #finish(drawn, prompt, numbers, shape, isDrawn) {
    const share = shareOf(numbers.subarray(0, shape.at(-1) * shape.at(-2)));
    const place = this.words.place(prompt, share, isDrawn);
    const setting = this.words.settingAt(prompt, place);
    const latents = this.#floats(numbers, shape);
    const values = Object.entries(setting).map(([name, value]) => [name, this.#number(value)]);
    const given = { noise: latents, ...Object.fromEntries(values), scene: await this.#scene(place, share, drawn.image.dims) };
    if (!this.words.isPlain(setting)) {
      given.scene = (await this.#compute("relight", { ...given, place: this.#number(place.number) })).lit;
    }
    const { shadow } = drawn;
    const cast = place.isGround ? shadow : this.#filled(0, shadow.dims);
    return { place, ...(await this.#compute("join", { ...drawn, ...given, shadow: cast })) };
  }

  /** Return one of the pictures of a place, or its mirror image, as a tensor. */
  async #scene(place, share, [, , height, width]) {
    const count = 2 * place.pictures;
    const number = Math.min(Math.floor(count * share), count - 1);
    const file = await fetched(`scenes/${place.file}-${number >> 1}.webp`);
    const planes = channels(await decoded(await file.blob(), Infinity)).map((channel) =>
      resized(channel, width, height, smooth),
    );
    const values = new Float32Array(3 * width * height);
    planes.forEach(({ data }, channel) => {
      data.forEach((value, i) => {
        const at = number % 2 && !place.isPhoto ? i - (i % width) + width - 1 - (i % width) : i;
        values[channel * width * height + at] = Math.round(value) / 127.5 - 1;
      });
    });
    return this.#floats(values, [1, 3, height, width]);
  }
}

/** Return bytes, RGBA, of planes in [-1, 1]; `opacity` in [0, 1] undoes what it was multiplied by. */
function painted(values, width, height, opacity = null) {
  const [cells, made] = [width * height, new ImageData(width, height)];
  for (let i = 0; i < cells; i++) {
    const share = opacity ? Math.max(opacity[i], 1e-3) : 1;
    for (let channel = 0; channel < 3; channel++) {
      made.data[4 * i + channel] = Math.round((values[channel * cells + i] / share + 1) * 127.5);
    }
    made.data[4 * i + 3] = opacity ? Math.round(255 * opacity[i]) : 255;
  }
  return made;
}

/** Return the share of a normal distribution below the sum of one channel of noise. */
function shareOf(numbers) {
  const value = numbers.reduce((a, b) => a + b, 0) / Math.sqrt(numbers.length);
  const t = 1 / (1 + Math.abs(value) / (2 * Math.SQRT2)); // erfc by Chebyshev, as Numerical Recipes
  const terms = [
    ...[-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806],
    ...[0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277],
  ];
  const upper = 0.5 * t * Math.exp(-(value * value) / 2 + terms.reduceRight((sum, term) => sum * t + term, 0));
  return value < 0 ? upper : 1 - upper;
}

let opened = null;
const calls = {
  open: async () => {
    const { engine, ...facts } = await Engine.open();
    opened = engine;
    return facts;
  },
  read: (request) => opened.read(request),
  draw: (request) => opened.draw(request),
};

self.onmessage = async ({ data: { id, call, request } }) => {
  const begun = performance.now();
  try {
    const answer = await calls[call](request);
    self.postMessage({ id, answer: { ...answer, ms: performance.now() - begun } });
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};
