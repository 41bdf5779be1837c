"""The page in a real browser: what a visitor does, by mouse, touch and keys, and what goes wrong.

Where there is a folder out/page, screenshots are left in it, to be looked at.
"""

import base64
import io
import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import swiftpie
from swiftpie.apps.serve.limits import Limits
from swiftpie.backbones.components import load_components
from swiftpie.engine.session import Session
from swiftpie.faces import FACE_ENCODERS
from swiftpie.imageio.decoding import FORMATS
from swiftpie.imageio.writing import read_metadata
from swiftpie.models.vocabulary import Vocabulary
from tests.apps.serve.conftest import Running, serving, to_png
from tests.backbones import tiny_sana
from tests.faces.tiny_faces import PHOTO
from tests.faces.tiny_world import LOOKING, make_world, small_session
from tests.parity.sana import PRESET as SANA
from tests.policy.project import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOTS = ROOT / "out" / "page"
STATIC = ROOT / "src" / "swiftpie" / "apps" / "serve" / "static"
PATIENCE_MS = 30_000
RESTS = """() => new Promise((resolve) => {
  let before = scrollY;
  const look = setInterval(() => {
    if (scrollY === before) resolve(clearInterval(look));
    before = scrollY;
  }, 100);
})"""
LOOK_EVERY_MS = 50  # and not at every frame, which the browser would have to paint
FIRST_PICTURE_MS = 1_000  # after the page has come
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
SHOWN = {"width": 1280, "height": 840}
PROMPT = "What should the picture show?"
CHANGE = "What should it show?"
ON_A_TABLE = "a photo of a hamster on a wooden table"
SIDE_PX = 64
BLOCK = np.ones((3, 3, 1), dtype=np.uint8)
SIDES = (("x", "width"), ("y", "height"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as `apt install chromium`"),
]
expect = sync_api.expect
expect.set_options(timeout=PATIENCE_MS)  # beside other work, five seconds are short

REPORTS = """
window.reports = [];
addEventListener("securitypolicyviolation",
  (event) => reports.push(`${event.violatedDirective} ${event.blockedURI}`), true);
"""
KEPT = """
() => {
  const shown = document.querySelector("img.drawn");
  const step = document.querySelector("ol button[aria-current=true] img");
  return shown && step && shown.src === step.src;
}
"""
SENT = """
() => {
  window.sent = [];
  const { fetch } = window;
  window.fetch = (path, init) => {
    if (init?.body instanceof FormData) window.sent.push(init.body.get("image").size);
    return fetch(path, init);
  };
}
"""
GIVE = """
([kind, files]) => {
  const given = new DataTransfer();
  for (const [name, type, text] of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    given.items.add(new File([bytes], name, { type }));
  }
  const more = kind === "paste" ? { clipboardData: given } : { dataTransfer: given };
  const Made = kind === "paste" ? ClipboardEvent : DragEvent;
  for (const name of kind === "paste" ? ["paste"] : ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new Made(name, { bubbles: true, cancelable: true, ...more }));
  }
}
"""


@pytest.fixture(scope="module")
def small(session):
    """The embedded model with the smallest pictures that there are: the page is what is tried."""
    preset = replace(session.components.preset, image_size_px=SIDE_PX, more_sizes_px=())
    return Session(replace(session.components, preset=preset))


@pytest.fixture(scope="module")
def server(small):
    with serving(small) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--use-fake-device-for-media-stream"]
        )
        yield chromium
        chromium.close()


class Visit:
    """One visitor with a page of their own."""

    def __init__(self, page, url):
        self.page, self.url = page, url
        self.foreign, self.faults, self.sent = [], [], []
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(REPORTS)
        page.on("request", lambda request: self._look_at(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._hear)
        page.on("websocket", self._listen)

    def _look_at(self, url):
        if not url.startswith((self.url, "blob:", "data:")):
            self.foreign.append(url)

    def _hear(self, told):
        is_refusal = told.text.startswith("Failed to load resource")  # the page tells it in words
        if told.type == "error" and not is_refusal:
            self.faults.append(told.text)

    def _listen(self, socket):
        assert socket.url.startswith(self.url.replace("http", "ws"))
        socket.on("framesent", lambda text: self.sent.append(json.loads(text)))

    def open(self, path="/"):
        self.page.goto(self.url + path)
        return self

    def first_picture(self):
        expect(self.picture).to_be_visible()
        self.settled()
        return self

    @property
    def picture(self):
        return self.page.locator("img.drawn")

    @property
    def prompt(self):
        return self.page.get_by_label(PROMPT)

    def settled(self):
        """Wait until the picture is the newest one's."""
        stage = self.page.locator("section[aria-label=Picture]")
        expect(stage).to_have_attribute("aria-busy", "false")

    def kept(self):
        """Wait until the draft is a step of the history."""
        self.settled()
        # Both are asked at once: an address read before could be of a picture that is gone since.
        self.page.wait_for_function(KEPT, polling=LOOK_EVERY_MS)

    def kept_in_history(self):
        """Wait until a step of the history shows the draft, wherever its picture stands."""
        self.settled()
        expect(self.page.locator("ol button[aria-current=true]")).to_be_visible()
        self.page.wait_for_timeout(1_000)

    def stored(self):
        """Wait until the browser keeps what was done."""
        self.page.wait_for_timeout(800)  # it is written a moment after the last change

    def strip_drawn(self):
        """Wait until the small pictures are of this draft."""
        expect(self.page.locator(".strip")).to_have_attribute("aria-busy", "false")
        expect(self.page.locator(".strip img")).to_have_count(6)

    def after(self, act):
        """Do something and return the picture that comes of it."""
        before = self.picture.get_attribute("src")
        act()
        expect(self.picture).not_to_have_attribute("src", before)
        self.settled()
        return self.pixels()

    def pixels(self):
        return self.pixels_of(self.picture)

    def pixels_of(self, shown):
        source = shown.get_attribute("src")
        found = self.page.evaluate(
            """async (url) => {
              const image = new Image(); image.src = url; await image.decode();
              const sheet = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
              const paper = sheet.getContext("2d"); paper.drawImage(image, 0, 0);
              const { data } = paper.getImageData(0, 0, sheet.width, sheet.height);
              const reader = new FileReader();
              const read = new Promise((done) => { reader.onload = done; });
              reader.readAsDataURL(new Blob([data]));  // a list of numbers takes seconds
              await read;
              return [sheet.height, sheet.width, reader.result.split(",")[1]];
            }""",
            source,
        )
        height, width, values = found
        flat = np.frombuffer(base64.b64decode(values), dtype=np.uint8)
        return flat.reshape(height, width, 4)[..., :3]

    def give(self, kind, *files):
        told = [(name, type_, base64.b64encode(data).decode()) for name, type_, data in files]
        self.page.evaluate(GIVE, [kind, told])

    def subject(self, name):
        return self.page.locator("section[aria-labelledby=subjects]").get_by_role(
            "button", name=name, exact=True
        )

    def touch(self, sheet, start, end):
        """Draw with a finger over an element, between points in shares of it."""
        sheet.scroll_into_view_if_needed()
        place = sheet.bounding_box()
        fingers = self.page.context.new_cdp_session(self.page)

        def send(kind, *points):
            told = [
                {"x": place["x"] + x * place["width"], "y": place["y"] + y * place["height"]}
                for x, y in points
            ]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

        send("touchStart", start)
        for share in (0.25, 0.5, 0.75, 1):
            send("touchMove", [a + (b - a) * share for a, b in zip(start, end, strict=True)])
        send("touchEnd")
        self.page.evaluate(RESTS)  # a tap while the page still scrolls is taken for part of that

    def drag(self, sheet, start, end):
        """Draw with the mouse over an element, between points in shares of it."""
        sheet.scroll_into_view_if_needed()
        place = sheet.bounding_box()

        def go(to, **more):
            x, y = (place[a] + to[i] * place[b] for i, (a, b) in enumerate(SIDES))
            self.page.mouse.move(x, y, **more)

        go(start)
        self.page.mouse.down()
        go(end, steps=5)
        self.page.mouse.up()

    def photograph(self, photo, task):
        """Open a picture to do something with it."""
        self.page.get_by_text("Edit", exact=True).click()
        self.page.get_by_label("A picture to edit").set_input_files(
            {"name": photo[0], "mimeType": photo[1], "buffer": photo[2]}
        )
        expect(self.page.get_by_alt_text("The picture to edit")).to_be_visible()
        self.page.get_by_label(task, exact=True).check(force=True)  # what is seen is its label

    def saved(self, button):
        """Return what a button writes to a file, and its name."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=button).click()
        return Path(download.value.path()).read_bytes(), download.value.suggested_filename

    def library(self):
        """Return what the server knows of this visitor's subjects."""
        return self.page.evaluate("async () => (await (await fetch('/v1/identities')).json()).data")

    def forget(self):
        """Let the server forget all subjects, and tell the page nothing."""
        for one in self.library():
            self.page.evaluate(
                "(id) => fetch(`/v1/identities/${id}`, { method: 'DELETE' })", one["id"]
            )

    def newest(self):
        return self.sent[-1]

    def screenshot(self, name, *, full_page=False):
        if SCREENSHOTS.is_dir():
            self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full_page)

    def check_quiet(self):
        assert self.page.evaluate("window.reports ?? []") == []
        assert self.foreign == []
        assert self.faults == []


@contextmanager
def visiting(browser, url, **options):
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    visit = Visit(context.new_page(), url)
    try:
        yield visit
    finally:
        context.close()


@pytest.fixture
def visit(browser, server):
    """A visitor whom the server does not know; nothing they do may be reported by the browser."""
    with visiting(browser, server.url) as one:
        yield one.open()
        one.check_quiet()


