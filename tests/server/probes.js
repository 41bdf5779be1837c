// What tests of the page look at and do inside of it.

window.reports = [];
addEventListener(
  "securitypolicyviolation",
  (event) => reports.push(`${event.violatedDirective} ${event.blockedURI}`),
  true,
);

window.probes = {
  pixels: async (image) => {
    await image.decode?.(); // a canvas has it already
    const {
      naturalWidth: width = image.width,
      naturalHeight: height = image.height,
    } = image;
    const sheet = Object.assign(document.createElement("canvas"), {
      width,
      height,
    });
    sheet.getContext("2d").drawImage(image, 0, 0);
    return sheet.toDataURL().split(",")[1];
  },

  rests: () =>
    new Promise((resolve) => {
      let before = scrollY;
      const look = setInterval(() => {
        if (scrollY === before) resolve(clearInterval(look));
        before = scrollY;
      }, 100);
    }),

  kept: () => {
    const shown = document.querySelector("img.drawn");
    const step = document.querySelector("ol button[aria-current=true] img");
    return shown && step && shown.src === step.src;
  },

  stored: () =>
    new Promise((resolve) => {
      indexedDB.open("swiftpie").onsuccess = ({ target: { result: base } }) => {
        const tab = base
          .transaction("visit")
          .objectStore("visit")
          .get(sessionStorage["swiftpie tab"]);
        tab.onsuccess = () => {
          const { draft, history, at, subjects } = JSON.parse(
            tab.result?.text ?? '{"history": []}',
          );
          const steps = [...document.querySelectorAll("ol button")];
          const isNow =
            history.length === steps.length &&
            steps[at]?.ariaCurrent === "true";
          base.close();
          resolve(
            isNow &&
              draft === null &&
              subjects.every((one) => one.isNamed || one.file),
          );
        };
      };
    }),

  // Until the next load, as where a disk is full.
  fillStorage: () => {
    const error = new DOMException("", "QuotaExceededError");
    Object.defineProperty(IDBTransaction.prototype, "error", {
      get: () => error,
    });
    IDBObjectStore.prototype.put = function () {
      this.transaction.abort();
    };
  },

  give: ([kind, files, at]) => {
    const given = new DataTransfer();
    for (const [name, type, text] of files) {
      const bytes = Uint8Array.from(atob(text), (letter) =>
        letter.charCodeAt(0),
      );
      given.items.add(new File([bytes], name, { type }));
    }
    const [clientX, clientY] = at ?? [0, 0];
    const dropped = { dataTransfer: given, clientX, clientY };
    const more = kind === "paste" ? { clipboardData: given } : dropped;
    const Made = kind === "paste" ? ClipboardEvent : DragEvent;
    for (const name of kind === "paste"
      ? ["paste"]
      : ["dragenter", "dragover", "drop"]) {
      const under = at
        ? document.elementFromPoint(clientX, clientY)
        : document.body;
      under.dispatchEvent(
        new Made(name, { bubbles: true, cancelable: true, ...more }),
      );
    }
  },

  repainted: async () => {
    await new Promise(requestAnimationFrame);
    for (
      let all;
      (all = document.getAnimations()).some(
        ({ playState }) => playState === "running",
      );
    )
      await Promise.allSettled(all.map(({ finished }) => finished));
  },

  small: () =>
    [
      ...document.querySelectorAll(
        "button, input, select, textarea, summary, label",
      ),
    ]
      .filter(
        (one) => one.checkVisibility() && getComputedStyle(one).opacity > 0,
      )
      .filter((one) => one.localName !== "label" || one.querySelector("input"))
      .map((one) => [one, one.getBoundingClientRect()])
      .filter(
        ([, { width, height }]) => width > 1 && (width < 43.9 || height < 43.9),
      )
      .map(
        ([one, { width, height }]) =>
          `${one.outerHTML.slice(0, 120)} ${width} x ${height}`,
      ),

  hidden: () =>
    [
      document.documentElement,
      ...document.querySelectorAll("#prompt, .picture, .tools, .strip"),
    ]
      .filter(
        (one) => one.checkVisibility() && getComputedStyle(one).opacity > 0,
      )
      .map((one) => [one, one.getBoundingClientRect()])
      .filter(
        ([, { left, top, right, bottom }]) =>
          left < -1 ||
          top < -1 ||
          right > innerWidth + 1 ||
          bottom > innerHeight + 1,
      )
      .map(([one]) => one.outerHTML.slice(0, 80)),

  narrow: () =>
    [...document.querySelectorAll("p")]
      .filter(
        (one) =>
          one.checkVisibility() &&
          one.textContent.trim().split(/\s+/).length > 4,
      )
      .filter((one) => one.clientWidth > 1 && one.clientWidth < 90)
      .map((one) => one.textContent),
};
