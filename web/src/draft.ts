/** A draft: everything that decides what a picture looks like, as a value, and what it asks for. */

import { arts } from "./ideas.json";
import { said } from "./naming";
import type { Sample } from "./samples";
import type { Box, KeptSource, Model, Sent } from "./server";

/** One picture of a subject as it was given, with the cut-out that somebody corrected. */
export interface Source {
  file: Blob;
  mask: Blob | null;
}

/** A subject on the shelf. Its key stays when better pictures make another identity of it. */
export interface Subject {
  key: number;
  id: string; // of an identity, or a name of the library
  isNamed: boolean; // it is of the library
  sent?: Sent; // in place of pictures
  name: string;
  thumbnail: string;
  numPictures: number;
  warnings: string[];
  sources: readonly Source[]; // empty until they are asked for, where an earlier visit sent them
  kept: readonly KeptSource[];
  sample: Sample | null;
  file?: Blob; // the identity, which any server of the same weights takes
}

export interface Placed {
  key: number;
  box: Box | null; // null: the model finds the place
  yaw: number | null; // degrees, null: the model decides
}

/** A picture to edit. What is saved is drawn into it; until then a copy, no larger than a screen. */
export interface Photo {
  id: string; // of the copy
  file: Blob;
  copy: Blob;
  url: string; // of the copy
  width: number;
  height: number;
}

/** A picture that goes with a draft: a mask, the place of a scene, or one whose style is taken. */
export interface SentPicture {
  id: string;
  file: Blob;
  url: string;
}

/** Where a picture is: "" as its words say, "words" drawn from them alone, a name, or a picture. */
export type Scene = string | SentPicture;

export type Mode = "draw" | "edit";

/** What is done to a photo: words change it, a subject comes, something goes, or both. */
export const TASKS = ["edit", "insert", "remove", "replace"] as const;
export type Task = (typeof TASKS)[number];

/** A part of a draft that is nothing at first. */
const none = <T>(): T | null => null;

export const FIRST = {
  mode: "draw" as Mode,
  prompt: "",
  placed: [] as readonly Placed[],
  scene: "" as Scene,
  isOffered: false, // the sample that is placed was not chosen
  seed: 1,
  firstSeed: 1, // of the strip
  identity: 1,
  detail: 1,
  balance: 0,
  flip: false, // subjects are mirrored
  shape: "", // of the picture: one of `SHAPES`, "640x480", or as the place or the model has it
  identityGuidance: "plain", // how prompt and identity share the picture
  styleReference: none<SentPicture>(), // in whose style all is drawn
  photo: none<Photo>(),
  change: "", // the prompt of an edit
  source: "", // what the photo shows now
  mask: none<SentPicture>(),
  task: "edit" as Task,
  newcomer: none<number>(), // key of a subject that is put into the photo
  box: none<Box>(), // where it is put; null: a place is proposed
  yaw: none<number>(), // degrees by which it is turned; null: as it was pictured
  pitch: none<number>(),
  variation: 0,
  textScale: 1,
  ownLook: 0,
};

/** Everything that decides what the picture looks like; never changed, only replaced. */
export type Draft = Readonly<typeof FIRST>;

interface Known {
  model: string;
  facts: Model["swiftpie"] | null;
  subjects: readonly Subject[];
  drawsNamed: boolean; // subjects that the prompt names, if none was chosen
}

/** Return the identity guidance of a draft, nothing where it is the usual one. */
const guided = ({ identityGuidance = FIRST.identityGuidance }: Draft) =>
  identityGuidance !== FIRST.identityGuidance && { identity_guidance: identityGuidance };

/** Return the strengths that are not as they come; what was not moved is not sent. */
function moved(strengths: Record<string, readonly [now: number, usual: number]>) {
  const scales = Object.entries(strengths).flatMap(([name, [now, usual]]) =>
    now === usual ? [] : [[name, now]],
  );
  return scales.length > 0 && { scales: Object.fromEntries(scales) };
}

const pointer = ({ id, isNamed }: Subject) => (isNamed ? { library: id } : { identity_id: id });

export const can = (facts: Model["swiftpie"] | null, what: string): boolean =>
  facts?.capabilities.includes(what) ?? false;

/** Whether something goes from the photo, which somebody has to mark. */
export const takesOut = ({ task }: Draft): boolean => task === "remove" || task === "replace";

/** Whether one subject is put into the photo. */
export const putsIn = ({ task }: Draft): boolean => task === "insert" || task === "replace";

/** Whether another seed gives another picture; an edit by words finds its noise in the photo. */
export const followsSeed = ({ mode, task, variation }: Draft): boolean =>
  mode === "draw" || task !== "edit" || variation > 0;

/** Whether there is more than one result; what is behind a thing that goes may follow from around it. */
export const varies = ({ mode, task }: Draft, canPlace: boolean): boolean =>
  mode === "draw" || task !== "remove" || !canPlace;

const SHAPES = new Map([
  ["square", [1, 1]],
  ["wide", [3, 2]],
  ["tall", [2, 3]],
] as const);
const UNIT_PX = 16; // of sides, for any model
export const LARGER = 2; // a photographed place has more detail than a model draws
export const shapes = [...SHAPES.keys()];

/** Return the words for another art that a prompt begins with, "" where it has none. */
export const artOf = (prompt: string): string =>
  Object.values(arts).find((phrase) => prompt.toLowerCase().startsWith(`${phrase} `)) ?? "";

/** Whether the network draws all of it, and no part is of a photographed place. */
export const isDrawnWhole = ({ scene, prompt }: Draft, facts: Model["swiftpie"] | null): boolean =>
  !can(facts, "layout") || scene === "words" || ![arts.photograph, ""].includes(artOf(prompt));

