"""The files of the page as they are served; nothing here needs a browser, nor Node."""

import hashlib
import re

from tests.policy.project import ROOT

WEB = ROOT / "web"
STATIC = ROOT / "src" / "swiftpie" / "server" / "static"
SOURCES = ("index.html", "package-lock.json", "svelte.config.js", "tsconfig.json", "vite.config.ts")


def test_the_page_is_built_of_its_sources():
    files = [WEB / name for name in SOURCES]
    files += [path for part in ("public", "src") for path in (WEB / part).rglob("*")]
    named = {path.relative_to(WEB).as_posix(): path for path in files if path.is_file()}
    now = hashlib.sha256()
    for name in sorted(named):
        now.update(f"{name}\0".encode() + named[name].read_bytes())
    sources = re.search(r'name="sources" content="(\w+)"', (STATIC / "index.html").read_text())
    assert sources, "built before it told its sources: run `make page`"
    assert sources[1] == now.hexdigest(), "web/ has changed: run `make page`"