@pytest.fixture
def finer(browser, session):
    """The same where pictures are large enough for edits that find their region by themselves."""
    with serving(session) as running, visiting(browser, running.url) as one:
        yield one.open()
        one.check_quiet()


@pytest.fixture(scope="module")
def robot():
    return ("robot.webp", "image/webp", sample("1f916"))


@pytest.fixture(scope="module")
def photo():
    """A yellow and red ball on a blue ground, with a name as cameras give them."""
    y, x = np.mgrid[:240, :320]
    inside = (x - 190) ** 2 + (y - 120) ** 2 < 70**2
    ball = np.where(y[..., None] < 130, (240, 200, 40), (200, 50, 40))
    pixels = np.where(inside[..., None], ball, (40, 70, 160)).astype(np.uint8)
    return ("IMG_2041.png", "image/png", to_png(Image.fromarray(pixels)))


@pytest.fixture(scope="module")
def large(photo):
    """The same in more pixels than are sent while somebody works on it, each block of its own."""
    drawn = np.asarray(Image.open(io.BytesIO(photo[2])))
    grain = np.random.default_rng(1).integers(0, 12, (720, 960, 1), dtype=np.uint8)
    return (photo[0], photo[1], to_png(Image.fromarray(np.kron(drawn, BLOCK) + grain)))


def sample(code):
    return (ROOT / f"src/swiftpie/assets/samples/{code}.webp").read_bytes()


def differs(one, other):
    return np.abs(one.astype(int) - other.astype(int)).mean() > 1


def test_a_first_visit_shows_a_picture_at_once(visit):
    expect(visit.page.locator(".picture img")).to_be_visible(timeout=FIRST_PICTURE_MS)
    visit.first_picture()
    assert visit.pixels().std() > 10
    expect(visit.prompt).to_have_value("a photo of a hamster on a beach")
    expect(visit.page.locator(".state")).to_have_text(re.compile(r"\d+ ms"))
    visit.screenshot("first-visit")


def test_a_dropped_subject_is_drawn_while_somebody_types(visit, robot):
    first = visit.first_picture().pixels()
    dropped = visit.after(lambda: visit.give("drop", robot))
    assert differs(first, dropped)
    expect(visit.subject("robot")).to_have_attribute("aria-pressed", "true")
    expect(visit.prompt).to_have_value("a photo of a robot on a beach")
    visit.sent.clear()
    visit.prompt.fill("")
    visit.prompt.press_sequentially("a robot in space", delay=40)
    visit.settled()
    prompts = [one["prompt"] for one in visit.sent]
    assert len(prompts) > 8  # nearly every keystroke asks
    assert prompts[-1] == "a robot in space"
    assert differs(dropped, visit.pixels())
    visit.screenshot("typed")


def test_a_subject_may_be_pasted_or_photographed(visit, robot):
    visit.first_picture()
    visit.after(lambda: visit.give("paste", robot))
    visit.page.context.grant_permissions(["camera"])
    visit.page.get_by_role("button", name="Take a photograph").click()
    shoot = visit.page.get_by_role("button", name="Take the picture")
    expect(shoot).to_be_enabled()
    visit.screenshot("camera")
    shoot.click()
    # The browser's own test picture has no clear subject, so both answers are right.
    taken = visit.subject("object").or_(visit.page.get_by_text("No subject could be told"))
    expect(taken.first).to_be_visible()


def test_without_a_camera_a_picture_may_be_chosen(browser, server, robot):
    with visiting(browser, server.url, permissions=[]) as visit:
        visit.open().first_picture()
        visit.page.evaluate("delete Navigator.prototype.mediaDevices")
        visit.page.get_by_role("button", name="Take a photograph").click()
        expect(visit.page.get_by_role("alert")).to_contain_text("No camera can be used")
        visit.page.get_by_label("Photograph", exact=True).set_input_files(
            {"name": "robot.webp", "mimeType": robot[1], "buffer": robot[2]}
        )
        expect(visit.subject("robot")).to_be_visible()
        visit.check_quiet()


def test_a_model_that_reads_no_subjects_draws_what_is_typed(browser, tmp_path):
    place = tiny_sana.make_pipeline(tmp_path / "pipeline")
    session = Session(load_components(SANA, weights=place))
    with serving(session) as running, visiting(browser, running.url) as visit:
        visit.open().first_picture()
        before = visit.pixels()
        after = visit.after(lambda: visit.prompt.fill("a lighthouse at night"))
        assert differs(before, after)
        assert visit.sent[-1]["swiftpie"].get("subjects", []) == []
        visit.check_quiet()


def test_the_file_of_a_subject_is_added_and_one_that_is_none_is_refused(
    browser, server, small, sprite, tmp_path
):
    small.save_identity(small.encode_identity(sprite), tmp_path / "rex.spid")
    (tmp_path / "none.spid").write_bytes(b"no identity")
    with visiting(browser, server.url) as visit:
        visit.open().first_picture()
        chooser = visit.page.get_by_label("Pictures of a subject")
        visit.after(lambda: chooser.set_input_files(tmp_path / "rex.spid"))
        expect(visit.subject("rex")).to_have_attribute("aria-pressed", "true")
        (known,) = [one for one in visit.library() if one["name"] == "rex"]
        assert known["pictures"] == []
        chooser.set_input_files(tmp_path / "none.spid")
        expect(visit.page.get_by_role("alert")).to_contain_text("is not an identity file")
        with visit.page.expect_response(lambda answer: answer.request.method == "DELETE"):
            visit.page.get_by_role("button", name="Delete rex").click()
        expect(visit.subject("rex")).to_have_count(0)


def test_a_person_is_added_by_the_face_and_steered_where_the_model_knows_faces(browser, tmp_path):
    world = make_world(tmp_path)
    encoder = FACE_ENCODERS.get("opencv").open(world / "faces")
    session = small_session(world, adapter=LOOKING).with_face_encoder(encoder)
    with (
        serving(session, facts={"knows_faces": True}) as running,
        visiting(browser, running.url) as visit,
    ):
        visit.open().first_picture()
        person = visit.page.get_by_label("A photograph of a person")
        visit.after(lambda: person.set_input_files(PHOTO))
        expect(visit.subject("person")).to_have_attribute("aria-pressed", "true")
        (known,) = [one for one in visit.library() if one["is_face"]]
        assert (known["name"], known["pictures"]) == ("person", [])
        plain = visit.pixels()
        visit.after(lambda: visit.page.get_by_label("Steering").select_option("am1"))
        assert visit.sent[-1]["swiftpie"]["identity_guidance"] == "am1"
        assert differs(plain, visit.pixels())
        visit.screenshot("person")
        chooser = visit.page.get_by_label("A picture whose style is taken")
        visit.after(lambda: chooser.set_input_files(PHOTO))
        way = visit.page.get_by_label("Its style comes by")
        way.select_option("rendition")
        expect(visit.page.get_by_role("alert")).to_contain_text("'rendition'")
        with visit.page.expect_response(lambda answer: answer.request.method == "DELETE"):
            visit.page.get_by_role("button", name="Delete person").click()
        expect(visit.subject("person")).to_have_count(0)
        assert not any(one["is_face"] for one in visit.library())
        visit.check_quiet()


def test_a_model_that_draws_no_faces_says_so(visit):
    expect(visit.page.get_by_text("mini draws no people by their faces.")).to_be_visible()


def test_several_pictures_are_one_subject_or_several(visit, robot):
    visit.first_picture()
    both = (robot, ("crab.webp", "image/webp", sample("1f980")))
    visit.give("drop", *both)
    visit.page.get_by_role("button", name="2 subjects").click()
    expect(visit.subject("crab")).to_be_visible()
    visit.give("drop", robot, ("robot side.webp", "image/webp", sample("1f916")))
    visit.page.get_by_role("button", name="one subject").click()
    expect(visit.subject("robot")).to_have_count(2)
    assert 2 in {one["num_pictures"] for one in visit.library()}


def test_a_cut_out_is_corrected_with_every_tool(visit, photo):
    visit.first_picture()
    visit.give("drop", photo)
    expect(visit.subject("object")).to_be_visible()
    visit.page.get_by_role("button", name="Cut-out and pictures of object").click()
    dialog = visit.page.get_by_role("dialog")
    seen = dialog.get_by_alt_text("The subject as the encoder sees it")
    sheet = dialog.get_by_role("application")
    strokes = {
        "Brush": ((0.45, 0.3), (0.75, 0.75)),
        "Eraser": ((0.5, 0.3), (0.7, 0.75)),
        "Box": ((0.3, 0.1), (0.9, 0.9)),
        "Point off it": ((0.1, 0.1), (0.1, 0.1)),  # on the ground
        "Point on it": ((0.45, 0.3), (0.75, 0.75)),
    }
    for tool, (start, end) in strokes.items():
        before = seen.get_attribute("src")
        dialog.get_by_text(tool, exact=True).click()
        visit.drag(sheet, start, end)
        expect(seen).not_to_have_attribute("src", before)
        visit.screenshot(f"cut-out-{tool.lower().replace(' ', '-')}")
    dialog.get_by_role("button", name="Use this").click()
    expect(dialog).to_be_hidden()
    expect(visit.subject("object")).to_have_count(1)
    visit.settled()
    # What was tried on the way is not kept.
    for _ in range(50):
        if len(visit.library()) == 2:
            break
        time.sleep(0.1)
    assert sorted(one["name"] for one in visit.library()) == ["hamster", "object"]


