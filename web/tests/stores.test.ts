/** The stores without a browser: what comes late, and what a list is given twice. */

import { beforeEach, expect, test, vi } from "vitest";
import { around } from "../src/box";
import { placesIn, sizeOfShape } from "../src/draft";
import { Files, jobOf } from "../src/jobs";
import { SAMPLES } from "../src/samples";
import { shownOf } from "../src/stores/pictures.svelte";
import { Studio } from "../src/studio.svelte";
import { hold, Socket } from "./browser";

const PICTURE = new File(["picture"], "00.png", { type: "image/png" });
const [DOG, SHEEP] = SAMPLES;

let studio: Studio;

beforeEach(async () => {
  studio = new Studio();
  await studio.models.choose("mini");
  studio.models.learn(await (await fetch("/v1/models")).json());
  studio.drawing.connect();
  Socket.newest.open();
});

const draft = () => studio.drafts.draft;
const newest = () => Socket.newest.sent.at(-1)!;
const until = (check: () => void) => vi.waitFor(check, { interval: 5 });

/** Draw what is typed, and answer with a picture of which this is said. */
async function draw(prompt: string, facts: object = {}): Promise<void> {
  const { sent } = Socket.newest;
  const before = sent.length;
  studio.drafts.write({ prompt });
  await until(() => expect(sent.length).toBeGreaterThan(before));
  Socket.newest.answer({ id: newest().id, ...facts });
  await until(() => expect(studio.pictures.shown?.draft.prompt).toBe(prompt));
}

test.each(["/v1/pictures", "/v1/identities"])(
  "words that are typed while a picture is sent to %s stay, and name what was sent",
  async (path) => {
    const late = hold(path);
    const coming = studio.arrivals.take([PICTURE]);
    await late.begun;
    studio.drafts.write({ prompt: "a backpack on a beach" });
    late.release();
    await coming;
    expect(draft().prompt).toBe("a backpack on a beach");
    expect(studio.shelf.subjects.map(({ name }) => name)).toEqual(["backpack"]);
    expect(studio.arrivals.unnamed).toBeUndefined();
  },
);

test("a subject that comes late is drawn, and does not rename what was typed since", async () => {
  studio.drafts.set({ prompt: "a dog on a beach" });
  studio.placing.use((await studio.shelf.meet(DOG!))!);
  const { start } = studio.drafts;
  studio.drafts.write({ prompt: "a sheep and its dog in the snow" });
  studio.placing.use((await studio.shelf.meet(SHEEP!))!, start);
  expect(draft().prompt).toBe("a sheep and its dog in the snow");
  expect(studio.shelf.nameOf(draft().placed[0])).toBe("sheep");
});

test("a subject that was chosen for a drawing does not come into a photo that is opened since", async () => {
  studio.drafts.set({ prompt: "a dog on a beach" });
  const { start } = studio.drafts;
  const late = hold("/v1/identities");
  const coming = studio.shelf.meet(DOG!);
  studio.drafts.set({ mode: "edit" });
  late.release();
  studio.placing.use((await coming)!, start);
  expect(draft()).toMatchObject({ mode: "edit", task: "edit", newcomer: null });
  expect(draft().placed).toHaveLength(1);
});

test("a photo that comes late takes neither the place of a newer one nor of newer words", async () => {
  studio.drafts.set({ mode: "edit" });
  const late = hold("/v1/pictures");
  const coming = studio.edits.openPhoto(PICTURE);
  studio.drafts.write({ change: "at night" });
  late.release();
  await coming;
  expect(draft().change).toBe("at night");
  const [{ photo }, again] = [draft(), hold("/v1/pictures")];
  const older = studio.edits.openPhoto(PICTURE);
  studio.drafts.set({ photo: null });
  again.release();
  await older;
  expect(photo?.id).toMatch(/^pic_/);
  expect(draft().photo).toBeNull();
});

test("a name that the prompt has twice is listed once, and one that was chosen never", async () => {
  const cat = { word: "cat", name: "cat", near: [] };
  await draw("a cat and a cat on a beach", { named: [cat, cat] });
  expect(studio.pictures.shown!.named).toEqual([cat]);
  const entry = { name: "cat", words: [], picture: "/v1/library/cat.webp" };
  studio.placing.use((await studio.shelf.meet(entry))!);
  await draw("a cat on a lake", { named: [cat] });
  expect(studio.pictures.shown!.named).toEqual([]);
});

test("steps of the history have keys of their own, however often one is returned to", async () => {
  for (const place of ["beach", "lake"]) {
    await draw(`a dog on a ${place}`);
    studio.pictures.keep();
  }
  studio.pictures.undo();
  await draw("a dog on a lake");
  studio.pictures.keep();
  const urls = studio.pictures.history.map(({ shown }) => shown.url);
  expect(urls).toHaveLength(2);
  expect(new Set(urls).size).toBe(2);
});

