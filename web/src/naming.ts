/** What subjects are called, and how prompts follow when others take their place. */

import { placesFollow } from "./ideas.json";

const NO_NAME = /^(img|dsc|dscf|pxl|image|photo|picture|screenshot|untitled|pasted?|camera|file)$/;
const DETERMINED = /^(?:an?|the|my|your|his|her|its|our|their|this|that|some|one) /iu;
const ORDINALS = ["", "second ", "third ", "fourth ", "fifth ", "sixth ", "seventh ", "eighth "];

/** What a subject is called until somebody says what it is. */
const UNNAMED = new RegExp(`^(?:${ORDINALS.filter(Boolean).join("|")})?subject$`);

export const isUnnamed = (name: string): boolean => UNNAMED.test(name);

/** Return what to call a subject without a name of its own, beside others. */
export function unnamed(others: readonly string[]): string {
  const name = ORDINALS.map((before) => `${before}subject`).find((one) => !others.includes(one));
  return name ?? "subject";
}

/** Return what the name of a file may call its subject: all of it, or its last word. */
export function wordsOf(file: string): string[] {
  const words = bare(
    file
      .replace(/\.[^.]*$/, "")
      .toLowerCase()
      .replaceAll(/[^\p{L}]+/gu, " "),
  )
    .split(" ")
    .filter((word) => word && !NO_NAME.test(word));
  return words.length > 3 ? [] : [...new Set([words.join(" "), ...words.slice(-1)])];
}

/** Return a name as a sentence has it: "a dog", "my dog", "the subject". */
export function said(name: string): string {
  if (DETERMINED.test(name)) return name;
  if (isUnnamed(name)) return `the ${name}`;
  return `${/^[aeiou]/i.test(name) ? "an" : "a"} ${name}`;
}

const bare = (name: string): string => name.replace(DETERMINED, "");

function pattern(name: string): RegExp {
  const letters = bare(name).replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const other = isUnnamed(name) ? `(?<!${ORDINALS.filter(Boolean).join("|")})` : "";
  const before = DETERMINED.source.replace("^", "\\b");
  return new RegExp(`(${before})?${other}(?<![\\p{L}-])${letters}(?![\\p{L}-])`, "iu");
}

export function names(prompt: string, name: string): boolean {
  return name !== "" && pattern(name).test(prompt);
}

/** Return the prompt with another name for a subject, article and all. */
export function renamed(prompt: string, last: string, next: string): string {
  if (!last) return prompt;
  return prompt.replace(pattern(last), (_, before?: string) => (before ? said(next) : bare(next)));
}

/** Return the prompt with another subject beside the one that it names. */
export function joined(prompt: string, last: string, next: string): string {
  return last ? prompt.replace(pattern(last), (all) => `${all} and ${said(next)}`) : prompt;
}

export function without(prompt: string, name: string): string {
  if (!name) return prompt;
  const { source } = pattern(name);
  const behind = new RegExp(` and ${source}`, "iu");
  const before = new RegExp(`${source} and `, "iu");
  return behind.test(prompt) ? prompt.replace(behind, "") : prompt.replace(before, "");
}

const PREPOSITION = "\\b(?:in front of|in|on|at|by|near|under|above|among|inside) ";
const START = `${PREPOSITION}(?:(?:an?|the) )?`;
const BEGUN = new RegExp(`^(.*)${START}([\\p{L} ]{2,})$`, "iu");
const MOST_PLACES = 5;

/** Whether words say where something is, as "on a beach". */
export const isPlacing = (words: string): boolean => new RegExp(`^${PREPOSITION}`).test(words);

/** Return the prompt with a phrase for a place where other words are, preposition and all. */
export const placedAt = (prompt: string, words: string, phrase: string): string =>
  prompt.replace(new RegExp(`(?:${PREPOSITION})?${pattern(words).source}`, "iu"), phrase);

/** Return places whose words the end of a prompt begins, each with the prompt that names it. */
export function completed<T extends { name: string; phrase: string }>(
  prompt: string,
  places: readonly T[],
): { place: T; whole: string }[] {
  const [, before = "", begun = ""] = BEGUN.exec(prompt) ?? [];
  const found = places.map((place) => {
    const noun = place.phrase.replace(new RegExp(`^${START}`), "");
    const at = ` ${noun} ${place.name}`.indexOf(` ${begun.toLowerCase()}`);
    return { place, at, isWhole: noun === begun.toLowerCase() };
  });
  if (!begun || found.some(({ isWhole }) => isWhole)) return [];
  const near = found.filter(({ at }) => at >= 0).sort((one, other) => one.at - other.at);
  return near.slice(0, MOST_PLACES).map(({ place }) => ({ place, whole: before + place.phrase }));
}

const WORD = /[\p{L}\p{N}]+(?:['-][\p{L}\p{N}]+)*/gu;
const PLACES_FOLLOW = new Set(placesFollow);

export const wordsIn = (text: string): string[] =>
  text.normalize("NFKC").toLowerCase().match(WORD) ?? [];

/** Return the words of a prompt's first subject, as "a red cat" of "a photo of a red cat on a beach". */
export function firstSubjectIn(prompt: string): string[] {
  const words = wordsIn(prompt);
  const start = words.indexOf("of") + 1; // behind "a photo of", or at the beginning
  const end = words.findIndex((word, place) => place > start && PLACES_FOLLOW.has(word));
  return words.slice(start, end < 0 ? undefined : end);
}

export function beginsWith(prompt: string, names: ReadonlySet<string>): boolean {
  const phrase = firstSubjectIn(prompt);
  return phrase.some((_, first) =>
    phrase.some((_, last) => names.has(phrase.slice(first, last + 1).join(" "))),
  );
}

/** Split `text` as it was typed into words and what is between them. */
export const pieces = (text: string): string[] => text.split(/([\p{L}\p{N}'-]+)/u).filter(Boolean);
