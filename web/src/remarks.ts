/** What the server says, in words of the page: it speaks to those who write calls as well. */

const EXAMPLES = /,? as in `[^`]*`(?: or `[^`]*`)*/g;

/** Names of fields and commands, and what the page has in their place. */
const ON_THE_PAGE: readonly (readonly [RegExp, string])[] = [
  [/^'image'/, "This picture"],
  [/[`]|\bswiftpie\.(?=\w)/g, ""],
  [/, which swiftpie fetch \S+ gets/g, ""],
  [/,? turn it by '?tilt'?/g, ""],
  [/\b([Tt]urn it) by '?view'?/g, "$1 under “In the picture”"],
  [/\b'?scene'?[=: ]+'words'/g, "“From words alone”"],
  [/\b'?scene'?[=: ]+'([^']+)'/g, "the scene “$1”"],
  [/\bby '?scene'?=?/g, "as “Your photograph”"],
  [/\binsert, remove and replace\b/g, "Insert, Remove and Replace"],
];

const FOREIGN = /\/v1\/|--[a-z]|\w=|\w_\w|\bswiftpie [a-z]/; // that no visitor can use
const SENTENCES = /(?<=[.!?]) (?=[\p{Lu}“'])/u;

/** Return a remark in words of the page, without advice that only calls and commands can follow. */
export function plain(remark: string): string {
  const text = ON_THE_PAGE.reduce(
    (said, [name, own]) => said.replace(name, own),
    remark.replaceAll(EXAMPLES, ""),
  );
  return text
    .split(SENTENCES)
    .filter((sentence, place) => !place || !FOREIGN.test(sentence))
    .join(" ");
}
