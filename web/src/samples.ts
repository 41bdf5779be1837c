/** Subjects that come with the package, so that a first visit starts with a picture. */

import known from "../../src/swiftpie/assets/samples/subjects.json";

export interface Sample {
  name: string;
  url: string;
}

const urls = import.meta.glob<string>(
  "../../src/swiftpie/assets/samples/{1f439,1f916,1f980,1f995,1f33a,1f392,1f388,1f36a}.webp",
  { query: "?url", import: "default", eager: true },
);
const FIRST = "hamster";

export const SAMPLES: readonly Sample[] = known
  .flatMap(({ code, name }) => {
    const url = urls[`../../src/swiftpie/assets/samples/${code}.webp`];
    return url ? [{ name, url }] : [];
  })
  .sort((a, b) => Number(b.name === FIRST) - Number(a.name === FIRST));

/** Scenes of which `mini` has learned; any other model knows them as well. */
export const SCENES = [
  ...["on a beach", "in the snow", "in space", "under water", "at sunset", "in a forest"],
  ...["wearing a crown in a city", "wearing a top hat at a party", "on a volcano"],
  ...["in a field of flowers", "under the northern lights", "on a pink background"],
];
