/** What a visit leaves in the browser: one value as JSON, and each of its pictures once. */

import { clear, createStore, delMany, entries, get, keys, setMany } from "idb-keyval";

const WORK = "work 1"; // the number changes with what a visit is; others are deleted
const PICTURE = "$picture"; // in the JSON, in place of a `Blob`
const URL_OF = "$url"; // in place of its address, which a reload makes void

const store = createStore("swiftpie", "visit");
const shown = new Map<string, Blob>(); // by address
const names = new WeakMap<Blob, string>(); // under which pictures are kept

/** Return an address at which the page shows a picture, until it is let go. */
export function urlOf(picture: Blob): string {
  const url = URL.createObjectURL(picture);
  shown.set(url, picture);
  return url;
}

export function letGo(url: string | null | undefined): void {
  if (!url) return;
  URL.revokeObjectURL(url);
  shown.delete(url);
}

/** Keep a value of plain objects, pictures and their addresses; what it lacks is forgotten. Return its bytes. */
export async function keep(work: unknown): Promise<number> {
  const used = new Map<string, Blob>();
  const nameOf = (picture: Blob): string => {
    const name = names.get(picture) ?? crypto.getRandomValues(new Uint32Array(3)).join("-");
    names.set(picture, name);
    used.set(name, picture);
    return name;
  };
  const text = JSON.stringify(work, (_, value: unknown) => {
    if (value instanceof Blob) return { [PICTURE]: nameOf(value) };
    const picture = typeof value === "string" ? shown.get(value) : undefined;
    return picture ? { [URL_OF]: nameOf(picture) } : value;
  });
  const known = new Set(await keys<string>(store));
  const added = [...used].filter(([name]) => !known.has(name));
  await setMany([...added, [WORK, text]], store);
  await delMany(
    [...known].filter((name) => name !== WORK && !used.has(name)),
    store,
  );
  return [...used.values()].reduce((sum, { size }) => sum + size, text.length);
}

/** Return what was kept last, with new addresses; undefined where nothing is. */
export async function kept<T>(): Promise<T | undefined> {
  const text = await get<string>(WORK, store);
  if (!text) return undefined;
  const pictures = new Map(await entries<string, Blob>(store));
  for (const [name, picture] of pictures) if (picture instanceof Blob) names.set(picture, name);
  const urls = new Map<string, string>();
  const addressOf = (name: string): string => {
    const url = urls.get(name) ?? urlOf(pictures.get(name)!);
    urls.set(name, url);
    return url;
  };
  return JSON.parse(text, (_, value: Record<string, string> | null) => {
    if (value?.[PICTURE]) return pictures.get(value[PICTURE]);
    return value?.[URL_OF] ? addressOf(value[URL_OF]) : value;
  }) as T;
}

export const forget = (): Promise<void> => clear(store);

/** Return a size for people, never less than 0.1 MB. */
export const inMB = (bytes: number): string =>
  `${Math.max(0.1, bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