def test_the_cut_out_may_be_painted_with_keys(visit, photo):
    visit.first_picture()
    visit.give("drop", photo)
    visit.page.get_by_role("button", name="Cut-out and pictures of object").click()
    dialog = visit.page.get_by_role("dialog")
    seen = dialog.get_by_alt_text("The subject as the encoder sees it")
    before = seen.get_attribute("src")
    sheet = dialog.get_by_role("application")
    sheet.focus()
    for key in ("ArrowLeft", "Shift+ArrowUp", " "):
        visit.page.keyboard.press(key)
    expect(seen).not_to_have_attribute("src", before)
    dialog.get_by_role("button", name="Undo the last stroke").click()
    for _ in range(2):  # a question that is left is asked again
        visit.page.keyboard.press("Escape")
        expect(dialog.get_by_role("alert")).to_have_text("Leave without what you painted?")
        visit.screenshot("cut-out-asks")
        expect(dialog.get_by_role("button", name="Stay")).to_be_focused()
        visit.page.keyboard.press("Escape")
        expect(dialog.get_by_role("alert")).to_have_count(0)
        expect(dialog).to_be_visible()
    visit.page.keyboard.press("Escape")
    dialog.get_by_role("button", name="Discard it").click()
    expect(dialog).to_be_hidden()
    visit.page.get_by_role("button", name="Cut-out and pictures of object").click()
    expect(dialog.get_by_role("application")).to_be_visible()
    visit.page.keyboard.press("Escape")  # nothing was painted
    expect(dialog).to_be_hidden()


def test_a_subject_of_an_earlier_visit_is_renamed_and_its_cut_out_opened_again(visit, photo):
    visit.first_picture()
    visit.give("drop", photo)
    expect(visit.subject("object")).to_be_visible()
    visit.page.reload()
    visit.first_picture()
    visit.page.get_by_role("button", name="Cut-out and pictures of object").click()
    dialog = visit.page.get_by_role("dialog")
    expect(dialog.get_by_role("application")).to_be_visible()
    dialog.get_by_label("Name").fill("ball")
    dialog.get_by_role("button", name="Use this").click()
    expect(visit.subject("ball")).to_be_visible()
    assert "ball" in {one["name"] for one in visit.library()}
    visit.page.get_by_role("button", name="Cut-out and pictures of ball").click()
    seen = dialog.get_by_alt_text("The subject as the encoder sees it")
    before = seen.get_attribute("src")
    place = dialog.get_by_role("application").bounding_box()
    visit.page.mouse.move(place["x"] + 20, place["y"] + 20)
    visit.page.mouse.down()
    visit.page.mouse.move(place["x"] + 80, place["y"] + 20, steps=3)
    visit.page.mouse.up()
    expect(seen).not_to_have_attribute("src", before)
    dialog.get_by_role("button", name="Use this").click()
    expect(dialog).to_be_hidden()
    visit.page.reload()
    visit.first_picture()
    visit.page.get_by_role("button", name="Cut-out and pictures of ball").click()
    expect(dialog.get_by_role("application")).to_be_visible()  # its mask was kept with it
    visit.screenshot("cut-out-again")


def test_a_server_that_loads_its_model_is_waited_for(browser, server):
    with visiting(browser, server.url) as visit:
        visit.page.route("**/health/ready", lambda route: route.fulfill(status=503, json={}))
        visit.open()
        expect(visit.page.locator(".state")).to_have_text("getting ready")
        expect(visit.page.get_by_text("the model is being loaded")).to_be_visible()
        visit.page.unroute("**/health/ready")
        visit.first_picture()


def test_a_reload_returns_to_prompt_subjects_history_and_pictures(visit, photo):
    visit.first_picture()
    visit.kept()
    visit.give("drop", photo)
    expect(visit.subject("object")).to_have_attribute("aria-pressed", "true")
    visit.page.get_by_label("Balance", exact=True).fill("0.3")
    visit.after(lambda: visit.prompt.fill("an object in the snow"))
    visit.kept()
    drawn, steps = visit.pixels(), visit.page.locator("ol button").count()
    visit.stored()
    visit.page.reload()
    expect(visit.prompt).to_have_value("an object in the snow")
    expect(visit.page.locator("ol button")).to_have_count(steps)
    expect(visit.subject("object")).to_have_attribute("aria-pressed", "true")
    expect(visit.page.get_by_label("Balance", exact=True)).to_have_value("0.3")
    assert (visit.pixels() == drawn).all()  # it was not drawn again
    visit.page.keyboard.press("Control+z")
    expect(visit.prompt).not_to_have_value("an object in the snow")
    visit.stored()
    visit.page.reload()
    expect(visit.prompt).not_to_have_value("an object in the snow")
    visit.page.keyboard.press("Control+Shift+z")
    expect(visit.prompt).to_have_value("an object in the snow")


def test_a_reload_returns_to_a_photograph_and_what_was_painted_over_it(visit, photo):
    visit.first_picture()
    visit.photograph(photo, "Remove")
    visit.drag(visit.page.get_by_role("application"), (0.45, 0.4), (0.7, 0.6))
    expect(visit.picture).to_have_attribute("alt", "the photograph without it")
    visit.kept_in_history()
    visit.stored()
    visit.page.reload()
    expect(visit.page.get_by_label("Remove", exact=True)).to_be_checked()
    expect(visit.picture).to_have_attribute("alt", "the photograph without it")
    data, _ = visit.saved("Download")
    assert Image.open(io.BytesIO(data)).size == (320, 240)


def test_subjects_of_a_server_that_was_started_anew_are_encoded_when_they_are_needed(
    browser, small, photo
):
    with visiting(browser, "") as visit:
        with serving(small) as first:
            visit.url = first.url
            visit.open().first_picture()
            visit.give("drop", photo)
            expect(visit.subject("object")).to_have_attribute("aria-pressed", "true")
            visit.kept()
            visit.stored()
            visit.page.goto("about:blank")  # else it would tell the next server before
        second = Running(small, limits=Limits(), token=None)
        second.server.config.port = first.port
        with second:
            visit.open()
            expect(visit.subject("object")).to_have_attribute("aria-pressed", "true")
            visit.after(lambda: visit.prompt.fill("an object in space"))
            assert [one["name"] for one in visit.library()] == ["object"]  # no hamster yet
            visit.after(visit.subject("hamster, a sample").or_(visit.subject("hamster")).click)
            assert sorted(one["name"] for one in visit.library()) == ["hamster", "object"]
            expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_a_scene_is_chosen_by_its_picture_by_words_alone_or_from_a_photograph(visit, photo):
    words = visit.first_picture().pixels()
    assert "scene" not in visit.newest()["swiftpie"]
    visit.page.get_by_label("Search the scenes").fill("castle")
    castle = visit.page.get_by_role("button", name="castle, a scene")
    expect(castle.locator("img")).to_have_attribute("src", re.compile("^blob:"))
    in_castle = visit.after(castle.click)
    assert visit.newest()["swiftpie"]["scene"] == "castle"
    expect(castle).to_have_attribute("aria-pressed", "true")
    assert differs(words, in_castle)
    visit.screenshot("scene")
    alone = visit.after(visit.page.get_by_role("button", name="From words alone").click)
    assert visit.newest()["swiftpie"]["scene"] == "words"
    assert differs(words, alone)
    own = visit.page.get_by_label("A photograph of a place")
    given = {"name": photo[0], "mimeType": photo[1], "buffer": photo[2]}
    visit.after(lambda: own.set_input_files(given))
    assert visit.newest()["swiftpie"]["scene"].startswith("pic_")
    blue = visit.pixels()[:40, :40].reshape(-1, 3).mean(0)
    assert blue[2] > blue[0] + 40  # the ground of the photograph
    visit.kept()
    data, _ = visit.saved("Download")
    assert read_metadata(data)["scene"] == "a picture of your own"
    visit.screenshot("scene-own")
    visit.after(visit.page.get_by_role("button", name="By my words").click)
    assert "scene" not in visit.newest()["swiftpie"]


def test_a_scene_of_ones_own_outlives_a_reload_and_a_restart_of_the_server(browser, small, photo):
    with visiting(browser, "") as visit:
        with serving(small) as first:
            visit.url = first.url
            visit.open().first_picture()
            own = visit.page.get_by_label("A photograph of a place")
            given = {"name": photo[0], "mimeType": photo[1], "buffer": photo[2]}
            visit.after(lambda: own.set_input_files(given))
            visit.kept()
            visit.stored()
            visit.page.goto("about:blank")
        second = Running(small, limits=Limits(), token=None)
        second.server.config.port = first.port
        with second:
            visit.open()
            visit.after(lambda: visit.prompt.fill("a photo of a hamster at night"))
            assert visit.newest()["swiftpie"]["scene"].startswith("pic_")
            expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_what_is_kept_is_told_in_mb_and_cleared_by_a_button(visit, photo):
    visit.first_picture()
    visit.give("drop", photo)
    expect(visit.subject("object")).to_be_visible()
    visit.kept()
    clear = visit.page.get_by_role("button", name=re.compile(r"Delete what is kept \(\d+\.\d MB\)"))
    clear.click()
    visit.screenshot("clear")
    visit.page.get_by_role("button", name="Delete", exact=True).click()
    expect(visit.subject("object")).to_have_count(0)
    visit.first_picture()
    expect(visit.prompt).to_have_value("a photo of a hamster on a beach")
    assert [one["name"] for one in visit.library()] == ["hamster"]


