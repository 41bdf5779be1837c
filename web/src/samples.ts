/** Subjects that come with the package, so that a first visit starts with a picture. */

import known from "../../src/swiftpie/assets/samples/subjects.json";
import { Note } from "./note";
import { server } from "./server";

export interface Sample {
  name: string;
  url: string;
}

const urls = import.meta.glob<string>(
  "../../src/swiftpie/assets/samples/{1f439,1f916,1f980,1f995,1f33a,1f392,1f388,1f36a}.webp",
  { query: "?url", import: "default", eager: true },
);
const photos = import.meta.glob<string>("../../src/swiftpie/assets/photos/{dog,sheep}.jpg", {
  query: "?url",
  import: "default",
  eager: true,
});

/** Photographed subjects, of which a first visit draws the first, and drawn ones. */
export const SAMPLES: readonly Sample[] = [
  ...["dog", "sheep"].map((name) => ({
    name,
    url: photos[`../../src/swiftpie/assets/photos/${name}.jpg`]!,
  })),
  ...known.flatMap(({ code, name }) => {
    const url = urls[`../../src/swiftpie/assets/samples/${code}.webp`];
    return url ? [{ name, url }] : [];
  }),
];

const met = new Note("localStorage", "samples"); // names by identity

const namesMet = () => JSON.parse(met.text ?? "{}") as Record<string, string>;

/** Return the identities that are samples, as far as this browser made them. */
export function samplesMet(): Record<string, Sample | undefined> {
  const of = (name: string) => SAMPLES.find((sample) => sample.name === name);
  return Object.fromEntries(Object.entries(namesMet()).map(([id, name]) => [id, of(name)]));
}

/** Know an identity as a sample when the page is opened again. */
export function remember(id: string, { name }: Sample): void {
  const newest = Object.entries({ ...namesMet(), [id]: name }).slice(-100);
  met.text = JSON.stringify(Object.fromEntries(newest));
}

export const fileOf = ({ url }: Sample): Promise<Blob> => server.picture(url);