test("what was drawn can be edited though the draft of the photo is empty", async () => {
  await draw("a dog on a beach");
  studio.drafts.set({ mode: "edit" });
  await studio.edits.editThis();
  expect(draft()).toMatchObject({ change: "a dog on a beach", source: "a dog on a beach" });
  expect(draft().photo).not.toBeNull();
});

test("a sample that is only offered makes room for words, and one that was chosen stays", async () => {
  studio.drafts.set({ prompt: "a sheep on a beach" });
  studio.placing.use((await studio.shelf.meet(SHEEP!))!);
  studio.drafts.set({ isOffered: true });
  studio.drafts.write({ prompt: "a dog on a beach" });
  expect(draft().placed).toEqual([]);
  studio.placing.use((await studio.shelf.meet(SHEEP!))!);
  studio.drafts.write({ prompt: "a backpack on a beach" });
  expect(draft().placed).toHaveLength(1);
});

test("a picture that comes after a return to the history is not shown", async () => {
  await draw("a dog on a beach");
  studio.pictures.keep();
  const { shown } = studio.pictures;
  studio.drafts.write({ prompt: "a dog on a lake" });
  await until(() => expect(newest().prompt).toBe("a dog on a lake"));
  Socket.newest.answer({ id: newest().id });
  studio.pictures.goTo(0); // while the picture is being decoded
  await new Promise((resolve) => setTimeout(resolve));
  expect(studio.pictures.shown).toBe(shown);
  expect(draft().prompt).toBe("a dog on a beach");
});

test("a box or a word that was changed asks once for what is newest", async () => {
  studio.drafts.set({ prompt: "a dog on a beach" });
  studio.placing.use((await studio.shelf.meet(DOG!))!);
  const before = Socket.newest.sent.length;
  for (let left = 0; left < 0.5; left += 0.05)
    studio.placing.place(0, { box: [left, 0, left + 0.5, 0.5] });
  await until(() =>
    expect(newest()).toMatchObject({ swiftpie: { subjects: [{ box: draft().placed[0]!.box }] } }),
  );
  expect(Socket.newest.sent.length - before).toBeLessThanOrEqual(3);
});

test("a picture that is dropped into the drawing stands there, beside the chosen subject", async () => {
  studio.drafts.set({ prompt: "a dog on a beach" });
  studio.placing.use((await studio.shelf.meet(DOG!))!);
  const box = around([0.3, 0.4], 4 / 3);
  await studio.arrivals.take([PICTURE], false, box);
  expect(draft().placed.map((one) => studio.shelf.nameOf(one))).toEqual(["dog", "subject"]);
  expect(draft().placed[1]!.box).toEqual(box);
  studio.placing.bringToFront(0);
  expect(draft().placed.map((one) => studio.shelf.nameOf(one))).toEqual(["subject", "dog"]);
});

test("a picture that is dropped where something comes into a photo is what comes", async () => {
  studio.drafts.set({ mode: "edit" });
  await studio.edits.openPhoto(PICTURE);
  studio.drafts.set({ task: "insert" });
  const box = around([0.5, 0.6], 1);
  await studio.arrivals.take([PICTURE], false, box);
  expect(draft()).toMatchObject({ task: "insert", box });
  expect(studio.shelf.nameOf({ key: draft().newcomer! })).toBe("subject");
});

test("each subject without a name is asked for, the first that came first", async () => {
  studio.drafts.set({ prompt: "a dog on a beach" });
  studio.arrivals.several = [PICTURE, PICTURE];
  await studio.arrivals.resolveSeveral(false);
  for (const [unnamed, name] of [
    ["subject", "ball"],
    ["second subject", "sun"],
  ]) {
    expect(studio.arrivals.unnamed?.name).toBe(unnamed);
    await studio.arrivals.name(studio.arrivals.unnamed!.key, name!);
  }
  expect(studio.arrivals.unnamed).toBeUndefined();
  expect(studio.shelf.subjects.map(({ name }) => name)).toEqual(["ball", "sun"]);
});

test("words that are typed before the server is ready are drawn, and not those of a first visit", async () => {
  const late = hold("/health/ready");
  const opening = studio.open();
  await late.begun;
  studio.drafts.write({ prompt: "a dog on a lake" });
  late.release();
  await opening;
  expect(draft()).toMatchObject({ prompt: "a dog on a lake", placed: [] });
});

test("a mask that comes late is not shown once all was cleared", async () => {
  studio.drafts.set({ mode: "edit" });
  await studio.edits.openPhoto(PICTURE);
  const late = hold("/v1/pictures");
  const painting = studio.edits.paint(PICTURE);
  await late.begun;
  await studio.edits.paint(null);
  late.release();
  await painting;
  expect(draft().mask).toBeNull();
});

