/** A short text that the browser keeps; where it is full or keeps nothing, as long as the page is open. */

import { OWN } from "./home";

export class Note {
  readonly #name: string;
  #here: string | null = null;

  constructor(
    private readonly area: "localStorage" | "sessionStorage", // of all tabs, or of this one
    key: string,
  ) {
    this.#name = `${OWN} ${key}`;
  }

  get text(): string | null {
    try {
      return window[this.area].getItem(this.#name) ?? this.#here;
    } catch {
      return this.#here; // forbidden
    }
  }

  set text(text: string) {
    this.#here = text;
    try {
      window[this.area].setItem(this.#name, text);
    } catch {
      // Full or forbidden.
    }
  }
}
