"""Records the files that calls go through today: python -m tests.engine.update_traces."""

import swiftpie
from tests.engine.tracing import STORED, describe, traces

if __name__ == "__main__":
    STORED.write_text(describe(traces(swiftpie.load("mini", size_px=128))) + "\n")
