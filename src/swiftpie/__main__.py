"""Lets `python -m swiftpie` stand for `swiftpie`."""

from swiftpie.apps.cli.main import main

if __name__ == "__main__":
    main()