/** Return width and height of a drawing whose shape was chosen, for a saved picture or while one works. */
export function sizeOfShape(
  draft: Draft,
  facts: Model["swiftpie"],
  isSaved: boolean,
): number[] | null {
  const own = draft.shape.split("x").map(Number);
  const [width = 0, height = 0] = SHAPES.get(draft.shape as "wide") ?? own;
  if (!width || !height) return null;
  const isLarger = can(facts, "layout") && (isSaved || !isDrawnWhole(draft, facts));
  const side = facts.image_size_px * (isLarger ? LARGER : 1);
  const scale = side / Math.sqrt(width * height);
  if (own.length > 1 && (isSaved || scale > 1)) return own;
  return [width, height].map((one) => UNIT_PX * Math.round((one * scale) / UNIT_PX));
}

/** Return what is asked of the server, null for a draft in which something is still missing. */
export function requestOf(draft: Draft, known: Known): Record<string, unknown> | null {
  const { model, facts, subjects } = known;
  const subjectOf = (key: number | null) => subjects.find((one) => one.key === key);
  const common = { model, seed: draft.seed };
  if (draft.mode === "draw") {
    const placed = draft.placed.flatMap((one) => {
      const subject = subjectOf(one.key);
      return subject ? [{ one, subject }] : [];
    });
    const hasSubject = placed.length > 0 || known.drawsNamed;
    if (!(hasSubject || can(facts, "text")) || !draft.prompt.trim()) return null;
    const has = placed.some(({ one }) => one.box);
    const size = facts && sizeOfShape(draft, facts, false);
    const { identity, detail, balance, scene, styleReference } = draft;
    const { identity_scale = FIRST.identity, detail_scale = FIRST.detail } = facts?.defaults ?? {};
    return {
      ...common,
      type: "draw",
      prompt: draft.prompt,
      ...(size && { size: size.join("x") }),
      swiftpie: {
        subjects: placed.map(({ one, subject }) => ({
          ...pointer(subject),
          name: subject.name,
          ...(one.box && { box: one.box }),
          ...(one.yaw !== null && { view: [one.yaw, 0] }),
        })),
        ...moved({
          identity_scale: [identity, identity_scale],
          detail_scale: [detail, detail_scale],
          balance: [balance, FIRST.balance],
        }),
        ...guided(draft),
        ...(draft.flip && placed.length > 0 && { flip: true }),
        ...(scene && { scene: typeof scene === "string" ? scene : scene.id }),
        ...(styleReference && { style_reference: styleReference.id }),
        ...(has && placed.every(({ one }) => one.box) && !can(facts, "layout") && { mask: "box" }),
      },
    };
  }
  const newcomer = subjectOf(draft.newcomer);
  const asked =
    draft.task === "edit" ? edit(draft, newcomer, facts) : repaint(draft, newcomer, facts);
  return draft.photo && asked && { ...common, type: "edit", picture_id: draft.photo.id, ...asked };
}

type Part = Record<string, unknown> | null;

/** Return what is asked where words change a photo. */
function edit(draft: Draft, newcomer: Subject | undefined, facts: Known["facts"]): Part {
  if (!draft.change.trim()) return null;
  const { source, variation, textScale, ownLook } = draft;
  return {
    prompt: draft.change,
    ...(draft.mask && { mask_id: draft.mask.id }),
    swiftpie: {
      ...(source.trim() && { source_prompt: source }),
      mask_mode: "white",
      return_mask: true,
      ...(variation > 0 && { edit: { variation } }),
      ...moved({
        text_scale: [textScale, facts?.defaults["edit_text_scale"] ?? FIRST.textScale],
        identity_scale: [ownLook, FIRST.ownLook],
      }),
      ...guided(draft),
      ...(newcomer && { subjects: [pointer(newcomer)] }),
    },
  };
}

/** Return what is asked where a subject comes into a photo, or something goes. */
function repaint(draft: Draft, newcomer: Subject | undefined, facts: Known["facts"]): Part {
  const { task, mask, box, yaw, pitch } = draft;
  const comes = putsIn(draft) ? newcomer : null;
  const goes = takesOut(draft);
  if ((goes && !mask) || (putsIn(draft) && !comes)) return null;
  const isTurned = can(facts, "layout") && (yaw !== null || pitch !== null);
  return {
    prompt: comes ? `a photo of ${said(comes.name)}` : task,
    ...(goes && mask && { mask_id: mask.id }),
    swiftpie: {
      task,
      mask_mode: "white",
      return_mask: true,
      ...(comes && {
        subjects: [
          {
            ...pointer(comes),
            ...(task === "insert" && box && { box }),
            ...(isTurned && { view: [yaw ?? 0, pitch ?? 0] }),
          },
        ],
      }),
    },
  };
}

interface PlacedElsewhere {
  place: Omit<Placed, "key">;
  name: string;
}

/** Return boxes and views as a picture's file says; anybody may have written it. */
export function placesIn(text: string | undefined): PlacedElsewhere[] {
  try {
    const places = JSON.parse(text ?? "[]") as { box: unknown; view?: unknown[]; name: unknown }[];
    return places.map(({ box, view, name }) => {
      const yaw = Number.isFinite(view?.[0]) ? (view![0] as number) : null;
      return { place: { box: boxOf(box), yaw }, name: `${name}` };
    });
  } catch {
    return []; // a file of an older version
  }
}

export const boxOf = (value: unknown): Box | null =>
  Array.isArray(value) && value.length === 4 && value.every(Number.isFinite)
    ? (value as unknown as Box)
    : null;
