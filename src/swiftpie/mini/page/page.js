// The page: what is pressed, typed, dropped and drawn on it. A worker computes; see engine.js.
import { withTexts } from "./pictures.js";

const found = (id) => document.getElementById(id);
const PLACES = ["on a beach", "in a forest", "in the mountains", "in a city street", "in the desert", "under water"];
const MOODS = ["", "at sunset", "at night", "at dawn", "in the rain", "in the fog", "in autumn", "in winter"];
const SPOTS = {
  anywhere: null,
  left: [0.04, 0.3, 0.5, 0.92],
  middle: [0.25, 0.3, 0.75, 0.92],
  right: [0.5, 0.3, 0.96, 0.92],
  small: [0.36, 0.58, 0.64, 0.9],
  large: [0.06, 0.08, 0.94, 0.96],
};
const PHOTO = { name: "dog", photo: "subjects/dog.jpg" }; // what a visit begins with
const [LEAST_BOX, MOST_KEPT, LARGEST_SEED] = [0.08, 24, 2 ** 32];
const [TYPED_MS, SETTLED_MS] = [120, 900]; // after the last letter, a picture is drawn, and kept
const state = { key: null, name: "", box: null, isBusy: false, isWanted: false, isTyped: false, drawn: null, mood: "" };

/** Reload once under the service worker, whose headers give WebAssembly threads. */
async function underItsWorker() {
  if (!("serviceWorker" in navigator)) return;
  await navigator.serviceWorker.register("service-worker.js");
  await navigator.serviceWorker.ready;
  if (self.crossOriginIsolated || sessionStorage.getItem("reloaded")) return;
  sessionStorage.setItem("reloaded", "yes");
  location.reload();
  await new Promise(() => {}); // nothing is loaded twice
}

const worker = { calls: new Map(), last: 0 };

function start() {
  worker.thread = new Worker("engine.js", { type: "module" });
  worker.thread.onerror = ({ message }) => advise(`The page cannot compute: ${message}. Reload it.`);
  worker.thread.onmessage = ({ data: { id, answer, error } }) => {
    const { resolve, reject } = worker.calls.get(id);
    worker.calls.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(error));
  };
}

function call(name, request, transfer = []) {
  const id = ++worker.last;
  worker.thread.postMessage({ id, call: name, request }, transfer);
  return new Promise((resolve, reject) => worker.calls.set(id, { resolve, reject }));
}

function advise(text) {
  found("advice").hidden = !text;
  found("advice").textContent = text;
}

function veil(text) {
  found("veil").toggleAttribute("data-idle", !text);
  if (text) found("veil-text").textContent = text;
}

