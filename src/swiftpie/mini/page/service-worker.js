// Keeps the page's files, so that it works without a network after the first visit, and sends the
// two headers without which a browser gives WebAssembly no threads. VERSION is that of all files.
const VERSION = "@VERSION@";
const OURS = `swiftpie-page ${self.registration.scope} `; // an origin may hold several pages
const KEPT = `${OURS}${VERSION}`;
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

self.addEventListener("install", () => {
  if (!self.registration.active) self.skipWaiting(); // a renewal waits until no page runs
});

self.addEventListener("activate", (event) => {
  const renew = async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith(OURS) && name !== KEPT) await caches.delete(name);
    }
    await self.clients.claim();
  };
  event.waitUntil(renew());
});

async function answer(request) {
  const cache = await caches.open(KEPT);
  const kept = await cache.match(request, { ignoreSearch: true });
  const found = kept ?? (await fetch(request, { cache: "no-cache" }));
  if (!kept && found.ok) await cache.put(request, found.clone());
  const headers = new Headers(found.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === self.location.origin) event.respondWith(answer(event.request));
});
