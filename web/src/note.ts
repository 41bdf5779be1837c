/** A short text that the browser keeps; where it is full or keeps nothing, as long as the page is open. */

export class Note {
  #here: string | null = null;

  constructor(
    private readonly area: "localStorage" | "sessionStorage", // of all tabs, or of this one
    private readonly key: string,
  ) {}

  get text(): string | null {
    try {
      return window[this.area].getItem(this.key) ?? this.#here;
    } catch {
      return this.#here; // forbidden
    }
  }

  set text(text: string) {
    this.#here = text;
    try {
      window[this.area].setItem(this.key, text);
    } catch {
      // Full or forbidden.
    }
  }
}
