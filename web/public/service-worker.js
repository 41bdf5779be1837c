/** Answers with the page's files as they were last, so that a reload shows it while the server is away. */

const HOME = new URL(registration.scope).pathname;
const STORE = `swiftpie${HOME.slice(0, -1)} page`; // which src/main.ts fills

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const { origin, pathname } = new URL(url);
  const isPage = pathname === HOME || pathname.startsWith(`${HOME}static/`);
  if (method === "GET" && origin === location.origin && isPage) {
    event.respondWith(newest(event.request));
  }
});

async function newest(request) {
  const store = await caches.open(STORE);
  try {
    const answer = await fetch(request);
    // Where the browser has no room, the page comes all the same.
    if (answer.ok) await store.put(request, answer.clone()).catch(() => undefined);
    return answer;
  } catch (error) {
    const last = await store.match(request);
    if (last) return last;
    throw error;
  }
}
