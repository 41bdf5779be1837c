/** What the server draws with: its models, what the chosen one can, and the words that it knows. */

import { can, FIRST, type Draft } from "../draft";
import { server, type Model, type Offer } from "../server";

const ANY = { types: ["image/*"], bytes: Infinity, pixels: Infinity, side_px: Infinity };
const UNKNOWN: Offer["limits"] = {
  subjects: 1,
  view: [0, 0],
  picture: { ...ANY, kept_px: Infinity },
};

export class Models {
  all = $state.raw<readonly Model[]>([]);
  options = $state.raw<Offer["options"]>({});
  choices = $state.raw<Offer["choices"]>({});
  limits = $state.raw<Offer["limits"]>(UNKNOWN); // until the server says
  model = $state("");
  names = $state.raw<ReadonlySet<string> | null>(null); // that the words alone draw; null: any do

  get facts(): Model["swiftpie"] | null {
    return this.all.find((one) => one.id === this.model)?.swiftpie ?? null;
  }

  /** Whether subjects are placed by boxes. */
  get canPlace(): boolean {
    return can(this.facts, "layout");
  }

  /** Whether words can change a picture; subjects come and go with any model. */
  get canEdit(): boolean {
    return can(this.facts, "edit");
  }

  /** Whether pictures of subjects are read. */
  get readsPictures(): boolean {
    return can(this.facts, "personalize");
  }

  /** Whether strengths change what words make of a photo; a small model reads the words alone. */
  get steersEdits(): boolean {
    return !this.canPlace;
  }

  /** Strengths of a draft, as they come with the model. */
  get usual(): Pick<Draft, "identity" | "detail" | "textScale"> {
    const { identity_scale, detail_scale, edit_text_scale } = this.facts?.defaults ?? {};
    return {
      identity: identity_scale ?? FIRST.identity,
      detail: detail_scale ?? FIRST.detail,
      textScale: edit_text_scale ?? FIRST.textScale,
    };
  }

  get offer(): Offer {
    const { all: data, options, choices, limits } = this;
    return { data, options, choices, limits };
  }

  learn({ data, options, choices = {}, limits }: Offer): void {
    [this.all, this.options, this.choices, this.limits] = [data, options, choices, limits];
  }

  async choose(model: string): Promise<void> {
    this.model = model;
    this.names = null;
    await this.learnWords();
  }

  async learnWords(): Promise<void> {
    const { model } = this;
    const words = await server.vocabulary(model);
    if (model === this.model && words) this.names = new Set(words.names);
  }
}
