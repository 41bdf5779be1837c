/** Light or dark: the system's choice until somebody makes another one. */

import { Note } from "./note";

type Theme = "light" | "dark";

const chosen = new Note("localStorage", "theme");
const system = matchMedia("(prefers-color-scheme: dark)");

class ThemeChoice {
  now = $state<Theme>("light");

  follow(): void {
    this.now = (chosen.text as Theme | null) ?? (system.matches ? "dark" : "light");
    document.documentElement.dataset["theme"] = this.now;
  }

  toggle(): void {
    chosen.text = this.now === "dark" ? "light" : "dark";
    this.follow();
  }
}

export const theme = new ThemeChoice();

export function startTheme(): void {
  theme.follow();
  system.addEventListener("change", () => theme.follow());
}
