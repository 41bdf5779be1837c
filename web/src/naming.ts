/** What subjects are called, and how prompts follow when others take their place. */

const NO_NAME =
  /^(img|dsc|dscf|pxl|image|photo|picture|screenshot|untitled|paste[d]?|camera|file)\b|\d{3}/i;

/** Return what to call a subject by the name of its file; cameras number theirs. */
export function nameOf(file: string): string {
  const words = file
    .replace(/\.[^.]*$/, "")
    .replaceAll(/[^\p{L}\p{N}]+/gu, " ")
    .trim();
  const isName = words && !NO_NAME.test(words) && words.split(" ").length <= 3;
  return isName ? words.toLowerCase() : "object";
}

export function article(name: string): string {
  return /^[aeiou]/i.test(name) ? "an" : "a";
}

function pattern(name: string): RegExp {
  const letters = name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`(?:\\b(an?) )?(?<![\\p{L}-])${letters}(?![\\p{L}-])`, "iu");
}

/** Whether the prompt has this name in it. */
export function names(prompt: string, name: string): boolean {
  return name !== "" && pattern(name).test(prompt);
}

/** Return the prompt with another name for a subject, article and all. */
export function renamed(prompt: string, last: string, next: string): string {
  if (!last) return prompt;
  return prompt.replace(pattern(last), (_, before?: string) =>
    before ? `${article(next)} ${next}` : next,
  );
}

/** Return the prompt with another subject beside the one that it names. */
export function joined(prompt: string, last: string, next: string): string {
  return last
    ? prompt.replace(pattern(last), (all) => `${all} and ${article(next)} ${next}`)
    : prompt;
}

/** Return the prompt without one of several subjects. */
export function without(prompt: string, name: string): string {
  if (!name) return prompt;
  const { source } = pattern(name);
  const behind = new RegExp(` and ${source}`, "iu");
  const before = new RegExp(`${source} and `, "iu");
  return behind.test(prompt) ? prompt.replace(behind, "") : prompt.replace(before, "");
}
