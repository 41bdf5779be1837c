import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const STATIC = "../src/swiftpie/server/static";
const SAMPLES = "../src/swiftpie/assets/samples";
const SERVER = "http://127.0.0.1:8000"; // draws while the page is worked on

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
      copyFileSync("node_modules/idb-keyval/LICENCE", `${folder}/idb-keyval.txt`);
      copyFileSync("node_modules/@panzoom/panzoom/MIT-License.txt", `${folder}/panzoom.txt`);
      copyFileSync("node_modules/client-zip/LICENSE.txt", `${folder}/client-zip.txt`);
      copyFileSync(`${SAMPLES}/LICENSE.txt`, `${folder}/samples.txt`);
    },
  };
}

const SOURCES = ["index.html", "package-lock.json", "public", "src", "svelte.config.js"];

/** Write down of which sources the page was built; tests compare without Node. */
function fingerprint(): Plugin {
  const files = SOURCES.flatMap((name) =>
    name.includes(".")
      ? [name]
      : readdirSync(name, { recursive: true, withFileTypes: true })
          .filter((one) => one.isFile())
          .map((one) => join(one.parentPath, one.name)),
  );
  const hash = createHash("sha256");
  for (const name of [...files, "tsconfig.json", "vite.config.ts"].sort()) {
    hash.update(`${name}\0`).update(readFileSync(name));
  }
  const content = hash.digest("hex");
  return {
    name: "fingerprint",
    transformIndexHtml: () => [
      { tag: "meta", attrs: { name: "sources", content }, injectTo: "head" },
    ],
  };
}

export default defineConfig({
  base: "./", // addresses are relative, so that the page can be below any prefix of a proxy
  experimental: {
    renderBuiltUrl: (file, { hostType }) =>
      hostType === "html" ? `static/${file}` : { relative: true },
  },
  resolve: process.env["VITEST"] ? { conditions: ["browser"] } : {}, // Svelte's other half draws nothing
  test: { include: ["tests/*.test.ts"], setupFiles: ["tests/browser.ts"] },
  plugins: [svelte(), licences(), fingerprint()],
  build: {
    outDir: STATIC,
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false, // one script, nothing to load ahead
    rolldownOptions: {
      input: { page: "index.html" },
      output: {
        // Browsers ask whether a file has changed, so names may stay as they are between builds.
        entryFileNames: "[name].js",
        chunkFileNames: "[name].js",
        assetFileNames: ({ names }) =>
          names[0]?.endsWith(".webp") ? "samples/[name][extname]" : "[name][extname]",
      },
    },
  },
  server: {
    proxy: Object.fromEntries(
      ["/v1", "/health", "/static"].map((path) => [path, { target: SERVER, ws: path === "/v1" }]),
    ),
  },
});
