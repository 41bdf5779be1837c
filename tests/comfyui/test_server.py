"""Real ComfyUI, headless: `make test-comfyui` names a copy of it and the Python it runs in."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

from tests.comfyui.interface import NODES, load_nodes, shape_of
from tests.policy.project import ROOT

pytestmark = [
    pytest.mark.skipif("COMFYUI" not in os.environ, reason="COMFYUI names no copy of ComfyUI"),
    pytest.mark.timeout(600),
]
START_S, ANSWER_S = 240, 120
PREVIEW = 4  # kind of a binary message: a picture with the node it belongs to
LEVELS = 3  # of 255, between builds of PyTorch
WORKFLOWS = {
    path.stem: json.loads(path.read_text()) for path in (NODES / "workflows").glob("*.json")
}


class Server:
    def __init__(self, url):
        self.url = url

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.url}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return answer.read()

    @contextmanager
    def running(self, graph):
        client = uuid.uuid4().hex
        with connect(f"ws://{self.url}/ws?clientId={client}", max_size=None) as socket_:
            flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
            socket_.send(json.dumps(flags))
            self.ask("/prompt", {"prompt": graph, "client_id": client})
            yield self._messages(socket_)

    def _messages(self, socket_):
        while True:
            answer = socket_.recv(timeout=ANSWER_S)
            if isinstance(answer, bytes):
                if int.from_bytes(answer[:4], "big") == PREVIEW:
                    length = int.from_bytes(answer[4:8], "big")
                    yield "preview", Image.open(BytesIO(answer[8 + length :])).convert("RGB")
                continue
            message = json.loads(answer)
            yield message["type"], message["data"]
            if message["type"].startswith("execution_") and message["type"].rpartition("_")[2] in {
                "success",
                "error",
                "interrupted",
            }:
                return

    def run(self, graph):
        with self.running(graph) as messages:
            return list(messages)

    def pictures(self, messages, node):
        (message,) = [
            data for name, data in messages if name == "executed" and data["node"] == node
        ]
        found = []
        for image in message["output"]["images"]:
            query = urllib.parse.urlencode(image)
            found.append(np.array(Image.open(BytesIO(self.ask(f"/view?{query}")))))
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(NODES, base / "custom_nodes" / "swiftpie")
    (base / "input").mkdir()
    for picture in (NODES / "workflows").glob("swiftpie-*.png"):
        shutil.copy(picture, base / "input")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [os.environ.get("COMFYUI_PYTHON") or sys.executable, "main.py", "--cpu"]
    command += ["--port", str(port), "--base-directory", str(base), "--disable-api-nodes"]
    paths = [str(ROOT / "src"), os.environ.get("COMFYUI_PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    log = base / "log.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=os.environ["COMFYUI"], env=environment, stdout=file, stderr=file
        )
    try:
        started = Server(f"127.0.0.1:{port}")
        end = time.monotonic() + START_S
        while True:
            try:
                version = json.loads(started.ask("/system_stats"))["system"]["comfyui_version"]
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < end, log.read_text()[-3000:]
                time.sleep(1)
        sys.stdout.write(f"ComfyUI {version}\n")
        started.base = base
        assert b"SwiftPiePersonalize" in started.ask("/object_info"), log.read_text()[-3000:]
        yield started
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def runs(server):
    return {name: server.run(graph) for name, graph in WORKFLOWS.items()}


def test_what_comfyui_tells_of_the_nodes_is_what_the_written_interface_makes_of_them(
    server, tmp_path
):
    facts = json.loads(server.ask("/object_info"))
    with pytest.MonkeyPatch.context() as patch:
        package, _ = load_nodes(tmp_path, patch)
        nodes = asyncio.run(asyncio.run(package.comfy_entrypoint()).get_node_list())
        schemas = {node.define_schema().node_id: node.define_schema() for node in nodes}
    assert {name for name in facts if name.startswith("SwiftPie")} == schemas.keys()
    for name, schema in schemas.items():
        real, ours = facts[name], shape_of(schema)
        for kind in ("required", "optional"):
            types = {
                key: "COMBO" if isinstance(one[0], list) else one[0]
                for key, one in real["input"].get(kind, {}).items()
            }
            assert types == ours[kind], name
        assert real["output"] == ours["outputs"]
    seed = facts["SwiftPiePersonalize"]["input"]["required"]["seed"][1]
    assert seed["control_after_generate"] is True


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_workflow_runs_to_its_end(runs, name):
    kinds = [kind for kind, _ in runs[name]]
    assert kinds[-1] == "execution_success", runs[name][-1]
    assert kinds.count("preview") == {"two-subjects": 4, "edit": 1}[name]


def test_pictures_are_the_librarys_and_were_shown_before(server, runs, session):
    from swiftpie.pipelines.request import Subject

    saved = server.pictures(runs["two-subjects"], "13")
    shown = [np.array(one) for kind, one in runs["two-subjects"] if kind == "preview"]
    boxes = {"hamster": (0.05, 0.4, 0.45, 0.9), "robot": (0.55, 0.4, 0.95, 0.9)}
    folder = NODES / "workflows"
    subjects = [
        Subject(session.encode_identity(folder / f"swiftpie-{name}.png"), box=box)
        for name, box in boxes.items()
    ]
    prompt = WORKFLOWS["two-subjects"]["12"]["inputs"]["prompt"]
    for number, (one, preview) in enumerate(zip(saved, shown, strict=True)):
        alone = session.personalize(subjects, prompt, seed=7 + number).images[0]
        assert np.abs(one.astype(int) - np.array(alone)).max() <= LEVELS
        assert np.abs(one.astype(int) - preview).mean() < 5  # a preview is a JPEG


def with_inputs(graph, node, **inputs):
    return graph | {node: graph[node] | {"inputs": graph[node]["inputs"] | inputs}}


def test_cancelling_ends_a_batch_and_nothing_else(server):
    graph = with_inputs(WORKFLOWS["two-subjects"], "12", num_images=64, seed=100)
    previews = 0
    with server.running(graph) as messages:
        for kind, _ in messages:
            last = kind
            previews += kind == "preview"
            if kind == "preview" and previews == 1:
                server.ask("/interrupt", {})
    assert last == "execution_interrupted"
    assert 1 <= previews < 32
    again = server.run(with_inputs(WORKFLOWS["two-subjects"], "12", num_images=1, seed=200))
    assert again[-1][0] == "execution_success"


def test_a_fault_is_reported_in_plain_words(server):
    kind, message = server.run(with_inputs(WORKFLOWS["edit"], "3", prompt="  "))[-1]
    assert kind == "execution_error"
    assert message["node_id"] == "3"
    assert "A prompt is empty" in message["exception_message"]
