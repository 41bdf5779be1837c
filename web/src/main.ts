import "./page.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { startTheme } from "./theme.svelte";

const OFFLINE = "swiftpie page"; // what the service worker answers with

startTheme();
mount(App, { target: document.getElementById("page")! });

// Browsers have workers and caches where the page came by https or from this machine.
if (import.meta.env.PROD && "serviceWorker" in navigator) {
  addEventListener("load", () => void keepPage().catch(() => undefined)); // the page works without
}

/** Keep the page's own files; those of a first visit came before the worker. */
async function keepPage(): Promise<void> {
  await navigator.serviceWorker.register("/static/service-worker.js", { scope: "/" });
  const loaded = performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname);
  const files = loaded.filter((path) => path.startsWith("/static/"));
  await (await caches.open(OFFLINE)).addAll([...new Set(["/", ...files])]);
}