def test_pictures_wait_for_a_full_queue_and_go_before_variations(visit, photo):
    visit.first_picture()
    visit.kept()
    visit.strip_drawn()
    asked = []

    def refuse(route):
        asked.append(route.request.url.rsplit("/", 1)[-1])
        if asked.count("identities") < 3 and asked[-1] == "identities":
            body = {"error": {"message": "Full.", "type": "", "param": None, "code": "rate"}}
            route.fulfill(status=429, json=body, headers={"retry-after": "1"})
        else:
            route.continue_()

    visit.page.route("**/v1/identities", refuse)
    visit.page.route("**/v1/images/generations", refuse)
    visit.give("drop", photo)
    expect(visit.page.locator("p.busy")).to_contain_text(
        "no room now. Your picture is sent again in"
    )
    visit.screenshot("waits")
    visit.prompt.fill("a hamster in space")
    visit.settled()
    expect(visit.subject("object")).to_be_visible()
    visit.kept()
    visit.strip_drawn()
    sent = [one for one in asked if one in {"identities", "generations"}]
    assert sent[:3] == ["identities"] * 3
    assert "generations" in sent[3:]


def test_a_large_photograph_is_shrunk_before_it_is_sent(visit):
    visit.first_picture()
    y, x = np.mgrid[:3000, :4000]
    inside = (x - 2000) ** 2 + (y - 1500) ** 2 < 900**2
    grain = np.random.default_rng(1).integers(0, 25, (3000, 4000, 1), dtype=np.uint8)
    pixels = np.where(inside[..., None], (230, 190, 40), (40, 70, 160)).astype(np.uint8) + grain
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=98)
    assert len(file.getvalue()) > 4e6
    visit.page.evaluate(SENT)
    visit.give("drop", ("IMG_1.jpg", "image/jpeg", file.getvalue()))
    expect(
        visit.page.get_by_text(re.compile(r"Sent as \d\.\d MB in place of \d+(\.\d)? MB"))
    ).to_be_visible()
    expect(visit.subject("object")).to_be_visible()
    sent = visit.page.evaluate("window.sent")
    assert len(sent) == 2  # whether it says what made it, and the subject
    assert max(sent) < 2e6
    visit.screenshot("shrunk")


def test_all_that_the_server_reads_may_be_chosen_and_a_foreign_kind_is_told(visit, photo):
    visit.first_picture()
    offered = visit.page.get_by_label("Pictures of a subject").get_attribute("accept")
    assert {f"image/{name.lower()}" for name in FORMATS} <= set(offered.split(","))
    assert "image/heic" in offered
    tiff = io.BytesIO()
    Image.open(io.BytesIO(photo[2])).save(tiff, "TIFF")
    visit.give("drop", ("ball.tiff", "image/tiff", tiff.getvalue()))  # Chromium cannot show it
    expect(visit.subject("ball")).to_have_attribute("aria-pressed", "true")
    visit.give("drop", ("IMG_1.HEIC", "", b"\0\0\0\x18ftypheic" + bytes(400_000)))
    told = visit.page.locator("section[aria-labelledby=subjects]").get_by_role("alert")
    expect(told).to_contain_text("“IMG_1.HEIC” has 0.4 MB, and this browser cannot read it.")


def test_what_cannot_be_cut_out_may_be_marked_by_hand(visit):
    visit.first_picture()
    flat = to_png(Image.new("RGB", (160, 120), (90, 90, 90)))
    visit.give("drop", ("wall.png", "image/png", flat))
    visit.page.get_by_role("button", name="Mark it yourself").click()
    dialog = visit.page.get_by_role("dialog")
    sheet = dialog.get_by_role("application")
    expect(sheet).to_be_visible()
    place = sheet.bounding_box()
    visit.page.mouse.move(place["x"] + place["width"] / 3, place["y"] + place["height"] / 2)
    visit.page.mouse.down()
    visit.page.mouse.move(
        place["x"] + place["width"] / 2, place["y"] + place["height"] / 2, steps=4
    )
    visit.page.mouse.up()
    expect(dialog.get_by_alt_text("The subject as the encoder sees it")).to_be_visible()
    dialog.get_by_role("button", name="Use this").click()
    expect(visit.subject("wall")).to_be_visible()


def test_a_box_places_the_subject_by_mouse_and_by_keys(visit):
    visit.first_picture()
    place = visit.page.locator(".layer").bounding_box()

    def point(x, y):
        return place["x"] + x * place["width"], place["y"] + y * place["height"]

    visit.page.mouse.move(*point(0.1, 0.5))
    visit.page.mouse.down()
    visit.page.mouse.move(*point(0.5, 0.9), steps=5)
    visit.page.mouse.up()
    visit.kept()
    assert visit.newest()["swiftpie"]["subjects"][0]["box"] == pytest.approx(
        [0.1, 0.5, 0.5, 0.9], abs=0.01
    )
    on_the_left = visit.pixels()
    visit.screenshot("box")
    body = visit.page.get_by_role("button", name="Move hamster")
    body.hover()
    visit.page.mouse.down()
    visit.page.mouse.move(*point(0.7, 0.7), steps=5)
    visit.page.mouse.up()
    visit.settled()
    assert visit.newest()["swiftpie"]["subjects"][0]["box"][0] == pytest.approx(0.5, abs=0.02)
    assert differs(on_the_left, visit.pixels())
    corner = visit.page.get_by_role("button", name="Size of hamster, top left corner")
    visit.after(lambda: corner.press("Shift+ArrowUp"))
    box = visit.newest()["swiftpie"]["subjects"][0]["box"]
    assert box[3] - box[1] == pytest.approx(0.5, abs=0.01)
    visit.after(lambda: body.press("ArrowLeft"))
    assert visit.newest()["swiftpie"]["subjects"][0]["box"][0] == pytest.approx(box[0] - 0.02)
    visit.after(lambda: body.press("Delete"))
    assert "box" not in visit.newest()["swiftpie"]["subjects"][0]


def test_a_box_is_drawn_and_moved_by_touch(browser, server):
    with visiting(browser, server.url, viewport=PHONE, has_touch=True, is_mobile=True) as visit:
        visit.open().first_picture()
        layer = visit.page.locator(".layer")
        visit.touch(layer, (0.1, 0.9), (0.5, 0.3))
        assert all("box" not in one["swiftpie"]["subjects"][0] for one in visit.sent)  # it scrolls
        visit.page.get_by_role("button", name="Place hamster by a box").tap()
        visit.settled()
        visit.touch(layer, (0.05, 0.1), (0.55, 0.3))
        visit.settled()
        box = visit.newest()["swiftpie"]["subjects"][0]["box"]
        assert box == pytest.approx([0.05, 0.1, 0.55, 0.3], abs=0.02)
        visit.touch(layer, (0.3, 0.2), (0.7, 0.6))
        visit.settled()
        moved = visit.newest()["swiftpie"]["subjects"][0]["box"]
        assert moved == pytest.approx([0.45, 0.5, 0.95, 0.7], abs=0.03)
        visit.screenshot("phone-box")
        visit.check_quiet()


def test_a_cut_out_is_painted_by_touch(browser, server, photo):
    with visiting(browser, server.url, viewport=PHONE, has_touch=True, is_mobile=True) as visit:
        visit.open().first_picture()
        visit.give("drop", photo)
        visit.page.get_by_role("button", name="Cut-out and pictures of object").tap()
        dialog = visit.page.get_by_role("dialog")
        seen = dialog.get_by_alt_text("The subject as the encoder sees it")
        before = seen.get_attribute("src")
        visit.touch(dialog.get_by_role("application"), (0.05, 0.2), (0.3, 0.2))
        expect(seen).not_to_have_attribute("src", before)
        visit.screenshot("phone-cut-out")
        visit.check_quiet()


def test_a_sample_is_added_by_one_click(visit):
    visit.first_picture()
    visit.subject("robot, a sample").hover()
    visit.page.get_by_role("button", name="Add robot to the picture").click()
    expect(visit.prompt).to_have_value("a photo of a hamster and a robot on a beach")
    visit.kept()
    assert len(visit.newest()["swiftpie"]["subjects"]) == 2
    visit.page.reload()
    visit.first_picture()
    expect(visit.subject("robot")).to_have_count(1)  # still a sample, not another one of them


def test_a_subject_that_the_prompt_names_already_is_not_named_twice(visit):
    said = "a photo of a hamster and a robot on a beach"
    visit.first_picture()
    visit.after(lambda: visit.prompt.fill(said))  # the robot is the library's
    visit.subject("robot, a sample").hover()
    visit.after(visit.page.get_by_role("button", name="Add robot to the picture").click)
    assert len(visit.newest()["swiftpie"]["subjects"]) == 2
    expect(visit.prompt).to_have_value(said)


def test_two_subjects_share_a_picture(visit, robot):
    one = visit.first_picture().pixels()
    visit.give("drop", robot)
    expect(visit.subject("robot")).to_have_attribute("aria-pressed", "true")
    visit.subject("hamster").hover()
    visit.page.get_by_role("button", name="Add hamster to the picture").click()
    expect(visit.prompt).to_have_value("a photo of a robot and a hamster on a beach")
    visit.kept()
    placed = visit.newest()["swiftpie"]["subjects"]
    assert [len(subject["box"]) for subject in placed] == [4, 4]
    assert differs(one, visit.pixels())
    visit.after(visit.page.get_by_role("button", name="in space").click)
    expect(visit.prompt).to_have_value("a photo of a robot and a hamster in space")
    visit.kept()
    visit.strip_drawn()
    visit.page.locator(".layer").hover(position={"x": 10, "y": 10})
    visit.page.wait_for_timeout(300)  # boxes come slowly
    visit.screenshot("two-subjects")
    visit.after(visit.page.get_by_role("button", name="Leave out robot").click)
    expect(visit.prompt).to_have_value("a photo of a hamster in space")
    assert len(visit.newest()["swiftpie"]["subjects"]) == 1