test("a favourite stays however many come, and what is deleted is gone", async () => {
  for (let step = 0; step < 70; step++) {
    const drawn = { ...draft(), prompt: `a dog on beach ${step}` };
    const shown = await shownOf(PICTURE, drawn);
    studio.pictures.add({ draft: drawn, shown, isFavourite: step === 0, name: `${step}` });
  }
  const names = () => studio.pictures.history.map(({ name }) => name);
  expect(names()).toHaveLength(60);
  expect(names().slice(0, 2)).toEqual(["0", "11"]);
  studio.pictures.goTo(5);
  const [gone, now] = [studio.pictures.history[2]!, studio.pictures.moment];
  studio.pictures.remove(gone);
  expect(studio.pictures.moment).toBe(now);
  expect(names()).not.toContain(gone.name);
});

test("what is drawn after a return keeps what came later", async () => {
  for (const place of ["beach", "lake"]) {
    await draw(`a dog on a ${place}`);
    studio.pictures.keep();
  }
  studio.pictures.undo();
  await draw("a dog on a hill");
  studio.pictures.keep();
  const steps = () => studio.pictures.history.map(({ draft }) => draft.prompt);
  expect(steps()).toEqual(["a dog on a beach", "a dog on a hill", "a dog on a lake"]);
  studio.pictures.undo();
  expect(draft().prompt).toBe("a dog on a beach");
});

test("prompts of a queue are drawn one a line, as the draft is otherwise, until it is stopped", async () => {
  studio.drafts.set({ prompt: "a dog on a beach", seed: 7 });
  await studio.queue.draw("a dog on a hill\n\n  a dog on a lake ");
  const drawn = studio.pictures.history.map(({ draft: { prompt, seed } }) => [prompt, seed]);
  expect(drawn).toEqual([
    ["a dog on a hill", 7],
    ["a dog on a lake", 7],
  ]);
  expect(draft().prompt).toBe("a dog on a beach");
  const coming = studio.queue.draw("a cat\na fox");
  studio.queue.stop();
  await coming;
  expect(studio.pictures.history).toHaveLength(2);
});

test.each([
  ["", null],
  ["wide", [160, 112]],
  ["96x64", [96, 64]],
  ["junkxjunk", null],
])("the shape %j has its size", (shape, size) => {
  const { facts } = studio.models;
  expect(sizeOfShape({ ...draft(), shape }, facts!, false)).toEqual(size);
  expect(sizeOfShape({ ...draft(), shape: "640x480" }, facts!, true)).toEqual([640, 480]);
});

test("a line of a job file draws what the page asks for, of files beside it", async () => {
  studio.drafts.set({ prompt: "a dog on a beach", detail: 0.5, shape: "wide" });
  studio.placing.use((await studio.shelf.meet(DOG!))!);
  const files = new Files();
  const request = studio.drafts.request(draft())!;
  const job = jobOf(request, draft(), studio.shelf.subjects, files);
  const [subject] = job["subjects"] as { name: string; pictures: string[] }[];
  expect(job).toMatchObject({
    prompt: "a dog on a beach",
    seed: 1,
    size: "160x112",
    detail_scale: 0.5,
  });
  expect(subject!.name).toBe("dog");
  expect([...files.all.values()]).toEqual(subject!.pictures);
});

test.each(["[]", "{", '[{"box":"1","view":{},"name":{}}]', "[null]", "7"])(
  "whatever %s says of subjects, no place is invented",
  (text) => {
    for (const { place } of placesIn(text)) expect(place).toEqual({ box: null, yaw: null });
  },
);

test.each([
  ["a dog in a pa", ["a dog in a park", "a dog on a park bench"]],
  ["a dog on the bea", ["a dog on a beach"]],
  ["a dog on a sofa at the be", ["a dog on a sofa on a beach", "a dog on a sofa on a park bench"]],
  ["a dog and its cat by WAT", ["a dog and its cat under water"]],
  ["a dog in front of a ca", ["a dog in front of a castle"]],
  ["a dog in a park", []],
  ["a dog in a p", []],
  ["a dog in a pa ", []],
  ["a pa", []],
])("%j is completed by places of the library", async (prompt, wholes) => {
  await studio.shelf.learnPlaces();
  studio.drafts.write({ prompt });
  expect(studio.words.places.map(({ whole }) => whole)).toEqual(wholes);
  studio.drafts.set({ scene: "beach" });
  expect(studio.words.places).toEqual([]);
});

test("the place nearest to one that is unknown takes its place, preposition and all", async () => {
  const why = "No place of the library is called 'paris', so the picture shows a grey backdrop. ";
  const remedy = "Name one near it, as 'on a city street' or 'in a park', or give a picture.";
  await draw("a dog in old Paris at night", { warnings: [why + remedy] });
  const near = ["on a city street", "in a park"];
  expect(studio.words.lost).toEqual([{ words: [["paris", near]], why: why + remedy }]);
  studio.placing.callOtherwise("old paris", near[0]!);
  expect(draft().prompt).toBe("a dog on a city street at night");
});