function paint(canvas, image) {
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Let one thing be done after another; a picture that is wanted meanwhile is drawn at the end. */
async function busy(text, work) {
  if (state.isBusy) return;
  state.isBusy = true;
  veil(text);
  advise("");
  try {
    await work();
  } catch (error) {
    advise(error.message);
  } finally {
    state.isBusy = false;
    veil("");
  }
  if (state.isWanted) await draw();
}

async function draw() {
  state.isWanted = state.isBusy;
  if (state.isBusy || state.key === null || !found("form").reportValidity()) return;
  await busy(state.isTyped ? "" : "Drawing", async () => {
    const [prompt, seed, { key, box }] = [found("prompt").value.trim(), Number(found("seed").value), state];
    if (!prompt) throw new Error("Say what the picture shows, as “a dog on a beach”.");
    const answer = await call("draw", { key, prompt, seed, box });
    show({ ...answer, prompt, seed });
  });
}

/** Draw what is typed while it is typed; what somebody comes to rest on is kept. */
function typed() {
  follow();
  clearTimeout(state.timer);
  state.isTyped = true;
  state.timer = setTimeout(async () => {
    await draw();
    state.timer = setTimeout(settle, SETTLED_MS);
  }, TYPED_MS);
}

function settle() {
  if (state.isBusy) state.timer = setTimeout(settle, SETTLED_MS);
  const isNow = !state.isBusy && state.drawn?.prompt === found("prompt").value.trim();
  if (state.isTyped && isNow) keep(found("picture"), state.drawn);
  if (isNow) state.isTyped = false;
}

/** Draw once more, as somebody asked for it. */
function redraw() {
  clearTimeout(state.timer);
  state.isTyped = false;
  if (state.isBusy) veil("Drawing");
  return draw();
}

function show(drawn) {
  const canvas = found("picture");
  paint(canvas, drawn.picture);
  canvas.setAttribute("aria-label", `Drawn: ${drawn.prompt}`);
  found("status").textContent = `Drawn in ${Math.round(drawn.ms)} ms. Seed ${drawn.seed}, scene: ${drawn.scene}.`;
  if (drawn.unknown.length) {
    advise(`mini was never taught ${drawn.unknown.join(", ")}. Such words have no effect, or blur the picture.`);
  }
  state.drawn = drawn;
  found("save").disabled = false;
  if (!state.isTyped) keep(canvas, drawn);
}

/** Put a picture on the shelf of earlier ones. */
function keep(canvas, drawn) {
  canvas.toBlob((blob) => {
    const shelf = found("history");
    const button = thumbnail(URL.createObjectURL(blob), drawn.prompt, () => {
      paint(found("picture"), drawn.picture);
      found("picture").setAttribute("aria-label", `Drawn: ${drawn.prompt}`);
      found("status").textContent = `${drawn.prompt}. Seed ${drawn.seed}, scene: ${drawn.scene}.`;
      state.drawn = drawn;
    });
    shelf.prepend(button);
    if (shelf.children.length > MOST_KEPT) {
      URL.revokeObjectURL(shelf.lastChild.querySelector("img").src);
      shelf.lastChild.remove();
    }
  });
}

function thumbnail(source, name, onclick) {
  const [button, image] = [document.createElement("button"), document.createElement("img")];
  Object.assign(image, { src: source, alt: name, loading: "lazy", width: 64, height: 64 });
  Object.assign(button, { type: "button", title: name, onclick });
  button.append(image);
  return button;
}

function pressed(group, chosen) {
  for (const button of group.children) button.setAttribute("aria-pressed", String(button === chosen));
}

/** Read another subject, and draw it. */
async function choose({ name, file, photo, source, box }) {
  state.isTyped = false;
  await busy("Reading the subject", async () => {
    if (photo) file = await (await fetch(photo)).blob();
    const bytes = source ? await (await fetch(source)).arrayBuffer() : undefined;
    const key = source ?? `photograph ${worker.last}`;
    const read = await call("read", { key, file, bytes, box }, bytes ? [bytes] : []);
    paint(found("cutout"), read.cutout);
    found("cutout").setAttribute("aria-label", `Cut-out of the ${name || "subject"}`);
    found("save-cutout").disabled = false;
    const sure = read.method === "network" ? `Cut out in ${Math.round(read.ms)} ms.` : "";
    found("subject-note").textContent = read.isDoubtful
      ? "The outline is in doubt: a photograph with the whole thing before a calm ground works best."
      : sure || "Drop a photograph here, paste one, or choose another below.";
    rename(name);
    [state.key, state.isWanted] = [key, true];
    found("mend").hidden = !file;
    found("mend").onclick = () => mend(file);
    if (read.isDoubtful && file) mend(file);
  });
}

/** Let a box say what of a photograph the subject is. */
async function mend(file) {
  const [bitmap, canvas] = [await createImageBitmap(file), found("photo")];
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  found("photo-box").hidden = true;
  listenForBoxes(found("photo-frame"), (box) => outline(found("photo-box"), box), (box) => {
    found("mending").close();
    choose({ name: "", file, box });
  });
  if (!found("mending").open) found("mending").showModal();
}

/** Let the prompt speak of the new subject, if it spoke of the one before. */
function rename(name) {
  const prompt = found("prompt");
  const article = /^[aeiou]/.test(name) ? "an" : "a";
  const before = state.name && new RegExp(`\\b(an?) ${state.name}\\b`, "i");
  const now = name || "thing";
  if (before) prompt.value = prompt.value.replace(before, `${name ? article : "a"} ${now}`);
  state.name = now;
}

/** Show which place and mood the prompt names; none where it says something else. */
function follow() {
  const named = (choices) => choices.find((words) => words && found("prompt").value.includes(words)) ?? null;
  state.mood = named(MOODS);
  pressed(found("places"), found("places").children[PLACES.indexOf(named(PLACES))]);
  pressed(found("moods"), found("moods").children[MOODS.indexOf(state.mood)]);
}

/** Change the place of the prompt, which stands behind its subject, or the mood at its end. */
function reword(part, words) {
  const prompt = found("prompt");
  const text = prompt.value.replace(state.mood ?? "", "").trim();
  const parts = part === "place" ? [subjectOf(text), words, state.mood] : [text, words];
  prompt.value = parts.filter(Boolean).join(" ");
  if (part === "mood") state.mood = words;
  redraw();
}

const subjectOf = (prompt) => prompt.split(/\s(?:on|in|at|under|before|near|by)\s/)[0];

function chips(group, choices, onclick) {
  for (const [label, value] of choices) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: label });
    button.onclick = () => {
      pressed(group, button);
      onclick(value);
    };
    group.append(button);
  }
}

function place(box) {
  state.box = box;
  found("clear-box").hidden = box === null;
  outline(found("box"), box);
}

/** Show an element around a box; null hides it. */
function outline(element, box) {
  element.hidden = box === null;
  if (box === null) return;
  const [left, top, right, bottom] = box.map((value) => 100 * value);
  Object.assign(element.style, {
    left: `${left}%`,
    top: `${top}%`,
    width: `${right - left}%`,
    height: `${bottom - top}%`,
  });
}

