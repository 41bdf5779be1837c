/** Drafts as lines of a job file of `swiftpie batch`, with the files that these name. */

import type { Draft, Subject } from "./draft";

type Fields = Record<string, unknown>;

/** Files of a folder by their contents, each once. */
export class Files {
  readonly all = new Map<Blob, string>();

  named(folder: string, file: Blob): string {
    const [kind, ending] = file.type.split("/");
    const number = `${this.all.size + 1}`.padStart(3, "0");
    const name = this.all.get(file) ?? `${folder}/${number}.${kind === "image" ? ending : "spid"}`;
    this.all.set(file, name);
    return name;
  }
}

/** Return the line of a job file that draws what a request of the page asks for. */
export function jobOf(
  request: Fields,
  { scene, styleReference, photo, mask }: Draft,
  known: readonly Subject[],
  files: Files,
): Fields {
  const { type, model, swiftpie, picture_id: _, mask_id, ...rest } = request;
  const {
    subjects = [],
    scales,
    edit,
    mask_mode: __,
    return_mask: ___,
    ...own
  } = swiftpie as Fields;
  const shown = (subjects as Fields[]).flatMap(({ identity_id, library, ...more }) => {
    const { file, sources = [] } = known.find(({ id }) => id === identity_id) ?? {};
    const pictures = file ? [file] : sources.map((one) => one.file);
    const names = (library as string) ?? pictures.map((one) => files.named("subjects", one));
    return names.length ? [{ ...more, pictures: names }] : [];
  });
  const [{ pictures: subject = undefined, ...there } = {}] = shown; // of a photo that it comes into
  return {
    ...(model === "mini" ? {} : { recipe: model }),
    ...rest,
    ...own,
    ...(scales as Fields),
    ...(edit as Fields),
    ...(type === "edit"
      ? subject && { subject, ...there }
      : shown.length > 0 && { subjects: shown }),
    ...(typeof scene !== "string" && own["scene"]
      ? { scene: files.named("places", scene.file) }
      : {}),
    ...(styleReference &&
      type === "draw" && { style_reference: files.named("styles", styleReference.file) }),
    ...(type === "edit" && photo && { image: files.named("photos", photo.file) }),
    ...(mask_id && mask ? { mask: files.named("masks", mask.file) } : {}),
  };
}
