import "./page.css";
import "./classes.css";
import "./frame.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { at, OWN } from "./home";
import { startTheme } from "./theme.svelte";

const OFFLINE = `${OWN} page`; // what the service worker answers with

startTheme();
mount(App, { target: document.getElementById("page")! });

// Browsers have workers and caches where the page came by https or from this machine.
if (import.meta.env.PROD && "serviceWorker" in navigator) {
  addEventListener("load", () => void keepPage().catch(() => undefined)); // the page works without
}

/** Keep the page's own files; those of a first visit came before the worker. */
async function keepPage(): Promise<void> {
  await navigator.serviceWorker.register(at("/static/service-worker.js"), { scope: at("/") });
  const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
  const files = loaded.filter((url) => url.startsWith(at("/static/")));
  await (await caches.open(OFFLINE)).addAll([...new Set([at("/"), ...files])]);
}
