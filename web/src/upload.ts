/** Pictures as they are sent: of a kind that the server reads, and no larger than it uses. */

import { inMB } from "./keeping";
import { sizeWithin } from "./painting";
import { Refused, type Offer } from "./server";

export type Bounds = Offer["limits"]["picture"];

// Some browsers read these, which are then sent as JPEG; a system may not know their kind.
const READ_BY_BROWSERS = ["image/heic", "image/heif", "image/avif", ".heic", ".heif"];
const ENDING = /\.(hei[cf]|avif)$/i;
const CLEAR = ["image/png", "image/webp", "image/gif", "image/avif", "image/tiff"]; // or may be
const QUALITY = 0.95;
const HEAD_BYTES = 1 << 16; // of a file, where its metadata stands

const IDENTITY = ".spid"; // of `swiftpie tune` and `swiftpie identity save`

/** Return what a file picker offers. */
export const accepted = ({ types }: Bounds): string => [...types, ...READ_BY_BROWSERS].join();

/** Return what a file picker offers where an identity will do, too. */
export const acceptedOfSubjects = (bounds: Bounds): string => `${accepted(bounds)},${IDENTITY}`;

export const isIdentity = ({ name }: File): boolean => name.toLowerCase().endsWith(IDENTITY);

export const isPicture = ({ type, name }: File): boolean =>
  type.startsWith("image/") || ENDING.test(name);

const called = (file: Blob): string => (file instanceof File ? `“${file.name}”` : "This picture");

/** Return a picture, upright; null where the browser cannot read it. */
async function decoded(file: Blob): Promise<ImageBitmap | null> {
  return createImageBitmap(file).catch(() => null);
}

export async function saysWhatMadeIt(file: Blob): Promise<boolean> {
  return (await file.slice(0, HEAD_BYTES).text()).includes("swiftpie");
}

/** Return the size of a picture that is shown here. */
export async function sizeOf(file: Blob): Promise<[number, number]> {
  const image = await decoded(file);
  if (!image) {
    throw new Refused(`${called(file)} cannot be shown by this browser. Save it as PNG or JPEG.`);
  }
  const size: [number, number] = [image.width, image.height];
  image.close();
  return size;
}

/** Return a picture at another size, turned as its file says. */
export async function smaller(file: Blob, most: number, type = "image/jpeg"): Promise<Blob> {
  const image = (await decoded(file))!;
  const [width, height] = sizeWithin(most, image.width, image.height);
  const sheet = new OffscreenCanvas(width, height);
  const paper = sheet.getContext("2d")!;
  paper.imageSmoothingQuality = "high";
  paper.drawImage(image, 0, 0, width, height);
  image.close();
  return sheet.convertToBlob({ type, quality: QUALITY });
}

/**
 * Return a picture to send.
 *
 * @param mostPx - of the longer side, beyond which the server uses nothing.
 */
export async function fitted(file: Blob, bounds: Bounds, mostPx: number): Promise<Blob> {
  const { types, bytes, pixels, side_px } = bounds;
  const fits = types.includes(file.type) && file.size <= bytes;
  if (fits && (await saysWhatMadeIt(file))) return file; // which no canvas would write again
  const image = await decoded(file);
  if (!image) {
    if (fits) return file; // as TIFF, which few browsers read
    throw new Refused(
      `${called(file)} has ${inMB(file.size)}, and this browser cannot read it. Save it as JPEG ` +
        `of at most ${inMB(bytes)}.`,
    );
  }
  const { width, height } = image;
  image.close();
  const longer = Math.max(width, height);
  let most = Math.min(mostPx, side_px, longer * Math.sqrt(pixels / (width * height)));
  if (fits && most >= longer) return file;
  const type = CLEAR.includes(file.type) ? "image/png" : "image/jpeg";
  let made = await smaller(file, most, type);
  while (made.size > bytes) made = await smaller(file, (most *= 0.8), type);
  return file instanceof File ? new File([made], file.name, { type: made.type }) : made;
}
