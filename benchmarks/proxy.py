"""Two servers behind nginx in turns, one killed in the middle: `python -m benchmarks.proxy`.

Every request carries its subject as a file, so that either server draws it. The client repeats what
was in flight at the kill. It prints how many failed, were repeated, and differ by server.
"""

import argparse
import base64
import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import swiftpie
from benchmarks.serving import connected
from swiftpie.imageio.images import sample_pictures
from swiftpie.pipelines.identity_file import identity_bytes

PATIENCE_S, TRIES, SEEDS = 120, 4, 20
CONFIGURATION = """
pid {folder}/pid; error_log {folder}/errors; daemon off; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 40m; client_body_buffer_size 40m;
  proxy_max_temp_file_size 0; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  upstream servers {{ {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://servers; proxy_set_header Host localhost; proxy_connect_timeout 1s;
      proxy_read_timeout {patience}s; proxy_next_upstream error timeout http_503 non_idempotent;
    }}
  }}
}}
"""


def free_port() -> int:
    """Return a port of the loopback interface that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(port: int) -> "subprocess.Popen[bytes]":
    """Start a server."""
    words = ("-m", "swiftpie", "serve", "--port", str(port), "--batch", "1")
    nowhere = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *words], stdout=nowhere, stderr=nowhere)


def terminate(servers: "Iterable[subprocess.Popen[bytes]]") -> None:
    """End servers."""
    for server in servers:
        server.terminate()


def asked(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """Return status and content of an answer, the status 0 where none came."""
    try:
        with connected(port) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error).encode()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait, and give up after a while."""
    last = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > last:
            raise SystemExit(f"it was not ready in {PATIENCE_S} s")
        time.sleep(0.2)


def is_ready(port: int) -> bool:
    """Whether a server, or one behind a proxy, draws."""
    return asked(port, "GET", "/health/ready")[0] == 200


def main() -> None:
    """Send requests, kill a server at half, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=6)
    given = parser.parse_args()
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        raise SystemExit("nginx is needed, as `apt install nginx-light` brings it")
    session = swiftpie.load("mini")
    known = session.encode_identity(sample_pictures(1)[0])
    file = base64.b64encode(identity_bytes(known, is_small=True)).decode()
    port, places = free_port(), [free_port(), free_port()]
    servers = {place: start(place) for place in places}
    lock, drawn, killed = threading.Lock(), list[tuple[int, str]](), threading.Event()

    def draw(number: int) -> int | None:
        """Return how often a request was repeated, None if it failed."""
        own = {"subjects": [{"identity_file": file}]}
        body = {"prompt": "a dog on a frozen lake", "seed": number % SEEDS, "swiftpie": own}
        text = json.dumps({**body, "size": "256x256", "output_format": "jpeg"})
        for tries in range(TRIES):
            status, data = asked(port, "POST", "/v1/images/generations", text)
            if status == 200:
                pixels = json.loads(data)["data"][0]["b64_json"].encode()
                with lock:
                    drawn.append((number % SEEDS, hashlib.sha256(pixels).hexdigest()))
                    is_half = len(drawn) == given.requests // 2
                if is_half:
                    servers[places[0]].kill()
                    servers[places[0]].wait()
                    servers[places[0]] = start(places[0])
                    killed.set()
                return tries
            time.sleep(0.5)
        return None

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(lambda: terminate(servers.values()))
        wait_until(lambda: all(map(is_ready, places)))
        turns = [f"server 127.0.0.1:{each} max_fails=1 fail_timeout=2s;" for each in places]
        facts = {"folder": folder, "servers": " ".join(turns), "port": port, "patience": PATIENCE_S}
        path = Path(folder, "nginx.conf")
        path.write_text(CONFIGURATION.format(**facts))
        proxy = subprocess.Popen([nginx, "-c", str(path)], stderr=subprocess.DEVNULL)
        stack.callback(proxy.terminate)
        wait_until(lambda: is_ready(port))
        started = time.monotonic()
        with ThreadPoolExecutor(given.clients) as clients:
            tries = [*clients.map(draw, range(given.requests))]
        spent = time.monotonic() - started
        wait_until(lambda: is_ready(places[0]))
    failed, repeated = tries.count(None), sum(bool(each) for each in tries)
    differing = len({*drawn}) - len({seed for seed, _ in drawn})
    sys.stdout.write(
        f"{given.requests} requests in {spent:.0f} s, one of two servers killed at half, started "
        f"again: failed {failed}, repeated {repeated}, pictures that differ by server {differing}, "
        f"{len(file) / 1e6:.2f} MB a request\n"
    )
    sys.exit(int(bool(failed or differing or not killed.is_set())))


if __name__ == "__main__":
    main()
