// What a prompt says of time, weather, season and place, and how mini is to read it. The rules are
// those of swiftpie/scenes.py, and the words and patterns come from there.
import { plain } from "./vocabulary.js";

const TOKEN = /\p{L}+(?:['-]\p{L}+)*|[,;.:!?]/gu;
/** Return the words of a text, with "," for each mark between them. */
const wordsIn = (text) =>
  (plain(text).match(TOKEN) ?? []).map((token) => (/\p{L}/u.test(token) ? token : ","));

/** Return the functions that read prompts by `known`, which `swiftpie export page` wrote. */
export function reader(known) {
  const [prepositions, ofAThing] = [new Set(known.prepositions), new Set(known.of_a_thing)];
  const [articles, firsts] = [new Set(known.articles), new Set([...known.adverbs, ...known.prepositions])];
  const patterns = Object.fromEntries(
    Object.entries(known.patterns).map(([name, source]) => [name, new RegExp(source, "i")]),
  );
  const [air, negated] = [known.patterns.inTheAir, known.patterns.negated].map((source) => new RegExp(source, "gi"));
  /** Return a prompt without what it takes off, as "without rain". */
  const spoken = (prompt) => prompt.replace(negated, " ");
  const placeOf = new Map(known.places.map((place) => [place.name, place]));
  const taught = new Set(known.taught.map((head) => head.join(" ")));
  const subjects = new Set(known.subjects);
  const settings = [known.times, known.weathers, known.seasons].map(Object.values);
  const [cloudy, snowfall] = ["cloudy", "snowfall"].map((name) => Object.keys(known.weathers).indexOf(name));
  const winter = Object.keys(known.seasons).indexOf("winter");
  const settingWords = new Set(settings.flat(2).flatMap((phrase) => phrase.split(" ")));
  const heads = known.places.flatMap(({ name, heads }) =>
    heads.map((head) => ({
      name,
      head,
      text: head.join(" "),
      isWeather: head.every((word) => settingWords.has(word)),
    })),
  );

  /** Return { time, weather, season } as numbers; what a prompt does not mention stays 0. */
  function setting(prompt) {
    let text = ` ${wordsIn(prompt).join(" ")} `;
    const [times, weathers, seasons] = settings.map((values) => {
      const phrases = values.flatMap((names, index) => names.map((phrase) => ({ phrase, index })));
      const found = [];
      for (const { phrase, index } of phrases.sort((a, b) => b.phrase.length - a.phrase.length)) {
        if (!text.includes(` ${phrase} `)) continue;
        text = text.replaceAll(` ${phrase} `, " ");
        found.push(index);
      }
      return found;
    });
    const weather = weathers.find((index) => index > cloudy) ?? Math.max(0, ...weathers);
    const snows = weather === snowfall ? winter : 0;
    return { time: times.find(Boolean) ?? 0, weather, season: seasons.find(Boolean) ?? snows };
  }

  function prepositionBefore(words, start) {
    if (firsts.has(words[start])) return start;
    let first = null;
    for (let place = start - 1; place >= 0; place--) {
      const word = words[place];
      if (prepositions.has(word)) first = place;
      else if (first === null) {
        if (place < start - known.most_between || word === "and" || word === "," || word.endsWith("ing")) break;
      } else if (!articles.has(word)) break;
    }
    return first;
  }

  /** Return where the phrase of a place begins that stands alone, as in "dog, beach", or null. */
  function aloneFrom(words, start, end) {
    const after = words[end] ?? ",";
    if (![",", "and"].includes(after) && !prepositions.has(after) && !settingWords.has(after)) return null;
    let first = start;
    while (first && ![",", "and", "of"].includes(words[first - 1])) {
      first--;
      if (start - first > known.most_between || prepositions.has(words[first])) return null;
    }
    const before = words[first - 1];
    if (before === "of" && !known.photos.includes(words.at(first - 2))) return null;
    return before !== "," && subjects.has(words.slice(start, end).join(" ")) ? null : first;
  }

  /** Return the place that words name as { name, start, end, text }, or null. */
  function find(words) {
    const found = [];
    for (const { name, head, text, isWeather } of heads) {
      for (let start = 0; start + head.length <= words.length; start++) {
        if (head.some((word, i) => words[start + i] !== word)) continue;
        const first = prepositionBefore(words, start);
        const isBare = first === null || (head.length === 1 && words[first] === "of");
        let begin = isBare ? aloneFrom(words, start, start + head.length) : first;
        if (begin === null && head.length > 1 && !subjects.has(text)) begin = start;
        if (begin === null) continue;
        const isClear = first === null ? 1 : ofAThing.has(words[first]) ? 0 : 2;
        const place = { name, start: begin, end: start + head.length, text };
        found.push([!isWeather, isClear, text.length, name, place.start, place.end, place]);
      }
    }
    const better = (a, b) => a.slice(0, 6).map((value, i) => (value > b[i]) - (value < b[i])).find(Boolean) > 0;
    return found.reduce((best, one) => (best === null || better(one, best) ? one : best), null)?.at(-1) ?? null;
  }

  const isPlain = ({ time, weather, season }) => !time && !weather && !season;

  function usual(prompt, share) {
    if (!isPlain(setting(prompt))) return known.outdoors;
    return `${known.backdrops[Math.floor(1000 * share) % known.backdrops.length]} backdrop`;
  }

  function inKnownWords(prompt) {
    const words = wordsIn(prompt);
    const found = find(words);
    if (found === null || taught.has(found.text)) return prompt;
    return [...words.slice(0, found.start), ...placeOf.get(found.name).standIn, ...words.slice(found.end)].join(" ");
  }

  /** Return what of a prompt no graph of the page draws, or null. */
  function beyond(prompt) {
    const art = patterns.art.exec(prompt);
    if (art !== null) return art[0];
    const turned = wordsIn(prompt).find((word) => known.turning.includes(word));
    if (turned !== undefined) return turned; // the graphs draw subjects upright
    const end = patterns.artAtEnd.exec(prompt) ?? patterns.worn.exec(prompt);
    if (end !== null) return end[0].replace(/^[\s,;.]+/, "");
    const subject = ` ${prompt.split(patterns.looksEnd)[0].toLowerCase()} `;
    return known.textures.find((phrase) => subject.includes(` ${phrase} `)) ?? null;
  }

  return {
    /** Return what a prompt sets at a place; no weather comes indoors. */
    settingAt(prompt, { isIndoors }) {
      const shown = setting(spoken(prompt));
      return isIndoors ? { ...shown, weather: Math.min(shown.weather, cloudy), season: 0 } : shown;
    },
    isPlain,
    beyond: (prompt) => beyond(spoken(prompt)),
    inKnownWords,
    /** Return the place of a prompt, or for a drawn subject its drawing. */
    place(prompt, share, isDrawn) {
      const words = spoken(prompt);
      const place = placeOf.get(find(wordsIn(words))?.name ?? usual(words, share));
      return isDrawn ? placeOf.get(place.drawing) : place;
    },
    /** Return a prompt for a photograph of the bare subject in the same light. */
    plainly(text) {
      const prompt = spoken(text).split(" ").filter(Boolean).join(" ");
      const isNamed = find(wordsIn(prompt)) !== null;
      const placed = isNamed ? prompt : `${prompt} ${placeOf.get(usual(prompt, 0)).phrase}`;
      return inKnownWords(placed.replace(air, known.without_it));
    },
  };
}
