/** A draft: everything that decides what a picture looks like, as a value, and what it asks for. */

import type { Sample } from "./samples";
import type { Box, KeptSource, Model } from "./server";

/** One picture of a subject as it was given, with the cut-out that somebody corrected. */
export interface Source {
  file: Blob;
  mask: Blob | null;
}

/** A subject of the library. Its key stays when better pictures make another identity of it. */
export interface Subject {
  key: number;
  id: string;
  name: string;
  thumbnail: string;
  numPictures: number;
  warnings: string[];
  sources: readonly Source[]; // empty until they are asked for, where an earlier visit sent them
  kept: readonly KeptSource[];
  sample: Sample | null;
}

/** A subject in the picture. */
export interface Placed {
  key: number;
  box: Box | null; // null: the model finds the place
  yaw: number | null; // degrees, null: the model decides
}

/** A picture to edit. */
export interface Photo {
  id: string;
  file: Blob;
  url: string;
  width: number;
  height: number;
}

export interface PaintedMask {
  id: string;
  file: Blob;
}

export type Mode = "draw" | "edit";

/** Everything that decides what the picture looks like; never changed, only replaced. */
export interface Draft {
  mode: Mode;
  prompt: string;
  placed: readonly Placed[];
  seed: number;
  firstSeed: number; // of the strip
  identity: number;
  detail: number;
  balance: number;
  photo: Photo | null;
  change: string; // the prompt of an edit
  source: string; // what the photo shows now
  mask: PaintedMask | null;
  newcomer: number | null; // key of a subject that is put into the photo
  variation: number;
  textScale: number;
  ownLook: number;
}

export const FIRST: Draft = {
  mode: "draw",
  prompt: "",
  placed: [],
  seed: 1,
  firstSeed: 1,
  identity: 1,
  detail: 1,
  balance: 0,
  photo: null,
  change: "",
  source: "",
  mask: null,
  newcomer: null,
  variation: 0,
  textScale: 1,
  ownLook: 0,
};

/** What a draft only points to. */
interface Known {
  model: string;
  facts: Model["swiftpie"] | null;
  subjects: readonly Subject[];
}

export function canPlace(facts: Model["swiftpie"] | null): boolean {
  return facts?.capabilities.includes("layout") ?? false;
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
    if (!placed.length || !draft.prompt.trim()) return null;
    const has = placed.some(({ one }) => one.box);
    const { identity, detail, balance } = draft;
    return {
      ...common,
      type: "draw",
      prompt: draft.prompt,
      swiftpie: {
        subjects: placed.map(({ one, subject }) => ({
          identity_id: subject.id,
          name: subject.name,
          ...(one.box && { box: one.box }),
          ...(one.yaw !== null && { view: [one.yaw, 0] }),
        })),
        scales: { identity_scale: identity, detail_scale: detail, balance },
        ...(has && placed.every(({ one }) => one.box) && !canPlace(facts) && { mask: "box" }),
      },
    };
  }
  if (!draft.photo || !draft.change.trim()) return null;
  const newcomer = subjectOf(draft.newcomer);
  const usual = facts?.defaults["edit_text_scale"] ?? FIRST.textScale;
  const scales = {
    ...(draft.textScale !== usual && { text_scale: draft.textScale }),
    ...(draft.ownLook !== FIRST.ownLook && { identity_scale: draft.ownLook }),
    ...(draft.balance !== 0 && { balance: draft.balance }),
  };
  return {
    ...common,
    type: "edit",
    prompt: draft.change,
    picture_id: draft.photo.id,
    ...(draft.mask && { mask_id: draft.mask.id }),
    swiftpie: {
      source_prompt: draft.source,
      mask_mode: "white",
      return_mask: true,
      edit: { variation: draft.variation },
      scales,
      subjects: newcomer ? [{ identity_id: newcomer.id }] : [],
    },
  };
}

/** Return boxes and views as a picture's file tells them. */
export function placesIn(text: string | undefined): Partial<Placed>[] {
  try {
    const told = JSON.parse(text ?? "[]") as { box?: Box | null; view?: [number, number] | null }[];
    return told.map(({ box, view }) => ({ box: box ?? null, yaw: view?.[0] ?? null }));
  } catch {
    return []; // a file of an older version
  }
}
