/** Light or dark: the system's choice until somebody makes another one. */

type Theme = "light" | "dark";

const KEY = "swiftpie theme";
const system = matchMedia("(prefers-color-scheme: dark)");

class ThemeChoice {
  now = $state<Theme>("light");

  follow(): void {
    const chosen = localStorage.getItem(KEY) as Theme | null;
    this.now = chosen ?? (system.matches ? "dark" : "light");
    document.documentElement.dataset["theme"] = this.now;
  }

  toggle(): void {
    localStorage.setItem(KEY, this.now === "dark" ? "light" : "dark");
    this.follow();
  }
}

export const theme = new ThemeChoice();

export function startTheme(): void {
  theme.follow();
  system.addEventListener("change", () => theme.follow());
}
