"""The page in a real browser: what a visitor does, by mouse, touch and keys, and what goes wrong.

Where there is a folder out/page, screenshots of what is kept and of how visits end are left in it.
"""

import base64
import io
import json
import os
import re
import shutil
import time
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swiftpie.batch.lists import read_lines
from swiftpie.batch.rows import JobDefaults, collect
from swiftpie.engine.session import Session
from swiftpie.imageio.writing import read_metadata
from swiftpie.server import Limits
from swiftpie.server.guard import BURST_S
from tests.fuzz.pictures import encoded
from tests.policy.project import ROOT
from tests.server.conftest import Running, held, serving, to_png, until

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
AXE = find_spec("axe_playwright_python")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCREENSHOTS = ROOT / "out" / "page"
PROBES = Path(__file__).with_name("probes.js")
PATIENCE_S, PATIENCE_MS = 90, 90_000
LOOK_EVERY_MS = 50  # and not at every frame, which the browser would have to paint
FIRST_PICTURE_MS = 1_000  # after the page has come
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
WINDOWS = ((1366, 768), (1920, 1080), (390, 844))
PROMPT = "What should the picture show?"
CHANGE = "What should it show?"
SIDE_PX = 64
SIDES = (("x", "width"), ("y", "height"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as `apt install chromium`"),
]
expect = sync_api.expect
expect.set_options(timeout=PATIENCE_MS)  # beside other work, five seconds are short

FORBIDS = """
for (const name of ["localStorage", "sessionStorage", "indexedDB"])
  Object.defineProperty(window, name, { get() { throw new DOMException("", "SecurityError"); } });
"""


@pytest.fixture(scope="module")
def small(session):
    """The embedded model with the smallest pictures that there are: the page is what is tried."""
    preset = replace(session.components.preset, image_size_px=SIDE_PX, more_sizes_px=())
    return Session(replace(session.components, preset=preset))


@pytest.fixture(scope="module")
def server(small):
    # The page leaves room in any queue, and a cut-out of all subjects takes long beside other work.
    with serving(small, queue_per_key=4, deadline_s=PATIENCE_S) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--use-fake-device-for-media-stream"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


class Visit:
    def __init__(self, page, url):
        self.page, self.url = page, url
        self.foreign, self.faults, self.sent, self.crowded = [], [], [], []
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(path=PROBES)
        page.on("request", lambda request: self._look_at(request.url))
        page.on("response", lambda answer: answer.status == 429 and self.crowded.append(answer.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._hear)
        page.on("websocket", self._listen)

    def _look_at(self, url):
        if not url.startswith((self.url, "blob:", "data:")):
            self.foreign.append(url)

    def _hear(self, message):
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.faults.append(message.text)  # what the page does not say in words

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

    def button(self, name, **more):
        return self.page.get_by_role("button", name=name, **more)

    def settled(self):
        stage = self.page.locator("section[aria-label=Picture]")
        expect(stage).to_have_attribute("aria-busy", "false")

    def kept(self):
        self.settled()
        # Both are read at once: an address read before could be of a picture that is gone since.
        self.page.wait_for_function("() => probes.kept()", polling=LOOK_EVERY_MS)
        self.screenshot()

    def stored(self):
        until(
            lambda: self.page.evaluate("probes.stored()")
        )  # a wait for a function awaits no promise

    def strip_drawn(self):
        expect(self.page.locator(".strip")).to_have_attribute("aria-busy", "false")
        expect(self.page.locator(".strip img")).to_have_count(6)

    def after(self, act):
        before = self.picture.get_attribute("src")
        act()
        expect(self.picture).not_to_have_attribute("src", before)
        self.settled()
        return self.pixels()

    def pixels(self, picture=None):
        drawn = (picture or self.picture).evaluate("(image) => probes.pixels(image)")
        image = Image.open(io.BytesIO(base64.b64decode(drawn)))
        return np.asarray(image.convert("RGB"))

    def give(self, kind, *files, at=None):
        encoded = [(name, type_, base64.b64encode(data).decode()) for name, type_, data in files]
        self.page.evaluate("(given) => probes.give(given)", [kind, encoded, at])

    def subject(self, name):
        shelf = self.page.locator("section[aria-labelledby=subjects]")
        return shelf.get_by_role("button", name=name, exact=True)

    def fold(self, panel):
        """Show a panel, or fold one that is shown."""
        button = self.button(panel, exact=True)
        was = button.get_attribute("aria-expanded")
        button.click()  # a tap is lost where something is drawn anew
        expect(button).not_to_have_attribute("aria-expanded", was)

    def points_on(self, sheet, *shares):
        sheet.scroll_into_view_if_needed()
        place = sheet.bounding_box()
        return [[place[a] + at[i] * place[b] for i, (a, b) in enumerate(SIDES)] for at in shares]

    def touch(self, sheet, start, end):
        ways = zip(*self.points_on(sheet, start, end), strict=True)
        xs, ys = (np.linspace(a, b, 5) for a, b in ways)
        fingers = self.page.context.new_cdp_session(self.page)
        points = [[{"x": x, "y": y}] for x, y in zip(xs, ys, strict=True)]
        for kind, at in zip(("Start", *["Move"] * 4, "End"), (*points, []), strict=True):
            fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": at})
        self.page.evaluate(
            "probes.rests()"
        )  # a tap while the page still scrolls is taken for part of that

    def drag(self, sheet, start, end):
        first, last = self.points_on(sheet, start, end)
        self.page.mouse.move(*first)
        self.page.mouse.down()
        self.page.mouse.move(*last, steps=5)
        self.page.mouse.up()

    def photograph(self, photo, task):
        self.page.get_by_text("Edit", exact=True).click()
        file = {"name": photo[0], "mimeType": photo[1], "buffer": photo[2]}
        self.page.get_by_label("A picture to edit").set_input_files(file)
        expect(self.page.get_by_alt_text("The picture to edit")).to_be_visible()
        self.page.get_by_label(task, exact=True).check(force=True)  # what is seen is its label

    def saved(self, button):
        with self.page.expect_download() as download:
            self.button(button).click()
        return Path(download.value.path()).read_bytes(), download.value.suggested_filename

    def library(self):
        return self.page.evaluate("async () => (await (await fetch('/v1/identities')).json()).data")

    @contextmanager
    def late(self, path, act):
        """Let the request of `act` wait until the block is over."""
        waiting = []
        self.page.route(path, lambda route: waiting.append(route), times=1)  # noqa: PLW0108
        with self.page.expect_request(path):
            act()
        yield
        with self.page.expect_response(path):
            waiting.pop().continue_()

    def newest(self):
        return self.sent[-1]

    def screenshot(self, name="", **more):
        test = os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split()[0]
        if SCREENSHOTS.is_dir():
            self.page.screenshot(path=SCREENSHOTS / f"{test}-{name or len(self.sent)}.png", **more)

    def look(self, state):
        """Check that nothing needed is out of sight, and leave screenshots of a state."""
        for width, height in WINDOWS:
            self.page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme=scheme)
                self.page.evaluate("probes.repainted()")
                assert self.page.evaluate("probes.hidden()") == [], (state, width)
                self.screenshot(f"{state}-{width}-{scheme}")
        self.page.set_viewport_size(DESKTOP)

    def check_quiet(self):
        assert self.page.evaluate("window.reports ?? []") == []
        assert self.foreign == []
        assert self.crowded == []
        assert self.faults == []


@contextmanager
def visiting(browser, url, **options):
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    visit = Visit(context.new_page(), url)
    try:
        yield visit
        visit.screenshot("end")
    finally:
        context.close()


@pytest.fixture
def fresh(browser, server):
    with visiting(browser, server.url) as one:
        yield one.open()
        one.check_quiet()


@pytest.fixture
def visit(fresh):
    return fresh.first_picture()


@pytest.fixture
def finer(browser, session):
    """The same where pictures are large enough for edits that find their region by themselves."""
    with serving(session, deadline_s=PATIENCE_S) as running, visiting(browser, running.url) as one:
        yield one.open().first_picture()
        one.check_quiet()


@pytest.fixture(scope="module")
def photo():
    y, x = np.mgrid[:240, :320]
    inside = (x - 190) ** 2 + (y - 120) ** 2 < 70**2
    ball = np.where(y[..., None] < 130, (240, 200, 40), (200, 50, 40))
    lit = ball * (1.2 - np.hypot(x - 160, y - 90)[..., None] / 240)  # so that its outline is sure
    pixels = np.where(inside[..., None], lit.clip(0, 255), (40, 70, 160)).astype(np.uint8)
    return ("IMG_2041.png", "image/png", to_png(Image.fromarray(pixels)))


@pytest.fixture(scope="module")
def meadow():
    """A photograph with ground, in more pixels than are sent while a visitor works on it."""
    sheep = Image.open(ROOT / "src/swiftpie/assets/photos/sheep.jpg")
    return ("IMG_2042.png", "image/png", to_png(sheep.resize((960, 720))))


def sample(code):
    return (ROOT / f"src/swiftpie/assets/samples/{code}.webp").read_bytes()


DOG = (ROOT / "src/swiftpie/assets/photos/dog.jpg").read_bytes()
ROBOT = ("robot.webp", "image/webp", sample("1f916"))


def differs(one, other):
    return np.abs(one.astype(int) - other.astype(int)).mean() > 1


def test_a_first_visit_shows_a_picture_and_every_letter_draws_another(fresh):
    expect(fresh.page.locator(".picture img")).to_be_visible(timeout=FIRST_PICTURE_MS)
    fresh.first_picture()
    expect(fresh.prompt).to_have_value("a photo of a dog on a frozen lake")
    (dog,) = fresh.newest()["swiftpie"].pop("subjects")
    assert fresh.newest()["swiftpie"] == {}, "untouched controls are not sent"
    assert dog["name"] == "dog"
    fresh.kept()
    status = fresh.page.locator("p[aria-live=polite]").first
    expect(status).to_contain_text("Picture ready: a photo of a dog on a frozen lake, seed 1")
    expect(fresh.picture).to_have_attribute("alt", "a photo of a dog on a frozen lake")
    first = fresh.pixels()
    fresh.sent.clear()
    fresh.prompt.fill("")
    fresh.prompt.press_sequentially("a dog in space", delay=40)
    fresh.settled()
    prompts = [message["prompt"] for message in fresh.sent]
    assert len(prompts) > 8
    assert prompts[-1] == "a dog in space"
    assert differs(first, fresh.pixels())
    expect(fresh.page.get_by_label("Identity", exact=True)).to_have_count(0)  # a cut-out has it
    fresh.after(fresh.button("From words alone").click)
    for name in ("Identity", "Detail", "Balance"):
        fresh.after(lambda name=name: fresh.page.get_by_label(name, exact=True).fill("0.5"))
    scales = fresh.newest()["swiftpie"]["scales"]
    assert scales == {"identity_scale": 0.5, "detail_scale": 0.5, "balance": 0.5}
    fresh.strip_drawn()
    fresh.after(fresh.page.locator(".strip img").nth(2).click)
    assert fresh.newest()["seed"] == 3
    fresh.after(fresh.button("More variations").click)
    assert fresh.newest()["seed"] == 7
    fresh.strip_drawn()
    with fresh.page.expect_response("**/v1/images/generations") as answer:
        fresh.button("Best of 4").click()
    (best,) = answer.value.json()["swiftpie"]["seeds"]
    expect(fresh.page.get_by_role("radio", checked=True, name=f"Seed {best}")).to_have_count(1)
    fresh.prompt.fill("a dog on a beech in Zanzibar")
    expect(fresh.page.locator(".marks .unknown")).to_have_text(["beech", "Zanzibar"])
    expect(fresh.page.locator("#words details")).to_have_count(1)


def test_an_upload_is_named_by_what_the_library_knows_or_as_the_visitor_says(visit, photo):
    visit.after(lambda: visit.give("drop", ROBOT))
    expect(visit.prompt).to_have_value("a photo of a robot on a frozen lake")
    visit.after(lambda: visit.give("paste", ("00.png", *photo[1:])))
    expect(visit.prompt).to_have_value("a photo of the subject on a frozen lake")
    what = visit.page.get_by_label("What is the subject?")
    what.fill("my ball")
    what.press("Enter")
    expect(visit.prompt).to_have_value("a photo of my ball on a frozen lake")
    expect(what).to_have_count(0)
    visit.give("drop", ("01.png", *photo[1:]), ("02.png", *photo[1:]))
    visit.button("2 subjects").click()
    expect(visit.prompt).to_have_value("a photo of the second subject on a frozen lake")
    visit.give("drop", ROBOT, ("robot side.webp", *ROBOT[1:]))
    visit.button("one subject").click()
    expect(visit.subject("robot")).to_have_count(2)
    assert 2 in {subject["num_pictures"] for subject in visit.library()}
    wrong = visit.page.locator("section[aria-labelledby=subjects]").get_by_role("alert")
    for name, kind, data in (
        ("notes.txt", "text/plain", b"no picture"),
        ("broken.png", "image/png", b"\x89PNG\r\n\x1a\nbroken"),
        ("IMG_1.HEIC", "", b"\0\0\0\x18ftypheic" + bytes(4_000)),
    ):
        visit.give("drop", (name, kind, data))
        expect(wrong).to_be_visible()
    tiff = encoded(Image.open(io.BytesIO(photo[2])), "TIFF")  # which Chromium cannot show
    visit.give("drop", ("ball.tiff", "image/tiff", tiff))
    expect(visit.subject("ball")).to_have_attribute("aria-pressed", "true")


def test_all_subjects_of_a_photograph_are_shown_to_click(visit):
    photo = Image.new("RGB", (512, 384), (70, 110, 160))
    for code, left in (("1f916", 20), ("1f995", 270)):
        shown = Image.open(io.BytesIO(sample(code))).convert("RGBA").resize((220, 220))
        photo.paste(shown, (left, 120), shown)
    visit.after(lambda: visit.give("drop", ("street.png", "image/png", to_png(photo))))
    visit.button("Show all subjects of the picture").click()
    shown = visit.page.get_by_role("group", name="Subjects of the picture")
    expect(shown.get_by_role("button", name="Subject")).to_have_count(2)
    for number in (1, 2):
        one = shown.get_by_role("button", name=f"Subject {number}")
        one.click()
        expect(one).to_have_attribute("aria-pressed", "true")
    assert len(visit.library()) >= 3
    shown.get_by_role("button", name="Done").click()
    expect(shown).to_have_count(0)


def test_a_cut_out_is_corrected_with_every_tool_and_kept(visit, photo):
    visit.give("drop", photo)
    visit.button("Cut-out and pictures of subject").click()
    dialog = visit.page.get_by_role("dialog")
    seen = dialog.get_by_alt_text("The subject as the encoder sees it")
    sheet = dialog.get_by_role("application")
    for tool, start, end in (
        ("Brush", (0.45, 0.3), (0.75, 0.75)),
        ("Eraser", (0.5, 0.3), (0.7, 0.75)),
        ("Box", (0.3, 0.1), (0.9, 0.9)),
        ("Point off it", (0.1, 0.1), (0.1, 0.1)),
        ("Point on it", (0.45, 0.3), (0.75, 0.75)),
    ):
        before = seen.get_attribute("src")
        dialog.get_by_text(tool, exact=True).click()
        visit.drag(sheet, start, end)
        expect(seen).not_to_have_attribute("src", before)
    visit.page.keyboard.press("Escape")
    expect(dialog.get_by_role("alert")).to_have_text("Leave without what you painted?")
    visit.page.keyboard.press("Escape")
    dialog.get_by_label("Name").fill("ball")
    dialog.get_by_role("button", name="Use this").click()
    expect(visit.prompt).to_have_value("a photo of a ball on a frozen lake")
    expect(dialog).to_be_hidden()  # as it is stored
    visit.page.reload()
    visit.first_picture()
    visit.button("Cut-out and pictures of ball").click()
    expect(sheet).to_be_visible()  # its mask was kept with it
    before = seen.get_attribute("src")
    sheet.focus()
    for key in ("ArrowLeft", "Shift+ArrowUp", " "):
        visit.page.keyboard.press(key)
    expect(seen).not_to_have_attribute("src", before)
    visit.page.keyboard.press("Escape")
    dialog.get_by_role("button", name="Discard it").click()
    visit.button("Cut-out and pictures of ball").click()
    dialog.get_by_role("button", name="Delete ball").click()
    expect(visit.subject("ball")).to_have_count(0)
    flat = to_png(Image.new("RGB", (160, 120), (90, 90, 90)))
    visit.give("drop", ("wall.png", "image/png", flat))
    visit.drag(sheet, (0.3, 0.5), (0.6, 0.5))
    expect(seen).to_be_visible()
    dialog.get_by_role("button", name="Use this").click()
    expect(dialog).to_be_hidden()


def test_a_doubtful_cut_out_opens_where_it_is_corrected(visit):
    noise = np.random.default_rng(2).integers(0, 255, (16, 32, 3), dtype=np.uint8)
    clouds = Image.fromarray(noise).resize((400, 300), Image.Resampling.BILINEAR)
    given = [(f"{name}.png", "image/png", to_png(clouds)) for name in ("cloud", "moon")]
    visit.give("drop", *given)
    visit.button("2 subjects").click()
    dialog = visit.page.get_by_role("dialog")
    for name in ("cloud", "moon"):  # one after the other, though both came at once
        expect(visit.subject("moon")).to_be_visible()
        expect(dialog.get_by_label("Name")).to_have_value(name)
        expect(dialog.get_by_role("heading")).to_contain_text(name)
        expect(dialog.get_by_role("alert")).to_contain_text("Draw a box around the subject")
        dialog.get_by_role("button", name="Cancel").click()


def test_two_subjects_share_a_picture_and_boxes_place_them(finer):
    def subjects():
        finer.settled()
        return finer.newest()["swiftpie"]["subjects"]

    one = finer.pixels()
    finer.subject("robot, a sample").hover()
    finer.button("Add robot to the picture").click()
    expect(finer.prompt).to_have_value("a photo of a dog and a robot on a frozen lake")
    finer.kept()
    assert [len(subject["box"]) for subject in subjects()] == [4, 4]
    assert differs(one, finer.pixels())
    finer.after(finer.button("in space").click)
    finer.after(finer.button("Leave out robot").click)
    expect(finer.prompt).to_have_value("a photo of a dog in space")
    assert "box" not in subjects()[0]
    finer.drag(finer.page.locator(".layer"), (0.1, 0.5), (0.5, 0.9))
    assert subjects()[0]["box"] == pytest.approx([0.1, 0.5, 0.5, 0.9], abs=0.01)
    body = finer.button("Move dog")
    finer.drag(body, (0.5, 0.5), (1.5, 0.5))
    assert subjects()[0]["box"][0] == pytest.approx(0.5, abs=0.02)
    corner = finer.button("Size of dog, top left corner")
    finer.after(lambda: corner.press("Shift+ArrowUp"))
    left, top, _, bottom = subjects()[0]["box"]
    assert bottom - top == pytest.approx(0.5, abs=0.01)
    finer.after(lambda: body.press("ArrowLeft"))
    assert subjects()[0]["box"][0] == pytest.approx(left - 0.02)
    finer.after(lambda: body.press("]"))
    finer.after(lambda: body.press("m"))
    own = finer.newest()["swiftpie"]
    assert (own["subjects"][0]["view"], own["flip"]) == ([5, 0], True)
    turn = finer.button("Turn dog")
    finer.after(lambda: finer.drag(turn, (0.5, 0.5), (2.5, 0.5)))
    assert subjects()[0]["view"][0] > 5
    finer.after(lambda: body.press("Backspace"))
    assert "box" not in subjects()[0]
    expect(body).to_have_text("dog, proposed")
    at = finer.points_on(finer.page.locator("#picture"), (0.3, 0.3))[0]
    finer.after(lambda: finer.give("drop", ROBOT, at=at))
    assert [one["name"] for one in subjects()] == ["dog", "robot"]
    left, top, right, bottom = subjects()[1]["box"]
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((0.3, 0.3), abs=0.02)
    finer.look("two")
    finer.after(lambda: body.press("PageUp"))
    assert [one["name"] for one in subjects()] == ["robot", "dog"], "the last one is in front"
    finer.after(finer.button("Take out dog").click)
    assert [one["name"] for one in subjects()] == ["robot"]
    finer.after(lambda: finer.button("Move robot").press("Delete"))
    expect(finer.prompt).to_have_value("a photo of a robot in space")


def test_the_picture_takes_the_window_and_is_zoomed_and_panels_fold(visit):
    view, picture = visit.page.locator(".view"), visit.page.locator("#picture")
    shelf = visit.page.get_by_role("complementary", name="Subjects and scenes")
    fit = visit.button("Fit")

    def width():
        visit.page.evaluate("probes.repainted()")
        return picture.bounding_box()["width"]

    visit.look("first")
    visit.page.mouse.move(*visit.points_on(view, (0.5, 0.4))[0])
    whole = width()
    visit.page.mouse.wheel(0, -300)
    expect(fit).not_to_have_text("100 %")
    assert width() > 1.5 * whole
    before = picture.bounding_box()
    visit.drag(view, (0.5, 0.15), (0.6, 0.25))
    visit.page.evaluate("probes.repainted()")
    assert picture.bounding_box()["x"] > before["x"] + 30
    fit.press("0")
    expect(fit).to_have_text("100 %")
    assert width() == pytest.approx(whole, abs=1)
    visit.button("1:1").click()
    natural = picture.locator("img").evaluate("one => one.naturalWidth")
    until(lambda: width() == pytest.approx(natural, abs=1))
    visit.fold("Subjects")
    visit.page.reload()
    visit.first_picture()
    expect(shelf).to_be_hidden()
    visit.button("Full screen").click()
    expect(visit.page.locator(".stage:fullscreen")).to_have_count(1)


def test_pictures_are_compared_kept_and_saved_with_what_draws_them(visit, tmp_path):
    visit.strip_drawn()
    visit.button("All in a grid", exact=True).click()
    board = visit.page.get_by_role("region", name="Pictures to compare")
    for star in (1, 2):
        board.get_by_role("button", name="Favour").nth(star).click()
    board.get_by_text("All", exact=True).click()
    lines = "a robot in a library\n\nan oil painting of a dog\na dog on a beach"
    board.get_by_label("Several prompts").fill(lines)
    board.get_by_role("button", name="Draw all").click()
    expect(board.locator(".problem")).to_contain_text("oil")
    expect(board.get_by_role("button", name="Draw all")).to_be_visible()
    visit.look("grid")
    for name in ("a robot in a library", "a dog on a beach"):
        board.get_by_role("button", name=f"Compare {name}").click()
    expect(board.locator("li")).to_have_count(2)
    visit.look("pair")
    board.get_by_role("button", name="All of them").click()
    board.get_by_label("Name of “a robot in a library”").fill("reader")
    board.get_by_role("button", name="Delete a dog on a beach").click()
    expect(board.locator("li")).to_have_count(4)
    archive, _ = visit.saved("Download 4")
    with zipfile.ZipFile(io.BytesIO(archive)) as folder:
        assert sum(name.endswith(".png") for name in folder.namelist()) == 4
        folder.extractall(tmp_path)
    jobs = collect(read_lines(tmp_path / "jobs.jsonl"), root=tmp_path, defaults=JobDefaults())
    assert [job.request.seeds for job in jobs.jobs] == [(1,), (2,), (3,), (1,)], jobs.refused
    board.get_by_role("button", name="reader, seed 1").click()
    expect(visit.prompt).to_have_value("a robot in a library")
    visit.page.evaluate("() => void (navigator.clipboard.writeText = () => Promise.reject())")
    visit.button("Copy a link").click()
    link = visit.page.get_by_label("Link to this draft").input_value()
    with visiting(visit.page.context.browser, visit.url) as other:
        other.page.goto(link)
        expect(other.first_picture().prompt).to_have_value("a robot in a library")
        other.check_quiet()


def test_a_picture_is_edited_by_words_within_a_painted_mask(finer):
    drawn = finer.pixels()
    finer.kept()
    finer.button("Edit this").click()
    words = finer.page.get_by_label(CHANGE)
    expect(words).to_have_value("a photo of a dog on a frozen lake")
    edited = finer.after(lambda: words.fill("a photo of a dog on a frozen lake at night"))
    assert differs(drawn, edited)
    request = finer.newest()["swiftpie"]
    assert request.keys() == {"source_prompt", "mask_mode", "return_mask"}
    for name in ("Strength", "Variation", "Keep its look where it changes"):
        expect(finer.page.get_by_label(name, exact=True)).to_have_count(0)
    finer.drag(finer.page.locator(".layer"), (0.01, 0.5), (0.5, 0.5))
    expect(finer.page.get_by_label("Before and after")).to_have_value("50")
    finer.button("Paint the mask").click()
    finer.button("Clear").click()
    finer.settled()
    finer.page.get_by_text("Brush", exact=True).click()
    finer.drag(finer.page.get_by_role("application"), (0.1, 0.1), (0.5, 0.15))
    expect(finer.button("Find it again")).to_be_visible()
    finer.kept()
    finer.button("Done").click()
    finer.settled()
    assert finer.newest()["mask_id"].startswith("pic_")
    # What was not painted is as it was, but for what JPEG makes of it.
    below = slice(finer.pixels().shape[0] // 2, None)
    assert np.abs(finer.pixels()[below].astype(int) - drawn[below]).mean() < 6
    finer.after(finer.button("Find it again").click)
    assert "mask_id" not in finer.newest()
    finer.page.get_by_label("What does it show now?").fill("")
    finer.after(lambda: words.fill("at night"))
    assert "source_prompt" not in finer.newest()["swiftpie"]
    finer.strip_drawn()
    finer.after(finer.page.locator(".strip img").nth(1).click)
    assert finer.newest()["seed"] == 2
    assert "edit" not in finer.newest()["swiftpie"]


def test_a_refused_edit_says_so_under_the_words_and_greys_the_last_picture(finer):
    finer.kept()
    finer.button("Edit this").click()
    words, problem = finer.page.get_by_label(CHANGE), finer.page.locator(".problem")
    finer.page.get_by_label("What does it show now?").fill("")
    chips = finer.page.get_by_role("list", name="Scenes to try").locator("button:not(.icon)")
    for chip in chips.all_inner_texts():
        finer.after(lambda chip=chip: words.fill(chip))
        expect(problem).to_have_count(0)
    expect(finer.page.get_by_label("Variations", exact=True).first).to_be_visible()
    finer.after(lambda: words.fill("a blue dog"))
    expect(finer.page.get_by_label("Variations", exact=True)).to_have_count(0)
    words.fill("a dog jumping")
    expect(problem).to_have_count(1)
    box, frame = problem.bounding_box(), finer.page.locator("#picture").bounding_box()
    assert box["y"] + box["height"] <= frame["y"] < DESKTOP["height"]
    expect(finer.page.locator("#picture.isStale img.drawn")).to_be_visible()
    finer.after(lambda: words.fill("at night"))
    expect(finer.page.locator(".isStale")).to_have_count(0)


FOREIGN = re.compile(r"`|/v1/|--[a-z]|\w=|swiftpie[ .]\w")


def test_advice_is_in_words_of_the_page(finer):
    said = finer.page.locator(".note, .problem, .word p")

    def check(words, text):
        expect(said.filter(has_text=text)).to_have_count(1)
        assert not FOREIGN.search(" ".join(said.all_text_contents())), words

    for words, text in (
        ("a dog lying on a sofa", "or draw all of it from words by “From words alone”."),
        ("a dog jumping on a beach", "Turn it under “In the picture”, or give another picture."),
        ("a dog in Paris", "or give a picture of the place as “Your photograph”."),
    ):
        finer.prompt.fill(words)
        check(words, text)
    finer.button("Leave out dog").click()
    finer.prompt.fill("four cats on a beach")
    check("four cats", "or the scene “beach” for the place alone.")
    flat = to_png(Image.new("RGB", (100, 80), "#555"))
    finer.photograph(("flat.png", "image/png", flat), "Words")
    change = finer.page.get_by_label(CHANGE)
    change.fill("a dog jumping")
    larger = "need a larger model, as that of a server with the recipe swiftedit."
    check("jumping", f"colours and materials {larger}")
    change.fill("remove the dog")
    check("remove", "Subjects come and go by Insert, Remove and Replace.")
    finer.page.get_by_text("Draw", exact=True).click()
    finer.give("drop", ("dog.jpg", "image/jpeg", DOG))
    finer.button("Show all subjects of the picture").click()
    check("all subjects", "stands out")


def test_the_keys_come_to_the_prompt_soon_and_a_subject_in_the_wrong_place_is_named(finer):
    for _ in range(6):
        finer.page.keyboard.press("Tab")
        if finer.prompt.evaluate("one => one === document.activeElement"):
            break
    expect(finer.prompt).to_be_focused()
    expect(finer.page.get_by_text("Style picture")).to_have_count(0)
    finer.after(lambda: finer.prompt.fill("a photo of a dog on a beach with a cat, 8k"))
    expect(finer.page.locator(".marks .unknown")).to_have_text(["cat", "8k"])
    expect(finer.page.locator("#words")).to_contain_text("cat has no effect")
    finer.subject("dog").click()
    finer.after(lambda: finer.prompt.fill("a cat on a beach"))
    expect(finer.page.locator(".chosen")).to_contain_text("The dog that you chose is drawn")
    finer.after(finer.button("Take it from my words").click)
    assert finer.newest()["swiftpie"] == {"subjects": []}


def test_places_complete_as_one_types_and_those_near_an_unknown_one_are_buttons(finer):
    offers = finer.page.get_by_role("option")
    finer.prompt.fill("")
    finer.prompt.press_sequentially("a dog in a pa")
    expect(offers).to_have_text(["in a park"])
    expect(offers.locator("img")).to_be_visible()
    finer.prompt.press("Escape")
    expect(offers).to_have_count(0)
    finer.prompt.press("Backspace")
    finer.prompt.press_sequentially("r")  # no place
    expect(offers).to_have_count(0)
    finer.prompt.fill("a dog by the wa")
    expect(offers).not_to_have_count(0)
    names = offers.all_inner_texts()
    for key, number in (("ArrowDown", 0), ("ArrowDown", 1), ("ArrowUp", 0)):
        finer.prompt.press(key)
        (chosen,) = finer.page.get_by_role("option", selected=True).all()
        assert chosen.inner_text() == names[number]
        expect(finer.prompt).to_have_attribute("aria-activedescendant", f"offer-{number}")
    finer.after(lambda: finer.prompt.press("Enter"))
    expect(finer.prompt).to_have_value(f"a dog {names[0]}")
    finer.prompt.fill("a dog on a wo")
    finer.after(offers.last.click)
    expect(finer.prompt).to_be_focused()
    finer.prompt.fill("a dog in Paris")
    finer.after(finer.page.locator("#words").get_by_role("button", name="on a city street").click)
    expect(finer.prompt).to_have_value("a dog on a city street")
    expect(finer.page.locator(".marks .unknown")).to_have_count(0)


def test_what_was_drawn_is_taken_to_be_edited_and_words_typed_meanwhile_stay(visit, photo):
    drawn = visit.pixels()
    visit.page.get_by_text("Edit", exact=True).click()
    visit.page.keyboard.press("Control+s")
    visit.screenshot("empty")
    visit.button("Take the one I drew").click()
    words = visit.page.get_by_label(CHANGE)
    expect(words).to_have_value("a photo of a dog on a frozen lake")
    expect(words).to_be_focused()
    expect(visit.page.locator(".problem")).to_have_count(0)
    taken = visit.page.locator("#picture img").first
    assert np.abs(drawn.astype(int) - visit.pixels(taken)).mean() < 6  # of what JPEG makes of it
    with visit.late("**/v1/pictures", lambda: visit.give("drop", photo)):
        words.fill("at night")
    expect(visit.button(re.compile("320"))).to_be_visible()
    expect(words).to_have_value("at night")


def test_the_page_works_below_the_prefix_of_a_proxy(browser, small):
    with (
        serving(small, root_path="/pie", deadline_s=PATIENCE_S) as running,
        visiting(browser, f"{running.url}/pie") as visit,
    ):
        visit.open("").first_picture()
        assert visit.page.url == f"{running.url}/pie/"
        (cookie,) = visit.page.context.cookies()
        assert cookie["path"] == "/pie/"
        visit.after(visit.subject("robot, a sample").click)
        visit.strip_drawn()
        expect(visit.page.locator("ul[aria-label=Places] img").first).to_be_visible()
        names = "async () => [(await indexedDB.databases())[0].name, ...(await caches.keys())]"
        visit.page.wait_for_function("navigator.serviceWorker.ready.then(() => true)")
        until(lambda: visit.page.evaluate(names) == ["swiftpie/pie", "swiftpie/pie page"])
        visit.page.reload()
        expect(visit.prompt).to_have_value("a photo of a robot on a frozen lake")
        visit.check_quiet()


def test_the_page_says_why_the_server_ended_its_connection(visit, server):
    visit.strip_drawn()  # its pictures are asked for one by one, and would be too many as well
    pace = server.guard._pace._until
    (caller,) = [name for name in pace if name.startswith("127.0.0.1")]
    pace[caller] = time.monotonic() + 2 * BURST_S
    visit.prompt.fill("a dog in space")
    why = visit.page.get_by_text("The server ended the connection: too many requests a second.")
    expect(why).to_be_visible()
    pace.clear()
    visit.settled()
    visit.after(lambda: visit.prompt.fill("a dog on a beach"))
    expect(why).to_have_count(0)


def test_a_photograph_without_ground_has_a_box_to_drag(visit):
    sky = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(sky, "PNG")
    visit.photograph(("sky.png", "image/png", sky.getvalue()), "Insert")
    visit.subject("robot, a sample").dblclick()
    expect(visit.page.get_by_role("alert")).to_contain_text("box")
    assert [subject["name"] for subject in visit.library()].count("robot") == 1
    body = visit.button("Move robot")
    expect(body).to_have_text("robot, proposed")
    visit.drag(body, (0.5, 0.5), (0.5, 0.4))
    visit.settled()
    expect(body).to_have_text("robot")
    expect(visit.page.get_by_role("alert")).to_have_count(0)


def test_a_subject_is_put_into_a_photograph_where_the_visitor_drags_it(visit, meadow):
    visit.photograph(meadow, "Insert")
    visit.subject("robot, a sample").click()
    body = visit.button("Move robot")
    expect(body).to_have_text("robot, proposed")
    visit.settled()
    assert "box" not in visit.newest()["swiftpie"]["subjects"][0]
    visit.after(lambda: visit.drag(body, (0.5, 0.5), (0.5, -0.1)))
    expect(body).to_have_text("robot")
    visit.after(lambda: visit.page.get_by_role("slider", name="Turn").fill("30"))
    (placed,) = visit.newest()["swiftpie"]["subjects"]
    assert placed["view"] == [30, 0]
    visit.kept()
    visit.button("Mask", exact=True).click()
    region, _ = visit.saved("Save region")
    data, name = visit.saved("Download 960 \N{MULTIPLICATION SIGN} 720")
    assert name == "a-robot-in-the-photograph-1.png"
    before, after = (np.asarray(Image.open(io.BytesIO(encoded))) for encoded in (meadow[2], data))
    kept = np.asarray(Image.open(io.BytesIO(region))) == 0
    assert 0.2 < kept.mean() < 0.95
    assert (after[kept] == before[kept]).all()
    assert json.loads(read_metadata(data)["subjects"]) == [{"box": placed["box"], "view": [30, 0]}]
    visit.button("Auto place").click()
    expect(body).to_have_text("robot, proposed")
    visit.strip_drawn()
    with visit.page.expect_response("**/v1/images/edits") as best:
        visit.button("Best of 4").click()
    assert "scores" in best.value.json()["swiftpie"]


def test_what_is_marked_goes_once_and_a_subject_may_come_in_its_place(visit):
    ground = Image.new("RGB", (320, 240), (70, 140, 90))
    with Image.open(io.BytesIO(sample("1f439"))) as hamster:
        ground.paste(hamster.convert("RGBA"), (90, 40), hamster.convert("RGBA"))
    visit.photograph(("shelf.png", "image/png", to_png(ground)), "Remove")
    sheet = visit.page.get_by_role("application")
    visit.drag(sheet, (0.6, 0.5), (0.6, 0.5))  # a click marks a thing
    expect(visit.picture).to_have_attribute("alt", "the photograph without it")
    visit.settled()
    removal = {"task": "remove", "mask_mode": "white", "return_mask": True}
    assert visit.newest()["swiftpie"] == removal
    visit.page.get_by_text("Box", exact=True).click()
    visit.after(lambda: visit.drag(sheet, (0.2, 0.1), (0.9, 0.9)))
    visit.button("Done").click()
    visit.kept()
    expect(visit.page.locator(".strip")).to_have_count(0)  # every seed removes it alike
    visit.subject("robot, a sample").click()
    expect(visit.page.get_by_label("Replace", exact=True)).to_be_checked()
    expect(visit.picture).to_have_attribute("alt", "a robot in its place")
    visit.kept()
    visit.page.keyboard.press("Control+z")
    expect(visit.page.get_by_label("Remove", exact=True)).to_be_checked()
    visit.stored()
    visit.page.reload()
    expect(visit.page.get_by_label("Remove", exact=True)).to_be_checked()
    data, _ = visit.saved("Download")
    assert read_metadata(data)["task"] == "remove"


def test_a_film_of_three_states_is_played_stopped_and_saved(visit):
    visit.button("Film", exact=True).click()
    film = visit.page.get_by_role("region", name="Film")
    film.get_by_role("button", name="Add a state").click()
    film.get_by_label("What state 3 becomes").select_option("at night")
    film.get_by_label("What state 2 becomes").select_option("at sunset")
    end = visit.button("Move dog at the end")
    expect(end).to_have_count(0)  # the second state is shown
    film.get_by_role("button", name="State 3: at night").click()
    visit.drag(end, (0.5, 0.5), (0.1, 0.5))
    expect(film.locator("li img")).to_have_count(3)
    assert "box" not in visit.newest()["swiftpie"]["subjects"][0], "it begins where it stood"
    with visit.page.expect_request("**/v1/images/generations") as asked:
        film.get_by_role("button", name="Play").click()
    film.get_by_role("button", name="Stop").click()
    animate = asked.value.post_data_json["swiftpie"]["animate"]
    assert [words.split("lake ")[1] for words in animate["to"]] == ["at sunset", "at night"]
    assert len(animate["to_boxes"]) == 1
    time = film.get_by_label("Time")
    time.fill("15")
    last = visit.pixels(visit.page.locator("#picture canvas"))
    film.get_by_role("button", name="State 1: as drawn").press("Enter")
    expect(time).to_have_value("0")
    assert differs(last, visit.pixels(visit.page.locator("#picture canvas")))
    visit.look("film")
    data, name = visit.saved("Save the film")
    assert name == "a-photo-of-a-dog-on-a-frozen-lake-at-night-film.webp"
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        assert (opened.n_frames, opened.info["duration"]) == (16, 125)
    film.get_by_role("button", name="Close the film").click()
    expect(visit.page.get_by_role("region", name="Film")).to_have_count(0)


def test_the_history_is_walked_and_outlives_a_reload_and_a_download_is_used_again(visit):
    visit.button("Place dog by a box").click()
    visit.page.get_by_label("Detail", exact=True).fill("0.3")
    visit.kept()
    first, early = visit.pixels(), visit.page.locator("ol button").count()
    data, name = visit.saved("Download 512 \N{MULTIPLICATION SIGN} 512")
    assert name == "a-photo-of-a-dog-on-a-frozen-lake-1.png"
    visit.after(lambda: visit.give("drop", ROBOT))
    visit.after(lambda: visit.prompt.fill("a robot in space"))
    visit.kept()
    second, steps = visit.pixels(), visit.page.locator("ol button").count()
    visit.stored()
    tab = Visit(visit.page.context.new_page(), visit.url).open()
    tab.after(lambda: tab.prompt.fill("a robot on a beach"))
    tab.stored()
    visit.page.reload()
    expect(visit.prompt).to_have_value("a robot in space")
    expect(visit.page.locator("ol button")).to_have_count(steps)
    assert (visit.pixels() == second).all()  # it was not drawn again
    for _ in range(steps - early):
        visit.page.keyboard.press("Control+z")
    expect(visit.prompt).to_have_value("a photo of a dog on a frozen lake")
    assert not differs(first, visit.pixels())
    visit.page.keyboard.press("Control+Shift+z")
    expect(visit.prompt).not_to_have_value("a photo of a dog on a frozen lake")
    visit.give("drop", ("found.png", "image/png", data))
    visit.button("Use these settings").click()
    visit.settled()
    again = visit.newest()["swiftpie"]
    assert again["scales"]["detail_scale"] == pytest.approx(0.3)
    assert again["subjects"][0]["box"] == [0.25, 0.35, 0.75, 0.85]
    visit.button(re.compile("Delete what is kept")).click()
    visit.button("Delete", exact=True).click()
    expect(visit.subject("robot")).to_have_count(0)
    for each in (visit, tab):
        each.first_picture()
        expect(each.prompt).to_have_value("a photo of a dog on a frozen lake")
    tab.page.add_init_script(FORBIDS)
    tab.page.reload()
    tab.first_picture().check_quiet()


@pytest.mark.skipif(AXE is None, reason="needs `pip install axe-playwright-python`")
def test_axe_finds_nothing_serious(browser, server, photo):
    with visiting(browser, server.url, color_scheme="light", reduced_motion="reduce") as visit:
        visit.open().first_picture()
        page = visit.page
        page.get_by_role("button", name="Place dog by a box").click()
        visit.prompt.fill("a dog on a beech")
        visit.kept()
        page.evaluate(Path(AXE.origin).with_name("axe.min.js").read_text())

        def check(state):
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                visit.settled()
                page.evaluate("probes.repainted()")
                found = page.evaluate("async () => (await axe.run()).violations")
                serious = [each for each in found if each["impact"] in {"serious", "critical"}]
                assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == [], state
                visit.screenshot(f"{state}-{scheme}")

        check("draw")
        visit.button("Film", exact=True).click()
        check("film")
        visit.give("drop", photo)
        page.get_by_role("button", name="Cut-out and pictures of subject").click()
        expect(page.get_by_role("application")).to_be_visible()
        check("cut-out")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Edit this").click()
        page.get_by_label("Remove", exact=True).check(force=True)
        expect(page.get_by_role("application")).to_be_visible()
        check("remove")
        visit.check_quiet()


def test_a_phone_has_targets_of_44_px_and_nothing_runs_off_its_side(browser, server, photo, meadow):
    with visiting(browser, server.url, viewport=PHONE, has_touch=True, is_mobile=True) as visit:
        visit.open().first_picture()

        def check(name):
            assert visit.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
            assert visit.page.evaluate("probes.small()") == []
            assert visit.page.evaluate("probes.narrow()") == []
            visit.screenshot(name, full_page=True)

        check("phone")
        long = "donaudampfschifffahrtsgesellschaftskapitaen"
        visit.prompt.fill(f"a {long} beside a dog on a {long}")
        visit.settled()  # the picture of the new prompt moves what is below it
        visit.fold("Settings")
        visit.button("Place dog by a box").tap()
        check("phone-settings")
        visit.fold("Settings")
        visit.settled()
        visit.touch(visit.page.locator(".layer"), (0.05, 0.1), (0.55, 0.5))
        visit.settled()
        box = visit.newest()["swiftpie"]["subjects"][0]["box"]
        assert box == pytest.approx([0.05, 0.1, 0.55, 0.5], abs=0.02)
        check("phone-box")
        visit.give("drop", photo)
        visit.settled()  # the tile is drawn anew, and a tap in between is lost: click waits for it
        visit.fold("Subjects")
        visit.button("Cut-out and pictures of subject").click()
        dialog = visit.page.get_by_role("dialog")
        seen = dialog.get_by_alt_text("The subject as the encoder sees it")
        before = seen.get_attribute("src")
        visit.touch(dialog.get_by_role("application"), (0.05, 0.2), (0.3, 0.2))
        expect(seen).not_to_have_attribute("src", before)
        check("phone-cut-out")
        dialog.get_by_label("Name").fill(long)
        dialog.get_by_role("button", name="Use this").click()
        expect(visit.subject(long)).to_be_visible()
        check("phone-subjects")
        visit.photograph(meadow, "Insert")
        visit.button("robot, a sample").click()  # as above
        visit.page.keyboard.press("Escape")
        body = visit.button("Move robot")
        expect(body).to_have_text("robot, proposed")
        visit.settled()
        visit.after(lambda: visit.touch(body, (0.5, 0.5), (0.5, 0.1)))
        expect(body).to_have_text("robot")
        check("phone-insert")
        visit.check_quiet()


def test_the_page_waits_for_a_server_that_goes_away_and_sends_again_what_it_forgot(browser, small):
    with visiting(browser, "") as visit:
        with serving(small, token="a long word") as first:
            visit.url = first.url
            field = visit.open().page.get_by_label("Token")
            field.fill("a wrong word")
            visit.button("Continue").click()
            expect(visit.page.get_by_role("alert")).to_contain_text("does not know this token")
            field.fill("a long word")
            field.press("Enter")
            asked = []  # a file that comes before its subject is on the shelf would be lost
            visit.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
            with visit.page.expect_response(lambda answer: answer.url.endswith("/file")):
                visit.first_picture()
            assert asked.index("thumbnail") < asked.index("file")
            visit.kept()
            visit.stored()
            ready = "navigator.serviceWorker.ready.then(() => caches.match('/')).then(Boolean)"
            visit.page.wait_for_function(ready)
        expect(visit.page.locator(".state")).to_have_text("no connection")
        visit.page.reload()
        expect(visit.picture).to_be_visible()
        expect(visit.page.get_by_text("The server does not answer. Trying again")).to_be_visible()
        second = Running(small, limits=Limits(), token="another word")
        second.server.config.port = first.port
        with second:
            sent = []
            visit.page.on("request", lambda request: sent.append(request))  # noqa: PLW0108
            field.fill("another word")
            field.press("Enter")
            visit.after(lambda: visit.prompt.fill("a dog in space"))
            expect(visit.page.get_by_role("alert")).to_have_count(0)
            uploads = [one for one in sent if one.method == "POST" and "/identities" in one.url]
            assert [one.response().json()["pictures"] for one in uploads] == [[]]  # its file alone


def test_each_state_of_the_page_says_what_it_is_and_what_to_do(browser, small):
    with visiting(browser, "") as visit:
        with serving(small, queue=1, deadline_s=PATIENCE_S) as running:
            visit.url = running.url
            visit.open().first_picture()
            visit.kept()
            visit.look("ready")
            with held(running.worker) as (begun, gate, _), running.asked({"prompt": "a dog"}):
                assert begun.wait(PATIENCE_S)
                with running.asked({"prompt": "a cat"}):
                    until(lambda: running.worker.scheduler.num_queued)
                    visit.prompt.fill("a dog in space")
                    expect(visit.page.get_by_text("its queue is full")).to_be_visible()
                    visit.look("waiting")
                    gate.set()
                    visit.settled()
            expect(visit.page.get_by_text("its queue is full")).to_have_count(0)
            visit.prompt.fill("an oil painting of a dog")
            expect(visit.page.locator(".problem")).to_contain_text("oil")
            visit.look("refused")
            visit.page.evaluate("probes.fillStorage()")
            visit.after(lambda: visit.prompt.fill("a dog on a beach"))
            expect(visit.page.get_by_text("It has no room for more.")).to_be_visible()
            visit.look("full")
            visit.button("Choose what to delete").click()
            expect(visit.page.get_by_role("region", name="Pictures to compare")).to_be_visible()
            visit.page.reload()  # which makes room
            visit.after(lambda: visit.prompt.fill("a dog on a beach"))
            visit.kept()
            visit.stored()
        expect(visit.page.locator(".state")).to_have_text("no connection")
        visit.look("offline")
        visit.page.evaluate("document.querySelector('meta[name=sources]').content = 'older ones'")
        second = Running(small, limits=Limits(), token=None)
        second.server.config.port = running.port
        with second:
            expect(visit.page.get_by_text("has a newer page")).to_be_visible()
            visit.look("replaced")
            visit.button("Load it").click()
            expect(visit.page.get_by_text("has a newer page")).to_have_count(0)
            expect(visit.first_picture().prompt).to_have_value("a dog on a beach")
