"""The page in Chromium from a plain file server draws as Python does, and asks no other server."""

import base64
import functools
import io
import logging
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import swiftpie
from swiftpie.imageio.credentials import COMPOSITE, SOURCE_TYPE
from swiftpie.imageio.writing import mark_of, read_metadata
from swiftpie.mini.site import PACKAGE, read_runtime, write_page
from swiftpie.photo.search import Search
from swiftpie.scenes import scene_library
from tests.policy.project import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
logger = logging.getLogger(__name__)  # the times, with --log-cli-level=INFO
AXE = find_spec("axe_playwright_python")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCREENSHOTS = ROOT / "out" / "page"
RUNTIME = ROOT / PACKAGE
PHOTO = ROOT / "src" / "swiftpie" / "assets" / "photos" / "dahlia.jpg"
DESKTOP, PHONE = {"width": 1200, "height": 1000}, {"width": 390, "height": 844}
PATIENCE_MS = 120_000
expect = sync_api.expect
expect.set_options(timeout=PATIENCE_MS)
LEAST_DB = 40  # of a picture to Python's; the weights of the page keep five bits of their fractions

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as `apt install chromium`"),
    pytest.mark.skipif(not RUNTIME.is_file(), reason="needs `npm pack onnxruntime-web`"),
]


class FileServer(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("page")
    write_page(made, read_runtime(RUNTIME))
    return made


@pytest.fixture(scope="module")
def server(folder):
    handler = functools.partial(FileServer, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        opened.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visit:
    def __init__(self, browser, server, **options):
        self.address = f"http://127.0.0.1:{server.server_port}/"
        self.context = browser.new_context(viewport=DESKTOP, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.requests, self.faults = [], []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda note: note.type == "error" and self.faults.append(note.text))

    def open(self):
        self.page.goto(self.address)
        self.page.wait_for_selector("body[data-first-ms]")
        first = self.page.evaluate("document.body.dataset.firstMs")
        logger.info("first picture after %s ms; %s", first, self.page.text_content("#facts"))
        return self

    def idle(self):
        self.page.wait_for_selector("#veil[data-idle]", state="attached")
        expect(self.page.locator("#advice")).to_be_hidden()

    def draw(self, prompt, seed):
        self.page.fill("#prompt", prompt)
        self.page.fill("#seed", str(seed))
        self.page.click("#draw")
        self.idle()
        logger.info("%s: %s", prompt, self.page.inner_text("#status"))
        return self.picture("picture")

    def picture(self, name):
        data = self.page.evaluate(f"document.getElementById('{name}').toDataURL()")
        return Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))

    def screenshot(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser, server):
    opened = Visit(browser, server)
    yield opened.open()
    opened.context.close()
    assert not opened.faults
    assert all(url.startswith((opened.address, "blob:", "data:")) for url in opened.requests)


def likeness_db(picture, known):
    error = np.asarray(picture.convert("RGB"), float) - np.asarray(known, float)
    return 10 * np.log10(255**2 / np.square(error).mean())


def test_the_page_draws_what_python_draws(visit):
    session = swiftpie.load("mini")
    for name, prompt, seed, box in (
        ("crab", "a crab in a farm field at sunset", 7, None),
        ("robot", "a robot in a village in heavy rain at night", 2**32 - 1, None),
        ("cat", "a cat in a forest", 3, (0.5, 0.3, 0.96, 0.92)),
        ("teapot", "a red teapot", 5, None),
    ):
        visit.page.click("#spots button:has-text('right')" if box else "#spots button")
        visit.idle()
        visit.page.click(f"#subjects [title='{name}']")
        visit.idle()
        drawn = visit.draw(prompt, seed)
        known = session.personalize(
            session.named(name), prompt, seed=seed, box=box, size=(256, 256)
        ).images[0]
        logger.info("%s: %.1f dB", prompt, likeness_db(drawn, known))
        assert likeness_db(drawn, known) > LEAST_DB, prompt


def test_a_visit_begins_with_a_photograph_and_draws_as_one_types(visit):
    expect(visit.page.locator("#picture[aria-label='Drawn: a dog on a beach']")).to_be_visible()
    assert visit.page.locator(".frame img").evaluate("one => one.naturalWidth") == 768
    visit.page.press("#prompt", "End")
    visit.page.locator("#prompt").press_sequentially(" at night", delay=30)
    expect(visit.page.locator("#picture[aria-label$='at night']")).to_be_visible()
    expect(visit.page.locator("#history button")).to_have_count(2)  # and none of those between


