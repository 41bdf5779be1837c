/** What is being done, what went wrong with it, and what a screen reader says. */

import { hasToken, Refused, type Named } from "../server";

/** A part of the page that says what went wrong with it. */
export type Place = "subject" | "scene" | "prompt" | "picture" | "settings" | "seeds" | "mask";

export class Notices {
  problems = $state<Partial<Record<Place, string>>>({});
  missing = $state.raw<Pick<Named, "word" | "near"> | null>(null); // named in the prompt alone
  note = $state(""); // on how a picture was sent
  said = $state(""); // by a screen reader
  waitsS = $state<number | null>(null); // with pictures that the server has no room for
  needsToken = $state(false);
  tokenProblem = $state("");
  onforgotten = (): void => undefined; // the server no longer knows a subject
  #works = $state.raw<readonly { what: string }[]>([]); // what is being done

  /** What is being done with a picture of the visitor; "" for what is not worth a word. */
  get isBusy(): string | null {
    if (!this.#works.length) return null;
    return this.#works.map(({ what }) => what).findLast(Boolean) ?? "";
  }

  get waiting(): string {
    return `The server has no room now. Your picture is sent again in ${Math.ceil(this.waitsS ?? 0)} s …`;
  }

  /** Do what takes a while, and say what goes wrong; false if something did. */
  async doing(place: Place, what: string, work: () => Promise<unknown>): Promise<boolean> {
    const own = { what };
    this.#works = [...this.#works, own];
    this.note = "";
    this.problems = { ...this.problems, [place]: undefined };
    try {
      await work();
      return true;
    } catch (error) {
      this.tell(place, error);
      return false;
    } finally {
      this.#works = this.#works.filter((one) => one !== own);
    }
  }

  tell(place: Place, error: unknown): void {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) return this.askForToken();
    if (error.code === "identity_not_found") return this.onforgotten();
    const wait = error.retryAfterS ? ` Free again in about ${Math.ceil(error.retryAfterS)} s.` : "";
    this.fail(place, error.message + wait);
  }

  fail(place: Place, message: string): void {
    this.problems = { ...this.problems, [place]: message };
  }

  /** Forget what was wrong with a draft that is another one now. */
  clear(): void {
    this.problems = {};
    this.missing = null;
  }

  askForToken(): void {
    if (hasToken()) this.tokenProblem = "The server does not know this token.";
    this.needsToken = true;
  }
}
