"""Whatever is sent to whichever route, no answer is a fault of the server's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KNOWING = Path(__file__).with_name("knowing.py")


def test_every_answer_is_described(server):
    schema = server.ask("GET", "/openapi.json").json
    parts = schema["components"]["schemas"]
    text = str(schema)
    for name in text.split("#/components/schemas/")[1:]:
        assert name.split("'")[0] in parts
    for routes in schema["paths"].values():
        for route in routes.values():
            assert "422" not in route["responses"]
            assert {"400", "401", "403", "413", "429"} <= route["responses"].keys()


@pytest.mark.slow
def test_no_generated_request_is_a_fault_of_the_server(server):
    pytest.importorskip("schemathesis", reason="pip install schemathesis")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    before = server.worker.scheduler.batches
    told = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--max-examples", "40", "--checks", checks, "--generation-deterministic"),
            *("--phases", "examples,coverage,fuzzing"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(KNOWING), "SERVER": server.url},
    )
    assert told.returncode == 0, told.stdout[-4000:]
    assert server.worker.scheduler.batches > before + 100  # so many came as far as the networks