/** Let a box be drawn on what a frame holds, seen while it grows and used at the end. */
function listenForBoxes(frame, seen, used) {
  let from = null;
  const at = ({ clientX, clientY }) => {
    const { left, top, width, height } = frame.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height].map((value) => Math.min(1, Math.max(0, value)));
  };
  const spanned = (to) => [0, 1].flatMap((i) => [[from[0], to[0]], [from[1], to[1]]].map((ends) => Math[i ? "max" : "min"](...ends)));
  frame.onpointerdown = (event) => {
    from = at(event);
    frame.setPointerCapture(event.pointerId);
  };
  frame.onpointermove = (event) => {
    if (from === null) return;
    const box = spanned(at(event));
    if (Math.min(box[2] - box[0], box[3] - box[1]) >= LEAST_BOX) seen(box);
  };
  frame.onpointerup = frame.onpointercancel = (event) => {
    const box = from && spanned(at(event));
    from = null;
    if (box && Math.min(box[2] - box[0], box[3] - box[1]) >= LEAST_BOX) used(box);
  };
}

async function save(canvas, name, texts) {
  const png = await new Promise((resolve) => canvas.toBlob(resolve));
  const link = document.createElement("a");
  Object.assign(link, { href: URL.createObjectURL(texts ? await withTexts(png, texts) : png), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function listen(sheet) {
  found("form").onsubmit = (event) => {
    event.preventDefault();
    redraw();
  };
  found("prompt").oninput = typed;
  found("prompt").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    redraw();
  };
  found("another").onclick = () => {
    found("seed").value = Math.floor(Math.random() * LARGEST_SEED);
    redraw();
  };
  found("clear-box").onclick = () => {
    place(null);
    pressed(found("spots"), found("spots").firstChild);
    redraw();
  };
  found("save").onclick = () => {
    const { prompt, seed, scene, isPhoto } = state.drawn;
    const facts = { prompt, seed: String(seed), scene, ...(isPhoto ? sheet.composite : {}) };
    const origin = { operation: "personalize", preset: sheet.preset, engine: "onnxruntime-web", ...facts };
    const texts = { swiftpie: JSON.stringify(origin), "XML:com.adobe.xmp": sheet.marks[Number(isPhoto)] };
    save(found("picture"), `swiftpie-${seed}.png`, texts);
  };
  found("save-cutout").onclick = () => save(found("cutout"), "cut-out.png");
  found("file").onchange = ({ target }) => take(target.files[0]);
  document.onpaste = ({ clipboardData }) => take(clipboardData.files[0]);
  document.ondragover = (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  };
  document.ondragleave = () => document.body.classList.remove("dropping");
  document.ondrop = (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take(event.dataTransfer.files[0]);
  };
  found("keep-outline").onclick = () => found("mending").close();
  listenForBoxes(found("frame"), place, () => {
    pressed(found("spots"), null);
    redraw();
  });
}

function take(file) {
  if (!file?.type.startsWith("image/")) return;
  pressed(found("subjects"), null);
  choose({ name: "", file });
}

/** Ask for every file once, which the service worker keeps. */
async function keepAll() {
  const note = found("offline");
  if (!navigator.serviceWorker?.controller) {
    note.textContent = "This browser keeps nothing here, so the page needs its server at each visit.";
    return;
  }
  const { files } = await (await fetch("files.json")).json();
  const left = files.slice();
  const take = async () => {
    for (let name = left.pop(); name; name = left.pop()) {
      await (await fetch(name)).arrayBuffer();
      note.textContent = `Keeping the page for use without a network: ${left.length} files left.`;
    }
  };
  await Promise.all(Array.from({ length: 4 }, take));
  note.textContent = "The page is kept by this browser and works without a network.";
}

async function main() {
  await underItsWorker();
  const begun = performance.now();
  start();
  const opening = call("open", {});
  const sheet = await (await fetch("model/sheet.json")).json();
  chips(found("places"), PLACES.map((words) => [words, words]), (words) => reword("place", words));
  chips(found("moods"), MOODS.map((words) => [words || "by day", words]), (words) => reword("mood", words));
  chips(found("spots"), Object.entries(SPOTS), (box) => {
    place(box);
    redraw();
  });
  pressed(found("places"), found("places").firstChild);
  pressed(found("moods"), found("moods").firstChild);
  pressed(found("spots"), found("spots").firstChild);
  for (const { name, file, photo } of [PHOTO, ...sheet.subjects]) {
    const button = thumbnail(photo ?? file, name, () => {
      pressed(found("subjects"), button);
      choose({ name, photo, source: file });
    });
    found("subjects").append(button);
  }
  const { numThreads } = await opening;
  const runs = `by WebAssembly, ${numThreads} threads`;
  found("facts").textContent = `Drawing ${runs}; mini was ready after ${Math.round(performance.now() - begun)} ms.`;
  listen(sheet);
  found("draw").disabled = false;
  state.name = PHOTO.name;
  pressed(found("subjects"), found("subjects").firstChild);
  await choose(PHOTO);
  document.body.dataset.firstMs = String(Math.round(performance.now()));
  await keepAll();
}

main().catch((error) => {
  veil("");
  advise(`The page cannot start: ${error.message}`);
});
