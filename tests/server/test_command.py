"""`swiftpie serve` as a process: it says where it is, refuses what is unsafe, and drains."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import typer
from typer.testing import CliRunner

from swiftpie.cli.main import app
from tests.server.conftest import form


def run(*options, **variables):
    return subprocess.Popen(
        [sys.executable, "-m", "swiftpie", "serve", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "no token was given"),
        (["--host", "192.0.2.1"], "no token was given"),
        (["--token-file", "missing.txt"], "'missing.txt' cannot be read"),
        (["--token-file", "/dev/zero"], "longer than 4096 letters"),
        (["--model", "none-such"], "none-such"),
        (["--queue", "0"], "--queue"),
        (["--replicas", "4-1", "--ray"], "--replicas"),
        (["--replicas", "2"], "--ray"),
    ],
    ids=str,
)
def test_what_is_unsafe_or_wrong_is_refused(options, said):
    ended = CliRunner().invoke(app, ["serve", *options])
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_a_port_that_is_taken_is_refused_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = CliRunner().invoke(app, ["serve", "--port", str(port), "--model", "none-such"])
    assert ended.exit_code == 2
    assert f"--port {port} cannot be used" in ended.stderr
    assert "Choose another --port" in ended.stderr


def test_an_address_of_another_machine_is_refused(tmp_path):
    (tmp_path / "token.txt").write_text("secret")
    options = ["--host", "192.0.2.1", "--token-file", str(tmp_path / "token.txt")]
    ended = CliRunner().invoke(app, ["serve", *options])
    assert ended.exit_code == 2
    assert "Check --host" in ended.stderr


def test_help_is_for_users():
    group = typer.main.get_command(app)
    helps = [command.help or "" for command in group.commands.values()]
    assert len(helps) > 10
    assert not any("Raises:" in text for text in helps)


@pytest.mark.thorough
def test_a_terminated_server_still_draws_what_it_accepted(picture_bytes):
    server = run("--port", "0")
    line = server.stderr.readline()
    assert line.startswith("serving on http://127.0.0.1:"), line
    port = int(line.rpartition(":")[2])
    body, kind = form(image=("dog.png", picture_bytes), name="dog")
    made = ask(port, "/v1/identities", body, kind)
    subjects = {"subjects": [{"identity_id": made["id"]}]}
    wanted = json.dumps({"prompt": "a dog on a beach", "n": 8, "swiftpie": subjects}).encode()
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(
            ask(port, "/v1/images/generations", wanted, "application/json")
        )
    )
    asking.start()
    while not busy(port):
        pass
    server.send_signal(signal.SIGTERM)
    asking.join(60)
    assert len(answers[0]["data"]) == 8
    assert server.wait(30) in {0, -signal.SIGTERM}
    server.stderr.close()


@pytest.mark.slow
def test_a_second_signal_ends_a_server_at_once(picture_bytes):
    server = run("--port", "0", "--queue-per-key", "64")
    port = int(server.stderr.readline().rpartition(":")[2])
    body, kind = form(image=("dog.png", picture_bytes), name="dog")
    made = ask(port, "/v1/identities", body, kind)
    subjects = {"subjects": [{"identity_id": made["id"]}]}
    wanted = json.dumps({"prompt": "a dog on a beach", "n": 10, "swiftpie": subjects}).encode()
    calls = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(6)]
    for call in calls:
        call.request("POST", "/v1/images/generations", wanted, {"Content-Type": "application/json"})
    while not busy(port):
        pass
    server.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.poll() is None  # it draws for them yet
    server.send_signal(signal.SIGTERM)
    assert server.wait(3) in {0, -signal.SIGTERM}
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        calls[-1].getresponse()
    for call in calls:
        call.close()
    server.stderr.close()


def ask(port, path, body, kind):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, body, {"Content-Type": kind})
    found = json.loads(connection.getresponse().read())
    connection.close()
    return found


def busy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    counts = [f"swiftpie_batch_size_count {count}.0\n" for count in (0, 1)]  # 1: the identity
    return not any(count in text for count in counts)
