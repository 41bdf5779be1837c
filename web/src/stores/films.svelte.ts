/** The film that was drawn last. */

import { letGo, urlOf } from "../keeping";
import { blobOf, server } from "../server";
import type { Studio } from "../studio.svelte";

export interface Film {
  file: Blob;
  url: string;
  about: string;
}

export class Films {
  film = $state.raw<Film | null>(null);

  constructor(private readonly stores: Pick<Studio, "drafts" | "notices">) {}

  /** Draw the animation from the draft to what `animate` says, which its last frame shows. */
  async animate(about: string, animate: Record<string, unknown>): Promise<void> {
    await this.stores.notices.doing("picture", "Drawing the frames", async () => {
      const { type: _, swiftpie, ...rest } = this.stores.drafts.request(this.stores.drafts.draft)!;
      const own = { ...(swiftpie as object), animate };
      const [drawn] = await server.draw({ ...rest, output_format: "webp", swiftpie: own });
      const file = blobOf(drawn!.b64, "image/webp");
      letGo(this.film?.url);
      this.film = { file, url: urlOf(file), about };
      this.stores.notices.said = "The animation is ready.";
    });
  }
}
