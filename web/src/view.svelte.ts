/** What of the page is seen: both panels, or on a narrow window one of them over the picture. */

import { Note } from "./note";
import type { boards } from "./texts.json";

export type Side = "left" | "right";

/** Which pictures stand in a grid in place of the one that is drawn. */
export type Board = keyof typeof boards;

const folded = new Note("localStorage", "folded"); // panels, one word each
const narrow = matchMedia("(max-width: 900px)");

class View {
  isNarrow = $state(narrow.matches);
  board = $state<Board | null>(null);
  isPainting = $state(false); // a mask over the photo
  showsMask = $state(false);
  isFilm = $state(false); // a time line stands below the picture
  #folded = $state.raw<readonly string[]>(folded.text?.split(" ") ?? []);
  #over = $state<Side | null>(null); // the picture of a narrow window

  constructor() {
    narrow.addEventListener("change", () => (this.isNarrow = narrow.matches));
  }

  isOpen(side: Side): boolean {
    return this.isNarrow ? this.#over === side : !this.#folded.includes(side);
  }

  toggle(side: Side): void {
    if (this.isNarrow) this.#over = this.#over === side ? null : side;
    else {
      const others = this.#folded.filter((one) => one !== side);
      this.#folded = this.isOpen(side) ? [...others, side] : others;
      folded.text = this.#folded.join(" ");
    }
  }

  /** Show pictures in a grid, or the one that is drawn; a narrow window shows nothing over them. */
  show(board: Board | null): void {
    [this.board, this.#over] = [board, null];
  }
}

export const view = new View();
