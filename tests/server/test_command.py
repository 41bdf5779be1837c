import http.client
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from swiftpie.cli.main import app
from swiftpie.cli.serve import ROUTES, _root_of
from swiftpie.server import Limits
from tests.fuzz.pictures import encoded
from tests.server.conftest import Running, form, until


def run(*options, **variables):
    return subprocess.Popen(
        [sys.executable, "-m", "swiftpie", "serve", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )


def test_a_port_that_is_taken_is_refused_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = CliRunner().invoke(app, ["serve", "--port", str(port), "--model", "none-such"])
    assert ended.exit_code == 2
    assert f"--port {port} cannot be used" in ended.stderr
    assert "Choose another --port" in ended.stderr


@pytest.mark.parametrize("path", ["/v1/pie", "static", "a b", "https://a.example", "/pie?", "/%41"])
def test_a_path_that_no_proxy_can_lead_to_is_refused(path):
    ended = CliRunner().invoke(app, ["serve", "--root-path", path, "--model", "none-such"])
    assert ended.exit_code == 2
    assert f"--root-path {path!r} cannot be used" in ended.stderr


def test_each_route_is_known_as_no_prefix(server):
    known = {path.split("/")[1] for path in server.ask("GET", "/openapi.json").json["paths"]}
    assert known <= set(ROUTES)


def test_a_root_path_may_have_slashes_around_it():
    assert [_root_of(path) for path in ("", "/", "pie", "/pie/", "/a/pie")] == [
        *("", "", "/pie", "/pie", "/a/pie")
    ]


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="opens a pseudo-terminal, looks for screens")
@pytest.mark.parametrize("but", ["", "no screen", "CI", "SSH_CONNECTION", "--no-browser"])
def test_a_browser_opens_where_somebody_sees_it(but, tmp_path):
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" >"{seen}"\n')
    browser.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), but or "A": "1"}
    env |= {"BROWSER": f"{browser} %s &", "DISPLAY" if but != "no screen" else "B": ":0"}
    command = [sys.executable, "-m", "swiftpie", "serve", "--port", "0", "--root-path", "/pie"]
    command += [but] if but.startswith("--") else []
    ours, theirs = pty.openpty()
    with ExitStack() as stack:
        server = stack.enter_context(subprocess.Popen(command, stderr=theirs, env=env))
        stack.callback(server.kill)
        terminal = stack.enter_context(os.fdopen(ours))
        address = until(lambda: re.search(r"serving on (\S+)", terminal.readline()))[1]
        if not but:
            until(lambda: seen.exists() and seen.read_text() == f"{address}/pie/")
        else:
            until(lambda: "getting ready" in terminal.readline())  # it would be open by now
            assert not seen.exists()


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="uses many addresses of the loopback interface")
@pytest.mark.parametrize(("soft", "hard"), [(96, 96), (96, 4096)], ids=["few", "raised"])
def test_a_server_without_descriptors_goes_on_and_logs_little(soft, hard, tmp_path):
    log = tmp_path / "log"
    command = f"ulimit -Sn {soft}; ulimit -Hn {hard}; "
    command += f"exec {sys.executable} -m swiftpie serve --port 0"
    with log.open("w") as file, ExitStack() as stack:
        server = stack.enter_context(subprocess.Popen(["bash", "-c", command], stderr=file))
        stack.callback(server.kill)
        port = int(until(lambda: re.search(r"serving on .*:(\d+)\n", log.read_text()))[1])
        with ExitStack() as lines:
            for number in range(200):  # of as many addresses, so that none has too many
                line = lines.enter_context(socket.socket())
                line.bind((f"127.0.7.{number + 1}", 0))
                line.settimeout(60)
                line.connect(("127.0.0.1", port))
            if hard > soft:
                line.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status = b"503" if hard == soft else b"200"
            assert line.recv(100).startswith(b"HTTP/1.1 " + status)
        until(lambda: "ok" in ask(port, "/health/live"))
    assert "Traceback" not in log.read_text()
    assert len(log.read_text().splitlines()) < 30


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads what a process holds from /proc")
def test_large_pictures_of_several_callers_take_no_more_memory_than_of_one():
    def edited(number):
        connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=500, source_address=(f"127.0.9.{number % 3 + 1}", 0)
        )
        body, kind = form(image=("a.jpg", picture), prompt="a cat at night", output_format="jpeg")
        connection.request("POST", "/v1/images/edits", body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def peak_mib():
        text = Path(f"/proc/{server.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) / 1024

    picture = encoded(Image.new("RGB", (6900, 5700), (250, 200, 90)), "JPEG")
    assert len(picture) < 1 << 20
    with run("--port", "0", "--deadline-s", "500") as server, ThreadPoolExecutor(6) as callers:
        port = int(server.stderr.readline().rpartition(":")[2])
        threading.Thread(target=server.stderr.read, daemon=True).start()
        until(lambda: '"ready"' in ask(port, "/health/ready"), seconds=240)
        before = peak_mib()
        assert {*callers.map(edited, range(6))} == {200}
        after = peak_mib()
        server.kill()
    assert after - before < 720  # it was 2,700, and of one caller is 640


@pytest.mark.thorough
def test_a_terminated_server_still_draws_what_it_accepted(picture_bytes):
    server = run("--port", "0")
    line = server.stderr.readline()
    assert line.startswith("serving on http://127.0.0.1:"), line
    port = int(line.rpartition(":")[2])
    body, kind = form(image=("dog.png", picture_bytes), name="dog")
    made = json.loads(ask(port, "/v1/identities", body, kind))
    subjects = {"subjects": [{"identity_id": made["id"]}]}
    wanted = json.dumps({"prompt": "a dog on a beach", "n": 8, "swiftpie": subjects}).encode()
    with ThreadPoolExecutor(1) as callers:
        asked = callers.submit(ask, port, "/v1/images/generations", wanted)
        until(lambda: busy(port), seconds=240)
        server.send_signal(signal.SIGTERM)
        assert len(json.loads(asked.result())["data"]) == 8
    assert server.wait(30) in {0, -signal.SIGTERM}
    server.stderr.close()


def test_a_second_signal_ends_a_server_at_once(session):
    server = Running(session, limits=Limits(), token=None).server
    seen = []
    for _ in range(2):
        server.handle_exit(signal.SIGTERM, None)
        seen.append((server.should_exit, server.force_exit))
    assert seen == [(True, False), (True, True)]


def ask(port, path, body=None, kind="application/json"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
    connection.request("POST" if body else "GET", path, body, {"Content-Type": kind})
    found = connection.getresponse().read().decode()
    connection.close()
    return found


def busy(port):
    text = ask(port, "/metrics")
    counts = [f"swiftpie_batch_size_count {count}.0\n" for count in (0, 1)]  # 1: the identity
    return not any(count in text for count in counts)
