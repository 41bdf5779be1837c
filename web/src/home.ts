/** Where the page is: at the root of its host, or below a prefix by which a proxy leads to it. */

const HOME = new URL(".", document.baseURI);

/** Return the address of a path of the server. */
export const at = (path: string): string => new URL(path.replace(/^\//, ""), HOME).href;

/** Begins names in the browser's stores, which a host's other pages share. */
export const OWN = `swiftpie${HOME.pathname.slice(0, -1)}`;
