"""The example for browsers draws in Chromium what Python draws, and asks no server for it."""

import base64
import functools
import io
import logging
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

import swiftpie
from swiftpie.engine.onnx import frame
from swiftpie.engine.onnx.draw import draw_noise, packaged
from swiftpie.engine.onnx.export import export_onnx
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import sample_pictures
from tests.policy.project import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
logger = logging.getLogger(__name__)  # the times, with --log-cli-level=INFO
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
EXAMPLE = ROOT / "examples" / "browser"
PROMPT, SEED = "A robot's picture on a beach", 2**32 + 7

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, as `apt install chromium`"),
    pytest.mark.skipif(
        not (EXAMPLE / "node_modules").is_dir(), reason="needs `npm ci` in examples/browser"
    ),
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    for path in EXAMPLE.iterdir():
        if path.name != "model":
            (folder / path.name).symlink_to(path)
    (folder / "model").mkdir()
    export_onnx(swiftpie.load("mini").components, folder / "model")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _no_network(_views):
    raise AssertionError("the picture has transparency")


def framed(path):
    """A picture of the frame's size, which needs no scaling in either program."""
    model = packaged()
    picture = load_image(path)
    found, side = frame.find(picture, _no_network), model.graphs.sheet.frame_px
    pixels, mask = frame.fit(picture, found.mask, size_px=side)
    colour = np.divide(pixels, mask, out=np.zeros_like(pixels), where=mask > 0)
    values = np.concatenate([colour / 2 + 0.5, mask], axis=1)[0].transpose(1, 2, 0)
    return model, Image.fromarray((values * 255).round().astype(np.uint8))


def expected(model, picture):
    values = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255
    mask = values[:, 3:]
    frames = {"pixels": (2 * values[:, :3] - 1) * mask, "mask": mask}
    graphs = model.graphs
    inputs = {**graphs.defaults(), **frames, **graphs["identity"](frames), **graphs.read(PROMPT)}
    noise = draw_noise(SEED, graphs.sheet.graphs["draw"].inputs["noise"].shape[2:])
    image = graphs["draw"]({**inputs, "noise": noise})["image"][0]
    return (image.transpose(1, 2, 0) + 1) * 127.5


def test_chromium_draws_what_python_draws(address, tmp_path):
    model, picture = framed(sample_pictures(1)[0])
    picture.save(tmp_path / "subject.png")
    asked = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        told = page.locator("#told")
        sync_api.expect(told).to_contain_text("ready", timeout=120_000)
        ready, loaded = told.inner_text(), len(asked)
        page.set_input_files("#subject", tmp_path / "subject.png")
        page.fill("#prompt", PROMPT)
        page.fill("#seed", str(SEED))
        page.click("#draw")
        sync_api.expect(told).to_contain_text("drawn", timeout=120_000)
        logger.info("%s; first %s", ready, told.inner_text())
        page.evaluate("document.getElementById('told').textContent = ''")
        page.click("#draw")  # the first call of a graph takes longer
        sync_api.expect(told).to_contain_text("drawn", timeout=120_000)
        logger.info("then %s", told.inner_text())
        data = page.evaluate("document.querySelector('canvas').toDataURL()")
        browser.close()
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)
    assert not [url for url in asked[loaded:] if url.startswith(address)], "drawing asked a server"
    shown = Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
    error = np.square(np.asarray(shown.convert("RGB")) - expected(model, picture)).mean()
    logger.info("%.1f dB", 10 * np.log10(255**2 / error))
    assert 10 * np.log10(255**2 / error) > 45