def test_an_own_photograph_is_cut_out_as_python_does(visit):
    visit.page.set_input_files("#file", PHOTO)
    expect(visit.page.locator("#subject-note")).to_contain_text("Cut out in")
    visit.idle()
    identity = swiftpie.load("mini").encode_identity(PHOTO)
    known = identity.mask[0, 0].numpy() > 0.5
    found = np.asarray(visit.picture("cutout"))[..., 3] > 127
    shared = (known & found).sum() / (known | found).sum()
    logger.info("outlines share %.3f; %s", shared, visit.page.inner_text("#subject-note"))
    assert shared > 0.97
    expect(visit.page.locator("#picture")).to_have_attribute("aria-label", re.compile("a thing"))
    visit.screenshot("static-photograph")


def test_a_box_mends_an_outline_as_in_python(visit):
    visit.page.set_input_files("#file", PHOTO)
    visit.idle()
    visit.page.click("#mend")
    frame = visit.page.locator("#photo-frame").bounding_box()
    box = (0.25, 0.1, 0.75, 0.9)
    left, top, right, bottom = (
        frame[start] + share * frame[side]
        for share, start, side in zip(box, ("x", "y") * 2, ("width", "height") * 2, strict=True)
    )
    visit.page.mouse.move(left, top)
    visit.page.mouse.down()
    visit.page.mouse.move(right, bottom, steps=4)
    visit.page.mouse.up()
    expect(visit.page.locator("#mending")).to_be_hidden()
    visit.idle()
    known = swiftpie.load("mini").encode_identity(PHOTO, cutout=Search(box=box))
    outline = known.mask[0, 0].numpy() > 0.5
    found = np.asarray(visit.picture("cutout"))[..., 3] > 127
    assert (outline & found).sum() / (outline | found).sum() > 0.9
    visit.screenshot("static-mended")


def test_what_is_saved_says_how_it_was_made(visit, tmp_path):
    drawn = visit.draw("a crab in the desert", 11)
    with visit.page.expect_download() as download:
        visit.page.click("#save")
    download.value.save_as(tmp_path / "crab.png")
    assert np.array_equal(drawn.convert("RGB"), Image.open(tmp_path / "crab.png").convert("RGB"))
    found = read_metadata(tmp_path / "crab.png")
    assert (found["prompt"], found["seed"]) == ("a crab in the desert", "11")
    is_photo = scene_library().is_photographed(found["scene"])
    assert is_photo is (found.get(SOURCE_TYPE) == COMPOSITE)
    assert mark_of(found).encode() in (tmp_path / "crab.png").read_bytes()


def test_after_the_first_visit_no_server_is_needed(browser, folder):
    handler = functools.partial(FileServer, directory=folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    visit = Visit(browser, server).open()
    expect(visit.page.locator("#offline")).to_contain_text("works without a network")
    server.shutdown()
    server.server_close()
    visit.page.goto("about:blank")
    visit.open()
    assert visit.draw("a crab under water", 3).size == (256, 256)
    assert visit.page.evaluate("crossOriginIsolated"), "WebAssembly has threads"
    visit.context.close()
    assert not visit.faults


def test_what_the_page_cannot_draw_it_says(visit):
    visit.page.fill("#prompt", "an oil painting of a crab on a beach")
    visit.page.click("#draw")
    expect(visit.page.locator("#advice")).to_contain_text("oil painting")
    visit.page.fill("#prompt", "a crab on a blargh")
    visit.page.click("#draw")
    expect(visit.page.locator("#advice")).to_contain_text("never taught blargh")


def test_places_and_times_are_marked_as_the_prompt_says(visit):
    marked = visit.page.locator(".chips:not(#spots) [aria-pressed=true]")
    expect(marked).to_have_text(["on a beach", "by day"])
    visit.page.fill("#prompt", "a crab in a castle at night")
    expect(marked).to_have_text(["at night"])
    visit.page.click("#places button:has-text('desert')")
    visit.idle()
    expect(visit.page.locator("#prompt")).to_have_value("a crab in the desert at night")
    expect(marked).to_have_text(["in the desert", "at night"])


@pytest.mark.skipif(AXE is None, reason="needs `pip install axe-playwright-python`")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, server, scheme):
    visit = Visit(browser, server, color_scheme=scheme, bypass_csp=True).open()
    for size, name in ((DESKTOP, "desktop"), (PHONE, "phone")):
        visit.page.set_viewport_size(size)
        visit.page.evaluate(Path(AXE.origin).with_name("axe.min.js").read_text())
        found = visit.page.evaluate("async () => (await axe.run()).violations")
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == []
        visit.screenshot(f"static-{scheme}-{name}")
    visit.context.close()
