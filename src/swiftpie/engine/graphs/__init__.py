"""Networks as graphs for other runtimes: for the engine of OpenVINO, and for other programs."""
