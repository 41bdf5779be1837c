import { copyFileSync, mkdirSync } from "node:fs";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

const STATIC = "../src/swiftpie/serve/static";
const SAMPLES = "../src/swiftpie/assets/samples";

/** What the page brings along from others goes with their licences. */
function licences(): Plugin {
  let folder: string;
  return {
    name: "licences",
    configResolved({ build }) {
      folder = `${build.outDir}/licences`;
    },
    closeBundle() {
      mkdirSync(folder);
      copyFileSync("node_modules/svelte/LICENSE.md", `${folder}/svelte.txt`);
      copyFileSync(`${SAMPLES}/LICENSE.txt`, `${folder}/samples.txt`);
    },
  };
}

export default defineConfig({
  base: "/static/",
  plugins: [svelte(), licences()],
  build: {
    outDir: STATIC,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false, // one script, nothing to load ahead
    rolldownOptions: {
      // A second entry, so that the tests can ask the page's own rule about words.
      input: { page: "index.html", vocabulary: "src/vocabulary.ts" },
      preserveEntrySignatures: "exports-only",
      output: {
        // The server sends no copy from a cache, so names may stay as they are between builds.
        entryFileNames: "[name].js",
        chunkFileNames: "[name].js",
        assetFileNames: ({ names }) =>
          names[0]?.endsWith(".webp") ? "samples/[name][extname]" : "[name][extname]",
      },
    },
  },
  server: { proxy: { "/v1": { target: "http://127.0.0.1:8000", ws: true } } },
});
