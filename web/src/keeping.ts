/** What a visit leaves in the browser: one value as JSON a tab, and each of its pictures once. */

import { clear, createStore, entries } from "idb-keyval";
import { OWN } from "./home";
import { Note } from "./note";

const WORK = "work 2"; // begins names; the number changes with what a visit is, and others are deleted
const MOST_TABS = 4; // whose work is kept
const PICTURE = "$picture"; // in the JSON, in place of a `Blob`
const URL_OF = "$url"; // in place of its address, which a reload makes void

interface Work {
  tab: string; // its name in the store
  at: number; // when it was kept, in milliseconds
  text: string;
  pictures: readonly string[]; // names
}

const store = createStore(OWN, "visit");
const shown = new Map<string, Blob>(); // by address
const names = new WeakMap<Blob, string>(); // under which pictures are kept
const name = new Note("sessionStorage", "tab");
const tab = (name.text ??= `${WORK} ${drawnName()}`);
let addresses: ReadonlySet<string> = new Set(); // in what was kept last

function drawnName(): string {
  return crypto.getRandomValues(new Uint32Array(3)).join("-");
}

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

/**
 * Keep a value of plain objects, pictures and their addresses. Return its bytes.
 *
 * What it had the last time and lacks now is forgotten, addresses as well.
 */
export async function keep(work: unknown): Promise<number> {
  const used = new Map<string, Blob>();
  const urls = new Set<string>();
  const nameOf = (picture: Blob): string => {
    const name = names.get(picture) ?? drawnName();
    names.set(picture, name);
    used.set(name, picture);
    return name;
  };
  const text = JSON.stringify(work, (_, value: unknown) => {
    if (value instanceof Blob) return { [PICTURE]: nameOf(value) };
    const picture = typeof value === "string" ? shown.get(value) : undefined;
    if (!picture) return value;
    urls.add(value as string);
    return { [URL_OF]: nameOf(picture) };
  });
  await write({ tab, at: Date.now(), text, pictures: [...used.keys()] }, used);
  for (const url of addresses) if (!urls.has(url)) letGo(url);
  addresses = urls;
  return [...used.values()].reduce((sum, { size }) => sum + size, text.length);
}

const isOfTab = (name: IDBValidKey): boolean => `${name}`.startsWith(`${WORK} `);

/** Write the work of this tab, and delete what no tab has any more; all of it or nothing. */
function write(work: Work, used: ReadonlyMap<string, Blob>): Promise<void> {
  const change = (all: IDBObjectStore) =>
    new Promise<void>((resolve, reject) => {
      const { transaction } = all;
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
      const works = all.getAll(IDBKeyRange.bound(`${WORK} `, `${WORK} \uffff`));
      const known = all.getAllKeys();
      known.onsuccess = () => {
        const others = (works.result as Work[]).filter((one) => one.tab !== work.tab);
        const newest = others.sort((a, b) => b.at - a.at).slice(0, MOST_TABS - 1);
        const there = newest.flatMap((one) => [one.tab, ...one.pictures]);
        const stays = new Set<IDBValidKey>([work.tab, ...used.keys(), ...there]);
        for (const name of known.result) if (!stays.has(name)) all.delete(name);
        const has = new Set(known.result);
        for (const [name, picture] of used) if (!has.has(name)) all.put(picture, name);
        all.put(work, work.tab);
      };
    });
  return store("readwrite", change);
}

/** Return what this tab kept last, or else any, with new addresses; undefined where nothing is. */
export async function kept<T>(): Promise<T | undefined> {
  const all = new Map(await entries<string, Blob | Work>(store));
  const works = [...all].flatMap(([name, one]) => (isOfTab(name) ? [one as Work] : []));
  const newest = works.sort((a, b) => b.at - a.at)[0];
  const text = ((all.get(tab) as Work | undefined) ?? newest)?.text;
  if (!text) return undefined;
  const pictures = new Map<string, Blob>();
  for (const [name, one] of all) if (one instanceof Blob) pictures.set(name, one);
  for (const [name, picture] of pictures) names.set(picture, name);
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

/** Delete what all tabs kept. */
export const forget = (): Promise<void> => clear(store);

/** Return a size for people, never less than 0.1 MB. */
export const inMB = (bytes: number): string =>
  `${Math.max(0.1, bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
