// Pictures as bytes: decoded without a loss, and written as PNG with the mark of their origin.
const text = (bytes, from, count) => String.fromCharCode(...bytes.subarray(from, from + count));

/** Return { data, width, height } of a picture file, its longer side at most `most` pixels. */
export async function decoded(file, most) {
  const bitmap = await createImageBitmap(file, { premultiplyAlpha: "none" });
  const scale = Math.min(1, most / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(scale * side)));
  const brush = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  brush.imageSmoothingQuality = "high";
  brush.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return brush.getImageData(0, 0, width, height);
}

/**
 * Return what `decoded` does of a WebP file with transparency, with the colours of clear pixels too,
 * which a canvas forgets: they are decoded once more, without the chunk that makes them clear.
 */
export async function sprite(bytes) {
  const chunks = {};
  for (let at = 12; at < bytes.length; ) {
    const size = new DataView(bytes.buffer, bytes.byteOffset + at + 4).getUint32(0, true);
    const end = at + 8 + size + (size % 2);
    chunks[text(bytes, at, 4)] = bytes.subarray(at, end);
    at = end;
  }
  const head = new Uint8Array(12);
  head.set(new TextEncoder().encode("RIFF....WEBP"));
  new DataView(head.buffer).setUint32(4, 4 + chunks["VP8 "].length, true);
  const [whole, colours] = await Promise.all(
    [[bytes], [head, chunks["VP8 "]]].map((parts) => decoded(new Blob(parts, { type: "image/webp" }), Infinity)),
  );
  for (let i = 3; i < whole.data.length; i += 4) colours.data[i] = whole.data[i];
  return colours;
}

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

function chunk(name, data) {
  const made = new Uint8Array(data.length + 12);
  const view = new DataView(made.buffer);
  view.setUint32(0, data.length);
  made.set(new TextEncoder().encode(name), 4);
  made.set(data, 8);
  const sum = made.subarray(4, data.length + 8).reduce((crc, byte) => CRC[(crc ^ byte) & 255] ^ (crc >>> 8), ~0);
  view.setUint32(data.length + 8, ~sum >>> 0);
  return made;
}

const START = 33; // of what follows a PNG's head: 8 bytes of signature, 25 of the first chunk

/** Return a PNG file with texts, { keyword: text }, as `swiftpie show` reads them. */
export async function withTexts(png, texts) {
  const bytes = new Uint8Array(await png.arrayBuffer());
  const notes = Object.entries(texts).map(([key, value]) =>
    chunk("iTXt", new TextEncoder().encode(`${key}\0\0\0\0\0${value}`)),
  );
  return new Blob([bytes.subarray(0, START), ...notes, bytes.subarray(START)], { type: "image/png" });
}
