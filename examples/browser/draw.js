// Draws with mini in the browser itself. `model/` is what `swiftpie export onnx model` writes.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";
import { noise } from "./noise.js";
import { tokenizer } from "./tokens.js";

const FILL = 0.9; // of the frame's side that the subject's longer side takes
const WEIGHTS = "weights.safetensors";
const found = (id) => document.getElementById(id);
const read = async (name) => (await fetch(`model/${name}`)).json();

ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
const started = performance.now();
const sheet = await read("swiftpie.json");
const tokenize = tokenizer(await read(sheet.tokenizers[0]));
const data = new Uint8Array(await (await fetch(`model/${WEIGHTS}`)).arrayBuffer());
const graphs = {};
for (const [name, { file }] of Object.entries(sheet.graphs)) {
  const externalData = [{ path: WEIGHTS, data }];
  graphs[name] = await ort.InferenceSession.create(`model/${file}`, { externalData });
}

async function compute(name, tensors) {
  const graph = graphs[name];
  return graph.run(Object.fromEntries(graph.inputNames.map((one) => [one, tensors[one]])));
}

const float = (values, shape) => new ort.Tensor("float32", Float32Array.from(values), shape);
const filled = (value, [, shape]) => float(Array(shape.reduce((a, b) => a * b, 1)).fill(value), shape);
const whole = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);

/** Return red, green, blue and opacity of a picture's subject in the middle of its frame. */
function framed(image, side) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  brush.drawImage(image, 0, 0);
  const whole = brush.getImageData(0, 0, image.width, image.height);
  if (image.width === side && image.height === side) return whole.data; // a frame already
  const at = { left: image.width, top: image.height, right: 0, bottom: 0 };
  for (let place = 3; place < whole.data.length; place += 4) {
    if (whole.data[place] < 128) continue;
    const [x, y] = [((place - 3) / 4) % image.width, Math.floor((place - 3) / 4 / image.width)];
    at.left = Math.min(at.left, x);
    at.right = Math.max(at.right, x + 1);
    at.top = Math.min(at.top, y);
    at.bottom = Math.max(at.bottom, y + 1);
  }
  const [width, height] = [at.right - at.left, at.bottom - at.top];
  const scale = (FILL * side) / Math.max(width, height);
  const small = new OffscreenCanvas(side, side).getContext("2d");
  small.imageSmoothingQuality = "high";
  const [across, down] = [(side - scale * width) / 2, (side - scale * height) / 2];
  small.drawImage(canvas, at.left, at.top, width, height, across, down, scale * width, scale * height);
  return small.getImageData(0, 0, side, side).data;
}

async function identify(file) {
  const side = sheet.frame_px;
  const seen = framed(await createImageBitmap(file, { premultiplyAlpha: "none" }), side);
  const cells = side * side;
  const mask = Array.from({ length: cells }, (_, place) => seen[4 * place + 3] / 255);
  const pixels = [0, 1, 2].flatMap((channel) =>
    mask.map((share, place) => ((2 * seen[4 * place + channel]) / 255 - 1) * share),
  );
  const frames = { pixels: float(pixels, [1, 3, side, side]), mask: float(mask, [1, 1, side, side]) };
  return { ...frames, ...(await compute("identity", frames)) };
}

async function draw() {
  const begun = performance.now();
  const subject = await identify(found("subject").files[0]);
  const { ids, mask } = tokenize(found("prompt").value);
  const text = await compute("text", { input_ids: whole(ids), attention_mask: whole(mask) });
  const ports = sheet.graphs.draw.inputs;
  const given = { ...sheet.defaults, region: 1, detail_region: 1, box: 0 };
  const plain = Object.entries(given).map(([name, value]) => [name, filled(value, ports[name])]);
  const drawn = noise(BigInt(found("seed").value), ports.noise[1].reduce((a, b) => a * b, 1));
  const { image } = await compute("draw", {
    ...Object.fromEntries(plain),
    ...subject,
    ...text,
    noise: float(drawn, ports.noise[1]),
  });
  const [, , height, width] = image.dims;
  const cells = height * width;
  const shown = new ImageData(width, height);
  for (let place = 0; place < cells; place++) {
    for (let channel = 0; channel < 3; channel++) {
      shown.data[4 * place + channel] = Math.round((image.data[channel * cells + place] + 1) * 127.5);
    }
    shown.data[4 * place + 3] = 255;
  }
  const canvas = found("picture");
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(shown, 0, 0);
  found("told").textContent = `drawn in ${Math.round(performance.now() - begun)} ms`;
}

found("draw").onclick = () => draw().catch((error) => (found("told").textContent = `failed: ${error}`));
found("draw").disabled = false;
found("told").textContent = `ready after ${Math.round(performance.now() - started)} ms`;