def test_strengths_and_seeds_change_the_picture(visit):
    visit.first_picture()
    visit.kept()
    for name in ("Identity", "Detail", "Balance"):
        visit.after(lambda name=name: visit.page.get_by_label(name, exact=True).fill("0.5"))
    scales = visit.newest()["swiftpie"]["scales"]
    assert scales == {"identity_scale": 0.5, "detail_scale": 0.5, "balance": 0.5}
    visit.strip_drawn()
    third = visit.page.locator(".strip img").nth(2)
    visit.after(third.click)
    assert visit.newest()["seed"] == 3
    visit.after(visit.page.get_by_role("button", name="More variations").click)
    assert visit.newest()["seed"] == 7


def test_history_is_walked_back_and_forth(visit):
    visit.first_picture()
    visit.kept()
    first = visit.pixels()
    visit.prompt.fill("a hamster in space")
    visit.kept()
    second = visit.pixels()
    visit.page.keyboard.press("Control+z")
    expect(visit.prompt).to_have_value("a photo of a hamster on a beach")
    assert not differs(first, visit.pixels())
    visit.page.keyboard.press("Control+Shift+z")
    expect(visit.prompt).to_have_value("a hamster in space")
    assert not differs(second, visit.pixels())
    visit.page.get_by_role("button", name="Step 1:").click()
    expect(visit.prompt).to_have_value("a photo of a hamster on a beach")
    visit.prompt.fill("a hamster on a volcano")
    visit.kept()
    expect(visit.page.locator("ol button")).to_have_count(2)  # what was undone is gone
    visit.prompt.fill("a hamster on a volcan")
    visit.prompt.fill("a hamster on a volcano")
    visit.kept()
    expect(visit.page.locator("ol button")).to_have_count(2)  # nothing new


