/** Links that open a draft elsewhere, with fields as the files of pictures have them. */

import { placesIn, type Placed } from "../draft";
import { at } from "../home";
import { SAMPLES } from "../samples";
import { Refused, server } from "../server";
import type { Studio } from "../studio.svelte";

const SAID_MS = 3_000;

export class Links {
  link = $state(""); // where no clipboard takes it
  isCopied = $state(false);

  constructor(
    private readonly stores: Pick<Studio, "models" | "shelf" | "drafts" | "notices" | "arrivals">,
  ) {}

  /** Copy a link that opens the draft, or show it where there is no clipboard. */
  async copy(): Promise<void> {
    await this.stores.notices.doing("settings", "", async () => {
      const link = `${at("/")}#${new URLSearchParams(this.#fields())}`;
      const copying = navigator.clipboard?.writeText(link) ?? Promise.reject();
      this.link = await copying.then(() => "").catch(() => link);
      this.isCopied = !this.link;
      setTimeout(() => (this.isCopied = false), SAID_MS);
    });
  }

  #fields(): Record<string, string> {
    const { prompt, seed, scene, shape, flip, ...draft } = this.stores.drafts.draft;
    const subjects = draft.placed.map(({ key, box, yaw }) => {
      const { id, name, isNamed, sample } = this.stores.shelf.subject(key)!;
      if (!isNamed && !sample) {
        throw new Refused(`No link carries your ${name}. Drop its file and the picture instead.`);
      }
      return { name: sample?.name ?? id, box, view: yaw === null ? null : [yaw, 0] };
    });
    const scales = { identity_scale: draft.identity, detail_scale: draft.detail };
    const own = { prompt, seed, ...scales, balance: draft.balance, shape, flip };
    const place = typeof scene === "string" ? scene : "";
    const texts = Object.entries(own).map(([name, value]) => [name, `${value}`]);
    return { ...Object.fromEntries(texts), scene: place, subjects: JSON.stringify(subjects) };
  }

  /** Go on with the draft of the address, which anybody may have written. */
  async open(): Promise<void> {
    const texts = new URLSearchParams(location.hash.slice(1));
    const { shape = "", flip, ...fields } = Object.fromEntries(texts);
    if (!fields["prompt"]) return;
    history.replaceState(null, "", at("/"));
    await this.stores.notices.doing("settings", "Opening the draft", async () => {
      const { arrivals, drafts, models, shelf } = this.stores;
      const placed: Placed[] = [];
      for (const { name, place } of placesIn(fields["subjects"]).slice(0, models.limits.subjects)) {
        const sample = SAMPLES.find((one) => one.name === name);
        const [entry] = sample ? [] : (await server.library(name, 1)).data;
        const key = (sample || entry?.name === name) && (await shelf.meet((sample ?? entry)!));
        if (!key) throw new Refused(`There is no ${name} here. Add a picture of it.`);
        placed.push({ key, ...place });
      }
      drafts.set({ placed, shape, flip: flip === "true" });
      arrivals.restore(fields);
    });
  }
}
