/**
 * Which words of a prompt a small model was never taught, while they are typed.
 *
 * The rule is that of src/swiftpie/mini/vocabulary.py, which tells why it is so; the tests compare
 * the two.
 */

import type { Words } from "./server";

const WORD = /[\p{L}\p{Nl}\p{No}]+(?:['-][\p{L}\p{Nl}\p{No}]+)*/gu;
const MEASURE = /[\p{L}\p{N}]*\p{Nd}[\p{L}\p{N}]*/gu; // as "8k" and "50mm", which are no words
const TOKEN = /[\p{L}\p{N}]+(?:['-][\p{L}\p{N}]+)*/gu; // the same with digits, as "8-bit"
const BEFORE_NAMES = new Set(["of", "and", ""]);
const ARTICLES_AND_SIZES = new Set([
  ...["a", "an", "the", "tiny", "small", "little", "huge", "big", "giant"],
]);
const LINKS = new Set([
  ...[...ARTICLES_AND_SIZES, "and", "in", "on", "at", "by", "near", "beside", "before", "behind"],
  ...["inside", "under", "above", "among", "between", "through", "over", "below", "against"],
  ...["across", "along", "around", "of", "to", "with", "into", "onto", "outside", "within"],
  ...["amid", "beneath", "underneath"],
]);
const PLACES_FOLLOW = new Set([
  ...["in", "on", "at", "by", "near", "beside", "before", "behind", "inside", "under", "above"],
  ...["among", "between", "through", "over", "below", "against", "with", "wearing", "holding"],
  ...["made", "seen", "while", "and"],
]);

/** Endings of forms of one word, with how many letters stand before each at least. */
const ENDINGS: readonly [string, number][] = [
  ...([
    ["s", 3],
    ["es", 3],
    ["y", 4],
    ["ing", 4],
    ["ed", 4],
  ] as [string, number][]),
];

/** What is said in other words, as `said_as` of words.toml has it. */
const SAID_AS: Readonly<Record<string, string>> = {
  "golden hour": "sunset",
  sundown: "sunset",
  twilight: "dusk",
  "blue hour": "night",
  nighttime: "night",
  "night-time": "night",
  "under the stars": "at night",
  "snow falling": "falling snow",
};
const SAID = new RegExp(`\\b(?:${Object.keys(SAID_AS).join("|")})\\b`, "g");

const WEARS = /(\b(?:wearing|holding|carrying|with)\b)/iu;
const WORN = /\b(?:(?:top|billed) hat|billed cap|cap|hat|backpack)\b/giu;
const GENERIC = "thing";

export class Vocabulary {
  readonly words: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
  readonly looks: ReadonlySet<string>;
  readonly wordsOfNames: ReadonlySet<string>;

  constructor({ words, names, looks }: Words) {
    this.words = new Set(words);
    this.names = new Set(names);
    this.looks = new Set([...ARTICLES_AND_SIZES, ...looks]);
    this.wordsOfNames = new Set(names.flatMap((name) => name.split(" ")));
  }

  /**
   * Return the words of `prompt` that mean nothing to the model, in their order. `shown` are names
   * that pictures explain; null means that they explain every name.
   */
  unknownIn(prompt: string, shown: readonly string[] | null = null): string[] {
    return this.#untaughtIn(prompt, shown).filter((word) => !this.#taughtForm(word));
  }

  /** Return `prompt` in words that the model knows, without others; a name may be a "thing". */
  asTaught(prompt: string): string {
    const [named, ...rest] = prompt.split(WEARS);
    const text = plain([named!.replace(WORN, GENERIC), ...rest].join(""));
    const tokens = text.match(TOKEN) ?? [];
    const names = new Set(this.#namesIn(wordsIn(text), false));
    const isName = (words: readonly string[]) =>
      words.length > 0 && words.every((word) => names.has(word) && !this.words.has(word));
    const said: (string | null)[] = []; // null is a word that is left out
    for (let place = 0; place < tokens.length;) {
      const first = place;
      const isNamed = isName(wordsIn(tokens[place]!));
      while (place < tokens.length && isName(wordsIn(tokens[place]!)) === isNamed) place++;
      const read = tokens.slice(first, place).map((token) => this.#read(token, isNamed));
      said.push(...(isNamed && !read.some(Boolean) ? [GENERIC] : read));
    }
    return withoutLooseEnds(said).join(" ");
  }

  #read(token: string, isName: boolean): string | null {
    const words = wordsIn(token);
    if (words.length && words.every((word) => this.words.has(word))) return token;
    if (isName) return words.some((word) => this.#isOfName(word)) ? token : null;
    return words.length === 1 ? (this.#taughtForm(words[0]!) ?? null) : null;
  }

  #untaughtIn(prompt: string, shown: readonly string[] | null): string[] {
    const found = wordsIn(prompt.replaceAll(MEASURE, " "));
    const known = new Set(
      [...this.#namesIn(found)].filter(
        (word) => shown === null || this.wordsOfNames.has(word) || shown.includes(word),
      ),
    );
    return [...new Set(found.filter((word) => !this.words.has(word) && !known.has(word)))];
  }

  #taughtForm(word: string): string | undefined {
    return forms(word).find((form) => this.words.has(form));
  }

  /** Whether a prompt begins with a subject that has a name here. */
  namesSubject(prompt: string): boolean {
    const phrase = firstSubjectIn(prompt);
    return phrase.some((_, first) =>
      phrase.some((_, last) => this.names.has(phrase.slice(first, last + 1).join(" "))),
    );
  }

  *#namesIn(found: readonly string[], needsKnown = true): Generator<string> {
    for (const { end, run } of runsBetween(found, this.words)) {
      if (!this.#mayName(found, end - run.length)) continue;
      if (end === found.length && needsKnown) yield* run.filter((word) => this.#isOfName(word));
      else if (found[end] !== "of") yield* run.slice(0, this.#verbIn(run));
    }
  }

  #isOfName(word: string): boolean {
    return forms(word).some((form) => this.wordsOfNames.has(form));
  }

  #mayName(found: readonly string[], start: number): boolean {
    let first = start;
    while (first && this.looks.has(found[first - 1]!)) first--;
    const before = first ? found[first - 1]! : "";
    return BEFORE_NAMES.has(before) || (before === "white" && first < start);
  }

  #verbIn(run: readonly string[]): number {
    if (this.names.has(run.join(" "))) return run.length;
    const verb = run.findIndex((word, place) => place > 0 && word.endsWith("ing"));
    return verb < 0 ? run.length : verb;
  }
}

/** Return the words of a prompt's first subject, as "a red cat" of "a photo of a red cat on a beach". */
export function firstSubjectIn(prompt: string): string[] {
  const found = wordsIn(prompt);
  const start = found.indexOf("of") + 1; // behind "a photo of", or at the beginning
  const end = found.findIndex((word, place) => place > start && PLACES_FOLLOW.has(word));
  return found.slice(start, end < 0 ? undefined : end);
}

/** Return words without articles and prepositions whose noun was left out, (null). */
function withoutLooseEnds(said: readonly (string | null)[]): string[] {
  const kept: string[] = [];
  let isLoose = false;
  for (const word of [...said, ""]) {
    if (isLoose && word !== null && (!word || LINKS.has(word)))
      while (kept.length && LINKS.has(kept.at(-1)!)) kept.pop();
    isLoose = word === null;
    if (word) kept.push(word);
  }
  return kept;
}

/** A word and its forms: singular and plural, and the nouns of "sunny" and "clouded". */
function forms(word: string): string[] {
  const stems = [word];
  if (word.endsWith("ies")) stems.push(`${word.slice(0, -3)}y`);
  else
    for (const [ending, least] of ENDINGS) {
      const stem = word.slice(0, -ending.length);
      if (!word.endsWith(ending) || stem.length < least) continue;
      stems.push(stem, ...(stem.at(-1) === stem.at(-2) ? [stem.slice(0, -1)] : []));
    }
  if (word.endsWith("y")) stems.push(`${word.slice(0, -1)}ie`);
  return stems.flatMap((stem) => [stem, `${stem}s`, `${stem}es`]);
}

function* runsBetween(found: readonly string[], words: ReadonlySet<string>) {
  let run: string[] = [];
  for (const [place, word] of found.entries()) {
    if (!words.has(word)) run.push(word);
    else if (run.length) {
      yield { end: place, run };
      run = [];
    }
  }
  if (run.length) yield { end: found.length, run };
}

/** Return a text in lower case, its letters in one spelling and its hours in one word. */
export function plain(text: string): string {
  const lower = text.normalize("NFKC").toLowerCase();
  return lower.replaceAll(SAID, (phrase) => SAID_AS[phrase]!);
}

export function wordsIn(text: string): string[] {
  return plain(text).match(WORD) ?? [];
}

/** Split `text` into pieces as it was typed; `word` is what the rule above calls the piece. */
export function pieces(text: string): { text: string; word: string | null }[] {
  const found: { text: string; word: string | null }[] = [];
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    if (match.index > end) found.push({ text: text.slice(end, match.index), word: null });
    found.push({ text: match[0], word: wordsIn(match[0])[0] ?? null });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ text: text.slice(end), word: null });
  return found;
}
