// Which words of a prompt a small model was never taught, and how it reads the others. The rule is that of
// swiftpie/places/vocabulary.py, which tells why it is so.
const WORD = /[\p{L}\p{Nl}\p{No}]+(?:['-][\p{L}\p{Nl}\p{No}]+)*/gu;
const MEASURE = /[\p{L}\p{N}]*\p{Nd}[\p{L}\p{N}]*/gu; // as "8k" and "50mm", which are no words
const TOKEN = /[\p{L}\p{N}]+(?:['-][\p{L}\p{N}]+)*/gu; // the same with digits, as "8-bit"
const BEFORE_NAMES = new Set(["of", "and", ""]);
const ARTICLES_AND_SIZES = new Set(["a", "an", "the", "tiny", "small", "little", "huge", "big", "giant"]);
const LINKS = new Set([
  ...[...ARTICLES_AND_SIZES, "and", "in", "on", "at", "by", "near", "beside", "before", "behind"],
  ...["inside", "under", "above", "among", "between", "through", "over", "below", "against"],
  ...["across", "along", "around", "of", "to", "with", "into", "onto", "outside", "within"],
  ...["amid", "beneath", "underneath"],
]);

/** Endings of forms of one word, with how many letters stand before each at least. */
const ENDINGS = [["s", 3], ["es", 3], ["y", 4], ["ing", 4], ["ed", 4]];

/** What is said in other words, as `said_as` of lexicon.toml has it. */
const SAID_AS = {
  "midnight blue": "blue",
  "sunset orange": "orange",
  "snow-white": "white",
  "after dark": "at night",
  "made out of": "made of",
  "golden hour": "sunset",
  sundown: "sunset",
  twilight: "dusk",
  "blue hour": "night",
  nighttime: "night",
  "night-time": "night",
  "under the stars": "at night",
  "under the night sky": "at night",
  "early in the morning": "early morning",
  "late in the evening": "evening",
  "late in the afternoon": "daytime",
  "late afternoon": "daytime",
  "early afternoon": "daytime",
  afternoon: "daytime",
  "out of the window": "by the window",
  "out of a window": "by the window",
  "make it snow": "snowing",
  "let it snow": "snowing",
  "add some snow": "snowing",
  "add snow": "snowing",
  "autumn leaves": "autumn",
  "fall leaves": "autumn",
  "fall foliage": "autumn",
  "clear blue sky": "clear sky",
  "blue sky": "clear sky",
  "blue skies": "clear sky",
  "snow falling": "falling snow",
};
const SAID = new RegExp(`\\b(?:${Object.keys(SAID_AS).join("|")})\\b`, "g");
const WEARS = /(\b(?:wearing|holding|carrying|with)\b)/iu;
const WORN = /\b(?:(?:top|billed) hat|billed cap|cap|hat|backpack)\b/giu;
const GENERIC = "thing";

export class Vocabulary {
  constructor({ words, names, looks }) {
    this.words = new Set(words);
    this.names = new Set(names);
    this.looks = new Set([...ARTICLES_AND_SIZES, ...looks]);
    this.wordsOfNames = new Set(names.flatMap((name) => name.split(" ")));
  }

  /** Return the words of `prompt` that mean nothing to the model, in their order. */
  unknownIn(prompt) {
    return this.#untaughtIn(prompt).filter((word) => !this.#taughtForm(word));
  }

  /** Return `prompt` in words that the model knows, without others; a name may be a "thing". */
  asTaught(prompt) {
    const [named, ...rest] = prompt.split(WEARS);
    const text = plain([named.replace(WORN, GENERIC), ...rest].join(""));
    const tokens = text.match(TOKEN) ?? [];
    const names = new Set(this.#namesIn(wordsIn(text), false));
    const isName = (words) => words.length > 0 && words.every((word) => names.has(word) && !this.words.has(word));
    const said = []; // null is a word that is left out
    for (let place = 0; place < tokens.length;) {
      const first = place;
      const isNamed = isName(wordsIn(tokens[place]));
      while (place < tokens.length && isName(wordsIn(tokens[place])) === isNamed) place++;
      const read = tokens.slice(first, place).map((token) => this.#read(token, isNamed));
      said.push(...(isNamed && !read.some(Boolean) ? [GENERIC] : read));
    }
    return withoutLooseEnds(said).join(" ");
  }

  #read(token, isName) {
    const words = wordsIn(token);
    if (words.length && words.every((word) => this.words.has(word))) return token;
    if (isName) return words.some((word) => this.#isOfName(word)) ? token : null;
    return words.length === 1 ? (this.#taughtForm(words[0]) ?? null) : null;
  }

  #untaughtIn(prompt) {
    const found = wordsIn(prompt.replaceAll(MEASURE, " "));
    const known = new Set(this.#namesIn(found));
    return [...new Set(found.filter((word) => !this.words.has(word) && !known.has(word)))];
  }

  #taughtForm(word) {
    return forms(word).find((form) => this.words.has(form));
  }

  *#namesIn(found, needsKnown = true) {
    for (const { end, run } of runsBetween(found, this.words)) {
      if (!this.#mayName(found, end - run.length)) continue;
      if (end === found.length && needsKnown) yield* run.filter((word) => this.#isOfName(word));
      else if (found[end] !== "of") yield* run.slice(0, this.#verbIn(run));
    }
  }

  #isOfName(word) {
    return forms(word).some((form) => this.wordsOfNames.has(form));
  }

  #mayName(found, start) {
    let first = start;
    while (first && this.looks.has(found[first - 1])) first--;
    const before = first ? found[first - 1] : "";
    return BEFORE_NAMES.has(before) || (before === "white" && first < start);
  }

  #verbIn(run) {
    if (this.names.has(run.join(" "))) return run.length;
    const verb = run.findIndex((word, place) => place > 0 && word.endsWith("ing"));
    return verb < 0 ? run.length : verb;
  }
}

/** Return words without articles and prepositions whose noun was left out, (null). */
function withoutLooseEnds(said) {
  const kept = [];
  let isLoose = false;
  for (const word of [...said, ""]) {
    if (isLoose && word !== null && (!word || LINKS.has(word)))
      while (kept.length && LINKS.has(kept.at(-1))) kept.pop();
    isLoose = word === null;
    if (word) kept.push(word);
  }
  return kept;
}

/** A word and its forms: singular and plural, and the nouns of "sunny" and "clouded". */
function forms(word) {
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

function* runsBetween(found, words) {
  let run = [];
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
export function plain(text) {
  const lower = text.normalize("NFKC").toLowerCase();
  return lower.replaceAll(SAID, (phrase) => SAID_AS[phrase]);
}

function wordsIn(text) {
  return plain(text).match(WORD) ?? [];
}