def test_a_picture_is_edited_within_a_mask_that_may_be_painted(finer):
    drawn = finer.first_picture().pixels()
    finer.kept()
    finer.page.get_by_role("button", name="Edit this").click()
    words = finer.page.get_by_label(CHANGE)
    expect(words).to_have_value("a photo of a hamster on a beach")
    finer.after(lambda: words.fill("a photo of a hamster in the snow"))
    edited = finer.pixels()
    assert differs(drawn, edited)
    finer.page.emulate_media(color_scheme="dark")
    finer.after(lambda: words.fill("a photo of a hamster wearing a crown on a beach"))
    finer.page.get_by_role("button", name="Mask", exact=True).click()
    expect(finer.page.locator(".mask")).to_be_visible()
    finer.page.get_by_label("Before and after").fill("30")
    expect(finer.page.locator(".line")).to_be_visible()
    finer.kept()
    finer.screenshot("edit")
    finer.page.emulate_media(color_scheme="light")
    finer.page.get_by_role("button", name="Paint the mask").click()
    sheet = finer.page.get_by_role("application")
    place = sheet.bounding_box()
    finer.page.get_by_role("button", name="Clear").click()
    finer.settled()
    finer.page.mouse.move(place["x"] + 20, place["y"] + 20)
    finer.page.mouse.down()
    finer.page.mouse.move(place["x"] + place["width"] / 2, place["y"] + 30, steps=6)
    finer.page.mouse.up()
    expect(finer.page.get_by_role("button", name="Find it again")).to_be_visible()
    finer.kept()
    finer.screenshot("edit-paint")
    assert finer.newest()["mask_id"].startswith("pic_")
    finer.page.get_by_role("button", name="Done").click()
    finer.settled()
    # What was not painted is as it was, but for what JPEG makes of it.
    below = slice(finer.pixels().shape[0] // 2, None)
    assert np.abs(finer.pixels()[below].astype(int) - drawn[below]).mean() < 6
    finer.after(finer.page.get_by_role("button", name="Find it again").click)
    assert "mask_id" not in finer.newest()
    finer.after(finer.page.get_by_role("button", name="Find the area").click)
    assert finer.newest()["mask_id"].startswith("pic_")
    expect(finer.page.get_by_role("button", name="Find it again")).to_be_visible()
    finer.after(finer.page.get_by_role("button", name="Find it again").click)


def test_an_edit_has_variations_and_is_compared_by_a_drag(visit):
    visit.first_picture()
    visit.kept()
    visit.page.get_by_role("button", name="Edit this").click()
    words = visit.page.get_by_label(CHANGE)
    visit.after(lambda: words.fill("a photo of a hamster in the snow"))
    visit.kept()
    visit.strip_drawn()
    assert visit.newest()["swiftpie"]["edit"]["variation"] == 0
    visit.after(visit.page.locator(".strip img").nth(1).click)
    assert visit.newest()["seed"] == 2
    assert visit.newest()["swiftpie"]["edit"]["variation"] == pytest.approx(0.5)
    visit.kept()
    small = np.asarray(Image.fromarray(visit.pixels()).resize((16, 16)), dtype=float)
    drawn = visit.pixels_of(visit.page.locator(".strip img").nth(1))
    assert np.abs(np.asarray(Image.fromarray(drawn).resize((16, 16))) - small).mean() < 6
    place = visit.page.locator(".layer").bounding_box()
    across, y = place["width"], place["y"] + place["height"] / 2
    visit.page.mouse.move(place["x"] + across / 4, y)
    visit.page.mouse.down()
    visit.page.mouse.move(place["x"] + across / 2, y, steps=4)
    visit.page.mouse.up()
    expect(visit.page.get_by_label("Before and after")).to_have_value("50")
    visit.screenshot("edit-compared")


def test_both_sides_of_the_page_as_the_documents_show_them(browser):
    with (
        serving(swiftpie.load("mini")) as server,
        visiting(browser, server.url, viewport=SHOWN) as visit,
    ):
        visit.open().first_picture()
        visit.subject("robot, a sample").hover()
        visit.page.get_by_role("button", name="Add robot to the picture").click()
        both = "a photo of a hamster and a robot on a beach"
        expect(visit.prompt).to_have_value(both)
        visit.kept()
        visit.strip_drawn()
        visit.page.get_by_role("button", name="Move robot").hover()
        visit.page.wait_for_timeout(300)  # boxes come slowly
        visit.screenshot("page")
        visit.after(visit.page.get_by_role("button", name="Leave out robot").click)
        visit.kept()
        before = visit.pixels()
        visit.page.get_by_role("button", name="Edit this").click()
        visit.after(lambda: visit.page.get_by_label(CHANGE).fill(ON_A_TABLE))
        visit.kept()
        visit.strip_drawn()
        visit.page.get_by_label("Before and after").fill("50")
        visit.page.mouse.move(0, 0)
        visit.screenshot("page-edit")
        assert differs(before, visit.pixels())
        visit.check_quiet()


def test_a_download_says_what_made_it_and_may_be_used_again(visit):
    visit.first_picture()
    visit.page.get_by_role("button", name="Place hamster by a box").click()
    visit.page.get_by_label("Balance", exact=True).fill("0.3")
    visit.kept()
    expect(visit.page.get_by_role("button", name="Download")).to_have_text(
        "Download 512 \N{MULTIPLICATION SIGN} 512"
    )
    with visit.page.expect_download() as download:
        visit.page.keyboard.press("Control+s")
    assert download.value.suggested_filename == "a-photo-of-a-hamster-on-a-beach-1.png"
    data = Path(download.value.path()).read_bytes()
    told = read_metadata(data)
    assert told["prompt"] == "a photo of a hamster on a beach"
    assert float(told["balance"]) == pytest.approx(0.3)
    visit.prompt.fill("a hamster in space")
    visit.page.get_by_label("Balance", exact=True).fill("0")
    visit.page.get_by_role("button", name="Place hamster by a box").click()
    visit.kept()
    visit.give("drop", ("found.png", "image/png", data))
    expect(visit.page.get_by_role("heading", name="What made this picture")).to_be_visible()
    visit.screenshot("what-made-it")
    visit.page.get_by_role("button", name="Use these settings").click()
    expect(visit.prompt).to_have_value("a photo of a hamster on a beach")
    visit.settled()
    again = visit.newest()["swiftpie"]
    assert again["scales"]["balance"] == pytest.approx(0.3)
    assert again["subjects"][0]["box"] == [0.25, 0.35, 0.75, 0.85]
    drawn = Image.open(io.BytesIO(data)).convert("RGB")
    shown = visit.pixels().astype(int)
    assert drawn.size == (512, 512)  # with more detail than the page shows
    reduced = drawn.reduce(512 // shown.shape[0])
    assert np.abs(shown - np.asarray(reduced)).mean() < 6  # JPEG here, PNG there


def test_a_download_of_an_edit_keeps_what_was_not_painted(visit, photo):
    visit.first_picture()
    visit.page.get_by_text("Edit", exact=True).click()
    expect(visit.page.get_by_label(CHANGE)).to_have_count(0)  # first a picture, then its words
    visit.page.get_by_label("A picture to edit").set_input_files(
        {"name": photo[0], "mimeType": photo[1], "buffer": photo[2]}
    )
    expect(visit.page.get_by_alt_text("The picture to edit")).to_be_visible()
    visit.page.get_by_label("What does it show now?").fill("a ball on a blue background")
    visit.page.get_by_label(CHANGE).fill("a ball on a beach")
    expect(visit.picture).to_be_visible()
    visit.settled()
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download").click()
    data = Path(download.value.path()).read_bytes()
    assert Image.open(io.BytesIO(data)).size == (320, 240)
    assert read_metadata(data)["source_prompt"] == "a ball on a blue background"


def test_a_subject_is_put_into_a_photograph_where_somebody_drags_it(visit, large):
    visit.first_picture()
    visit.photograph(large, "Insert")
    visit.subject("robot, a sample").click()
    body = visit.page.get_by_role("button", name="Move robot")
    expect(body).to_have_text("robot, proposed")
    visit.kept()
    told = visit.page.locator("p[aria-live=polite]").first
    expect(told).to_contain_text("a robot in the photograph, seed 1. The place is proposed: left")
    (proposed,) = visit.newest()["swiftpie"]["subjects"]
    assert visit.newest()["swiftpie"]["task"] == "insert"
    assert "box" not in proposed
    middle = (0.5, 0.5)
    visit.after(lambda: visit.drag(body, middle, (0.5, -0.1)))
    expect(body).to_have_text("robot")
    higher = visit.newest()["swiftpie"]["subjects"][0]["box"]
    visit.after(lambda: body.press("ArrowLeft"))
    visit.after(lambda: visit.page.get_by_label("Turn").fill("30"))
    visit.after(lambda: visit.page.get_by_label("Tilt").fill("-10"))
    (placed,) = visit.newest()["swiftpie"]["subjects"]
    assert placed["view"] == [30, -10]
    assert placed["box"][0] == pytest.approx(higher[0] - 0.02, abs=0.001)
    visit.kept()
    visit.strip_drawn()
    visit.after(visit.page.locator(".strip img").nth(1).click)
    assert visit.newest()["seed"] == 2
    visit.drag(visit.page.locator(".layer"), (0.01, 0.5), (0.5, 0.5))
    expect(visit.page.get_by_label("Before and after")).to_have_value("50")
    assert visit.newest()["swiftpie"]["subjects"][0]["box"] == placed["box"]  # no box was drawn
    visit.screenshot("insert")
    visit.page.get_by_role("button", name="Mask", exact=True).click()
    region, name = visit.saved("Save region")
    assert name == "a-robot-in-the-photograph-region.png"
    data, name = visit.saved("Download 960 \N{MULTIPLICATION SIGN} 720")
    assert name == "a-robot-in-the-photograph-2.png"
    before, after = (np.asarray(Image.open(io.BytesIO(one))) for one in (large[2], data))
    kept = np.asarray(Image.open(io.BytesIO(region))) == 0
    assert after.shape == before.shape  # not of the copy that is worked on
    assert 0.2 < kept.mean() < 0.95
    assert (after[kept] == before[kept]).all()
    facts = read_metadata(data)
    assert (facts["task"], facts["seed"]) == ("insert", "2")
    assert json.loads(facts["subjects"]) == [{"box": placed["box"], "view": [30, -10]}]
    visit.page.get_by_role("button", name="Auto place").click()
    expect(body).to_have_text("robot, proposed")
    visit.kept()
    visit.page.keyboard.press("Control+z")
    expect(body).to_have_text("robot")


def test_what_is_painted_goes_and_a_subject_may_come_in_its_place(visit, photo):
    visit.first_picture()
    visit.photograph(photo, "Remove")
    expect(visit.page.get_by_text("What is behind it is guessed")).to_be_visible()
    done = visit.page.get_by_role("button", name="Done")
    expect(done).to_be_disabled()
    sheet = visit.page.get_by_role("application")
    visit.drag(sheet, (0.45, 0.4), (0.7, 0.6))
    expect(visit.picture).to_have_attribute("alt", "the photograph without it")
    visit.settled()
    assert visit.newest()["swiftpie"] == {
        "task": "remove",
        "mask_mode": "white",
        "return_mask": True,
        "subjects": [],
    }
    visit.screenshot("remove")
    first = visit.newest()["mask_id"]
    visit.page.get_by_text("Box", exact=True).click()
    visit.after(lambda: visit.drag(sheet, (0.3, 0.1), (0.9, 0.9)))
    assert visit.newest()["mask_id"] != first
    without = visit.pixels()
    visit.kept()
    visit.subject("robot, a sample").click()
    expect(visit.page.get_by_label("Replace", exact=True)).to_be_checked()
    expect(visit.picture).to_have_attribute("alt", "a robot in its place")
    visit.settled()
    assert differs(without, visit.pixels())
    assert visit.newest()["swiftpie"]["task"] == "replace"
    done.click()
    visit.kept()
    visit.screenshot("replace")
    visit.page.keyboard.press("Control+z")  # to the removal, whose mask can be painted on
    expect(visit.page.get_by_label("Remove", exact=True)).to_be_checked()
    data, _ = visit.saved("Download")
    assert read_metadata(data)["task"] == "remove"


def test_what_goes_may_be_found_by_a_subject_of_the_shelf(visit, photo):
    visit.first_picture()
    ground = Image.new("RGB", (320, 240), (70, 140, 90))
    with Image.open(io.BytesIO(sample("1f439"))) as hamster:
        ground.paste(hamster.convert("RGBA"), (90, 40), hamster.convert("RGBA"))
    visit.photograph(("shelf.png", "image/png", to_png(ground)), "Remove")
    where = visit.page.get_by_role("combobox", name="Where")
    expect(where).to_have_value("")
    where.select_option(label="where hamster is found")
    expect(visit.picture).to_have_attribute("alt", "the photograph without it")
    visit.settled()
    (known,) = [one["id"] for one in visit.library() if one["name"] == "hamster"]
    asked = visit.newest()
    assert asked["swiftpie"]["where"] == known
    assert "mask_id" not in asked
    visit.page.get_by_role("button", name="Mask", exact=True).click()
    expect(visit.page.locator(".mask")).to_be_visible()
    visit.screenshot("remove-where")
    visit.page.get_by_role("button", name="Paint the mask").click()
    sheet = visit.page.get_by_role("application")
    visit.after(lambda: visit.drag(sheet, (0.1, 0.1), (0.3, 0.2)))
    assert visit.newest()["mask_id"].startswith("pic_")
    assert "where" not in visit.newest()["swiftpie"]
    expect(where).to_have_value("")
    other = {"name": photo[0], "mimeType": photo[1], "buffer": photo[2]}
    visit.page.get_by_label("A picture to edit").set_input_files(other)
    expect(visit.picture).to_have_count(0)
    where.select_option(label="where hamster is found")
    expect(visit.page.get_by_role("alert")).to_contain_text("not found in the picture")


def test_a_picture_gives_its_style_to_what_is_drawn(visit, photo):
    plain = visit.first_picture().pixels()
    chooser = visit.page.get_by_label("A picture whose style is taken")
    given = {"name": photo[0], "mimeType": photo[1], "buffer": photo[2]}
    styled = visit.after(lambda: chooser.set_input_files(given))
    assert visit.newest()["swiftpie"]["style_reference"].startswith("pic_")
    assert differs(plain, styled)
    visit.screenshot("style")
    visit.after(visit.page.get_by_role("button", name="Leave out the style picture").click)
    assert "style_reference" not in visit.newest()["swiftpie"]


def test_removing_shows_the_photograph_as_large_as_the_stage(visit, photo):
    visit.first_picture()
    visit.photograph(photo, "Insert")
    stage = visit.page.locator(".picture").bounding_box()
    visit.page.get_by_label("Remove", exact=True).check(force=True)
    sheet = visit.page.get_by_role("application").bounding_box()
    assert sheet["width"] >= stage["width"] - 2
    assert sheet["height"] >= stage["height"] - 2


def test_an_edit_by_words_has_its_strength_and_its_area_before_it_is_drawn(visit, photo):
    visit.first_picture()
    visit.photograph(photo, "Words")
    visit.page.get_by_label("Strength", exact=True).fill("1.5")
    visit.page.get_by_role("button", name="Paint the mask").click()
    visit.drag(visit.page.get_by_role("application"), (0.3, 0.3), (0.7, 0.7))
    visit.page.get_by_role("button", name="Done").click()
    expect(visit.page.locator(".mask")).to_be_visible()
    expect(visit.page.get_by_text("Only what you painted will change.")).to_be_visible()
    expect(visit.picture).to_have_count(0)
    visit.screenshot("edit-before")
    visit.page.get_by_label(CHANGE).fill("a ball on a beach")
    expect(visit.picture).to_be_visible()
    expect(visit.page.locator(".mask")).to_have_css("opacity", "0")  # it was shown for a moment
    assert visit.newest()["swiftpie"]["scales"]["text_scale"] == pytest.approx(1.5)
    assert visit.newest()["mask_id"].startswith("pic_")


def test_a_box_in_a_photograph_is_moved_by_touch(browser, server, photo):
    with visiting(browser, server.url, viewport=PHONE, has_touch=True, is_mobile=True) as visit:
        visit.open().first_picture()
        visit.photograph(photo, "Insert")
        visit.page.get_by_role("button", name="robot, a sample").tap()
        body = visit.page.get_by_role("button", name="Move robot")
        expect(body).to_have_text("robot, proposed")
        visit.settled()
        visit.after(lambda: visit.touch(body, (0.5, 0.5), (0.5, 0.1)))
        expect(body).to_have_text("robot")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        visit.screenshot("phone-insert", full_page=True)
        visit.page.get_by_label("Remove", exact=True).check(force=True)
        visit.touch(visit.page.get_by_role("application"), (0.45, 0.4), (0.7, 0.6))
        expect(visit.picture).to_have_attribute("alt", "the photograph without it")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        visit.screenshot("phone-remove", full_page=True)
        visit.check_quiet()


def test_words_that_the_model_does_not_know_are_marked_and_said_on_one_folded_line(visit):
    visit.first_picture()
    visit.prompt.fill("a hamster on a beech in Zanzibar")
    expect(visit.page.locator(".marks .unknown")).to_have_text(["beech", "Zanzibar"])
    line = visit.page.locator("#words details")
    expect(line).to_have_count(1)
    expect(line.locator("summary")).to_have_text(
        re.compile("does not know 2 words: beech, zanzibar")
    )
    why = line.get_by_text("was never taught")
    expect(why).to_be_hidden()
    visit.screenshot("unknown-words")
    line.locator("summary").click()
    expect(why).to_be_visible()
    expect(line.get_by_role("button")).to_have_count(0)  # what is only spelled like it is no help
    visit.prompt.fill("a hamster on a beach")
    expect(line).to_have_count(0)
    expect(visit.page.locator(".marks .unknown")).to_have_count(0)


def test_the_library_is_searched_and_who_is_found_is_drawn_or_added(visit):
    first = visit.first_picture().pixels()
    search = visit.page.get_by_label("Search the library")
    told = visit.page.get_by_role("search").get_by_role("status")
    search.fill("kitten")
    expect(told).to_contain_text("“kitten” means cat")
    cat = visit.subject("cat, of the library")
    expect(cat.locator("img")).to_be_visible()
    assert differs(first, visit.after(cat.click))
    expect(visit.prompt).to_have_value("a photo of a cat on a beach")
    (cat_asked,) = visit.newest()["swiftpie"]["subjects"]
    assert (cat_asked["library"], "identity_id" in cat_asked) == ("cat", False)
    search.fill("elefant")
    expect(told).to_contain_text("Nobody is called “elefant”")
    visit.screenshot("library")
    visit.subject("elephant, of the library").hover()
    visit.after(visit.page.get_by_role("button", name="Add elephant to the picture").click)
    expect(visit.prompt).to_have_value("a photo of a cat and an elephant on a beach")
    search.fill("")
    expect(visit.subject("robot, a sample")).to_be_visible()
    expect(visit.subject("cat, of the library")).to_have_attribute("aria-pressed", "true")
    visit.page.get_by_role("button", name="All of the library").click()
    expect(told).to_contain_text("MIT License")
    visit.page.get_by_role("button", name="More of them").click()
    expect(visit.page.locator("ul.found li")).to_have_count(72)
    search.fill("teapot")
    visit.after(lambda: search.press("Enter"))
    expect(visit.prompt).to_have_value("a photo of a cat and a teapot on a beach")


def test_whom_the_prompt_names_comes_before_the_sample_that_nobody_chose(visit):
    visit.first_picture()
    visit.after(lambda: visit.prompt.fill("a photo of a hamster in the snow"))
    assert len(visit.newest()["swiftpie"]["subjects"]) == 1  # it is the sample
    visit.after(lambda: visit.prompt.fill("a photo of a cat on a beach"))
    assert visit.newest()["swiftpie"]["subjects"] == []
    visit.after(visit.subject("robot, a sample").click)
    expect(visit.prompt).to_have_value("a photo of a robot on a beach")
    visit.after(lambda: visit.prompt.fill("a photo of a cat in a forest"))
    assert len(visit.newest()["swiftpie"]["subjects"]) == 1  # somebody chose the robot


def test_whom_a_prompt_names_is_drawn_and_told_and_near_names_are_offered(visit):
    visit.first_picture()
    visit.page.get_by_role("button", name="Leave out hamster").click()
    visit.after(lambda: visit.prompt.fill("a kitten on a beach"))
    assert visit.newest()["swiftpie"]["subjects"] == []
    note = visit.page.get_by_text("“kitten” is drawn from the library as its cat.")
    expect(note).to_be_visible()
    visit.screenshot("named")
    visit.after(note.get_by_role("button", name="cat face").click)
    expect(visit.prompt).to_have_value("a cat face on a beach")
    visit.kept()
    visit.prompt.fill("an elefant on a beach")
    words = visit.page.locator("#words")
    expect(words).to_contain_text("Nobody in the library is called elefant")
    visit.screenshot("nobody")
    visit.after(words.get_by_role("button", name="elephant").click)
    expect(visit.prompt).to_have_value("an elephant on a beach")
    visit.kept()
    steps = [step.get_attribute("title") for step in visit.page.locator("ol button").all()]
    waited_for = ("a cat face on a beach", "an elephant on a beach")
    assert [sum(prompt in step for step in steps) for prompt in waited_for] == [1, 1], steps
    assert len(steps) <= 4  # hamster and kitten are kept where they stood a while
    assert not [step for step in steps if "elefant" in step]
    visit.after(visit.subject("robot, a sample").click)
    expect(visit.prompt).to_have_value("a robot on a beach")


PARTS = (
    ["", "a photo of ", "a black and white photo of ", "an oil painting of ", "Photo: "],
    [
        "a dog",
        "a tiny unicorn",
        "the huge Ärger-Bär",
        "an acorn and a robot",
        "two ½ cats",
        "object",
    ],
    ["", " wearing a crown", " riding a bicycle", " sleeping", " wearing a sombrero"],
    [
        " on a beach",
        " in Paris",
        " on a mountain in foggy cities",
        " under water",
        "",
        " of gold",
        " in the snows",
        " on the left!",
    ],
)


def test_the_page_marks_the_words_that_python_warns_of(visit, session):
    visit.first_picture()
    words = session.components.text.vocabulary
    assert isinstance(words, Vocabulary)
    prompts = [
        a + b + c + d for a in PARTS[0] for b in PARTS[1] for c in PARTS[2] for d in PARTS[3]
    ]
    found = visit.page.evaluate(
        """async ([words, prompts]) => {
          const { Vocabulary } = await import("/static/vocabulary.js");
          const known = new Vocabulary(words);
          return prompts.map((one) => {
            const unknown = known.unknownIn(one);
            return [unknown, known.unknownIn(one, ["unicorn"])];
          });
        }""",
        [words.to_json(), prompts],
    )
    for prompt, (unknown, shown) in zip(prompts, found, strict=True):
        assert unknown == words.unknown_in(prompt), prompt
        assert shown == words.unknown_in(prompt, shown=["unicorn"]), prompt
    assert sum(bool(unknown) for unknown, _ in found) > 100


def test_errors_stand_where_they_belong(visit):
    visit.first_picture()
    subjects = visit.page.locator("section[aria-labelledby=subjects]").get_by_role("alert")
    visit.give("drop", ("notes.txt", "text/plain", b"no picture"))
    expect(subjects).to_contain_text("A picture is needed")
    visit.give("drop", ("broken.png", "image/png", b"\x89PNG\r\n\x1a\nbroken"))
    expect(subjects).to_contain_text("This picture of 14 bytes is not a readable picture")
    visit.screenshot("error-subject")
    visit.prompt.fill("")
    expect(visit.page.get_by_text("Write what you want to see")).to_be_visible()
    visit.prompt.fill("x" * 4000)
    visit.settled()
    visit.page.get_by_label("A picture that says what made it").set_input_files(
        {"name": "plain.png", "mimeType": "image/png", "buffer": to_png(Image.new("RGB", (64, 64)))}
    )
    place = visit.page.locator("section[aria-label=Picture]").get_by_role("alert")
    expect(place).to_have_text("This picture does not say what made it.")


def test_a_subject_that_the_server_forgot_is_sent_again(visit):
    visit.first_picture()
    visit.forget()
    visit.after(lambda: visit.prompt.fill("a hamster in space"))
    assert len(visit.library()) == 1
    expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_deleting_a_subject_tells_the_server(visit):
    visit.first_picture()
    visit.page.get_by_role("button", name="Cut-out and pictures of hamster").click()
    visit.page.get_by_role("button", name="Delete hamster").click()
    expect(visit.page.get_by_role("button", name="Add your subject")).to_be_focused()
    expect(visit.page.get_by_text("No subject yet.")).to_be_visible()
    for _ in range(50):
        if not visit.library():
            break
        time.sleep(0.1)
    assert visit.library() == []


def test_a_lost_connection_is_told_and_mended(browser, small):
    with visiting(browser, "") as visit:
        with serving(small) as first:
            visit.url = first.url
            visit.open().first_picture()
            visit.kept()
        expect(visit.page.locator(".state")).to_have_text("no connection")
        expect(visit.page.get_by_text("The server does not answer. Trying again")).to_be_visible()
        visit.screenshot("no-connection")
        visit.prompt.fill("a hamster in the snow")
        visit.page.wait_for_timeout(3_000)
        second = Running(small, limits=Limits(), token=None)
        second.server.config.port = first.port
        with second:
            expect(visit.page.locator(".state")).to_have_text("ready")  # and no time of a picture
            away = visit.page.get_by_text(re.compile(r"The server was away for [3-9] s\."))
            expect(away).to_be_visible()
            visit.screenshot("back-again")
            # A server that was started anew knows nobody; the page tells it again.
            visit.after(lambda: visit.prompt.fill("a hamster in space"))
            expect(away).to_have_count(0)
            expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_a_reload_without_a_server_shows_the_page_with_what_is_kept(browser, small):
    with visiting(browser, "") as visit:
        with serving(small) as first:
            visit.url = first.url
            visit.open().first_picture()
            visit.after(lambda: visit.prompt.fill("a hamster in the snow"))
            visit.kept()
            visit.stored()
            ready = "navigator.serviceWorker.ready.then(() => caches.match('/')).then(Boolean)"
            visit.page.wait_for_function(ready)
        visit.page.reload()
        expect(visit.prompt).to_have_value("a hamster in the snow")
        expect(visit.picture).to_be_visible()
        expect(visit.page.get_by_text("The server does not answer. Trying again")).to_be_visible()
        visit.screenshot("offline")
        second = Running(small, limits=Limits(), token=None)
        second.server.config.port = first.port
        with second:
            visit.after(lambda: visit.prompt.fill("a hamster in space"))
            expect(visit.page.get_by_text("The server does not answer")).to_have_count(0)


def test_a_busy_server_is_asked_again(visit):
    visit.first_picture()
    visit.kept()
    visit.strip_drawn()
    body = {"error": {"message": "Too many.", "type": "", "param": None, "code": "rate"}}
    answers = []

    def refuse_once(route):
        answers.append(route.request.url)
        if len(answers) == 1:
            headers = {"retry-after": "1", "retry-after-ms": "300"}
            route.fulfill(status=429, json=body, headers=headers)
        else:
            route.continue_()

    visit.page.route("**/v1/images/generations", refuse_once)
    before = visit.page.locator(".strip img").first.get_attribute("src")
    visit.prompt.fill("a hamster in space")
    expect(visit.page.locator(".strip img").first).not_to_have_attribute("src", before)
    assert len(answers) == 2


def test_a_token_is_asked_for_where_one_is_needed(browser, small):
    with serving(small, token="a long word") as running, visiting(browser, running.url) as visit:
        visit.open()
        field = visit.page.get_by_label("Token")
        field.fill("a wrong word")
        visit.page.get_by_role("button", name="Continue").click()
        expect(visit.page.get_by_role("alert")).to_contain_text("does not know this token")
        visit.screenshot("token")
        field.fill("a long word")
        field.press("Enter")
        visit.first_picture()
        assert differs(visit.pixels(), visit.after(lambda: visit.prompt.fill("a hamster in space")))


def test_a_token_that_changes_is_asked_for_and_work_goes_on(browser, small):
    with visiting(browser, "") as visit:
        with serving(small, token="a long word") as first:
            visit.url = first.url
            visit.open().page.get_by_label("Token").fill("a long word")
            visit.page.get_by_role("button", name="Continue").click()
            visit.first_picture()
            visit.after(lambda: visit.prompt.fill("a hamster in space"))
        second = Running(small, limits=Limits(), token="another word")
        second.server.config.port = first.port
        with second:
            field = visit.page.get_by_label("Token")
            expect(visit.page.get_by_role("alert")).to_contain_text("does not know this token")
            field.fill("another word")
            field.press("Enter")
            expect(visit.prompt).to_have_value("a hamster in space")
            visit.after(lambda: visit.prompt.fill("a hamster on a volcano"))


def test_a_phone_shows_everything_without_scrolling_sideways(browser, server):
    with visiting(browser, server.url, viewport=PHONE, has_touch=True, is_mobile=True) as visit:
        visit.open().first_picture()
        visit.kept()
        wide = "document.documentElement.scrollWidth"
        assert visit.page.evaluate(wide) == PHONE["width"]
        assert visit.page.evaluate("scrollY") == 0  # nothing pulls the picture out of sight
        visit.prompt.fill("a hamster on a beech in Zanzibar, Honolulu and Timbuktu")
        expect(visit.page.locator("#words details")).to_be_visible()
        assert visit.page.evaluate("document.querySelector('.page').scrollWidth") <= PHONE["width"]
        visit.prompt.fill("a photo of a hamster on a beach")
        visit.kept()
        visit.screenshot("phone", full_page=True)
        visit.page.get_by_role("button", name="Edit this").tap()
        visit.page.get_by_label(CHANGE).fill("a photo of a hamster in the snow")
        expect(visit.page.get_by_role("button", name="Paint the mask")).to_be_enabled()
        assert visit.page.evaluate(wide) == PHONE["width"]
        visit.screenshot("phone-edit", full_page=True)
        visit.check_quiet()


SMALL = """
() => [...document.querySelectorAll("button, input, select, textarea, summary, label")]
  .filter((one) => one.checkVisibility() && getComputedStyle(one).opacity > 0)
  .filter((one) => one.localName !== "label" || one.querySelector("input"))
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, { width, height }]) => width > 1 && (width < 43.9 || height < 43.9))
  .map(([one, { width, height }]) => `${one.outerHTML.slice(0, 120)} ${width} x ${height}`)
"""


def test_on_a_phone_fingers_find_targets_of_44_px_and_long_words_wrap(browser, server, photo):
    with visiting(browser, server.url, viewport=PHONE, has_touch=True, is_mobile=True) as visit:
        visit.open().first_picture()
        long = "donaudampfschifffahrtsgesellschaftskapitaen"
        visit.prompt.fill(f"a {long} beside a hamster on a {long}")
        visit.page.get_by_role("button", name="Place hamster by a box").tap()
        visit.kept()
        visit.strip_drawn()
        assert visit.page.evaluate(SMALL) == []
        visit.screenshot("phone-targets", full_page=True)
        wide = "document.documentElement.scrollWidth"
        assert visit.page.evaluate(wide) == PHONE["width"]
        visit.give("drop", photo)
        visit.page.get_by_role("button", name="Cut-out and pictures of object").tap()
        dialog = visit.page.get_by_role("dialog")
        expect(dialog.get_by_role("application")).to_be_visible()
        assert visit.page.evaluate(SMALL) == []
        dialog.get_by_label("Name").fill(long)
        dialog.get_by_role("button", name="Use this").tap()
        expect(visit.subject(long)).to_be_visible()
        assert visit.page.evaluate(wide) == PHONE["width"]
        visit.photograph(photo, "Remove")
        expect(visit.page.get_by_role("application")).to_be_visible()
        assert visit.page.evaluate(SMALL) == []
        assert visit.page.evaluate(wide) == PHONE["width"]
        visit.check_quiet()


def test_keys_alone_are_enough(visit):
    visit.first_picture()
    keyboard = visit.page.keyboard
    keyboard.press("Tab")
    expect(visit.page.get_by_text("To the prompt")).to_be_focused()
    keyboard.press("Enter")
    expect(visit.prompt).to_be_focused()
    keyboard.press("Control+a")
    visit.after(lambda: keyboard.type("a hamster in the snow", delay=20))

    def tab_to(locator):
        reached = locator.element_handle()
        for _ in range(150):
            if reached.evaluate("(one) => one === document.activeElement"):
                outline = "(one) => getComputedStyle(one).outlineStyle"
                assert reached.evaluate(outline) != "none"
                return
            keyboard.press("Tab")
        raise AssertionError(f"{locator} is not reached")

    tab_to(visit.page.get_by_role("button", name="Place hamster by a box"))
    visit.after(lambda: keyboard.press("Enter"))
    tab_to(visit.page.get_by_role("button", name="Move hamster"))
    visit.after(lambda: keyboard.press("ArrowLeft"))
    visit.kept()
    visit.screenshot("keys")
    tab_to(visit.page.get_by_label("Balance", exact=True))
    visit.after(lambda: keyboard.press("ArrowRight"))
    visit.kept()
    visit.after(lambda: keyboard.press("Control+z"))
    tab_to(visit.subject("robot, a sample"))
    visit.after(lambda: keyboard.press("Enter"))
    expect(visit.prompt).to_have_value("a robot in the snow")


def test_what_comes_is_told_to_those_who_listen(visit):
    visit.first_picture()
    visit.kept()
    told = visit.page.locator("p[aria-live=polite]").first
    expect(told).to_contain_text("Picture ready: a photo of a hamster on a beach, seed 1")
    expect(visit.picture).to_have_attribute("alt", "a photo of a hamster on a beach")


REPAINTED = """
async () => {
  await new Promise(requestAnimationFrame);
  for (let all; (all = document.getAnimations()).some(({ playState }) => playState === "running"); )
    await Promise.allSettled(all.map(({ finished }) => finished));
}
"""


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: run `make page`")
def test_axe_finds_nothing_serious(browser, server, photo):
    with visiting(browser, server.url, color_scheme="light", reduced_motion="reduce") as visit:
        visit.open().first_picture()
        page = visit.page
        page.get_by_role("button", name="Place hamster by a box").click()
        visit.prompt.fill("a hamster on a beech")
        visit.kept()
        page.evaluate(AXE.read_text())

        def check(state):
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                visit.settled()
                page.evaluate(REPAINTED)
                found = page.evaluate("async () => (await axe.run()).violations")
                told = [(one["id"], one["nodes"][0]["html"], one["impact"]) for one in found]
                assert not [one for one in told if one[2] in {"serious", "critical"}], state
                visit.screenshot(f"{state}-{scheme}")

        check("draw")
        search = page.get_by_label("Search the library")
        search.fill("kitten")
        expect(visit.subject("cat, of the library").locator("img")).to_be_visible()
        check("library")
        search.fill("")
        visit.give("drop", photo)
        page.get_by_role("button", name="Cut-out and pictures of object").click()
        expect(page.get_by_role("application")).to_be_visible()
        check("cut-out")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Edit this").click()
        page.get_by_label(CHANGE).fill("an object in the snow")
        expect(page.get_by_role("button", name="Mask", exact=True)).to_be_enabled()
        check("edit")
        page.get_by_label("Insert", exact=True).check(force=True)
        visit.subject("robot, a sample").click()
        expect(page.get_by_role("button", name="Move robot")).to_be_visible()
        visit.settled()
        check("insert")
        page.get_by_label("Remove", exact=True).check(force=True)
        expect(page.get_by_role("application")).to_be_visible()
        check("remove")
        visit.check_quiet()


def test_reduced_motion_is_honoured(browser, server):
    with visiting(browser, server.url, reduced_motion="reduce") as visit:
        visit.open().first_picture()
        moving = "(one) => parseFloat(getComputedStyle(one).transitionDuration)"
        assert visit.page.get_by_role("button", name="More variations").evaluate(moving) < 0.001


@pytest.mark.skipif(not AXE.exists(), reason="needs what `make page` installs")
def test_the_built_files_are_those_of_the_sources(tmp_path):
    built = tmp_path / "static"
    command = ["npx", "vite", "build", "--outDir", str(built), "--logLevel", "error"]
    subprocess.run(command, cwd=ROOT / "web", check=True, timeout=300)
    files = {path.relative_to(built) for path in built.rglob("*") if path.is_file()}
    assert files == {path.relative_to(STATIC) for path in STATIC.rglob("*") if path.is_file()}
    assert all((built / one).read_bytes() == (STATIC / one).read_bytes() for one in files)
