"""Lets `python -m swiftpie` stand for `swiftpie`."""

from swiftpie.cli.main import main

if __name__ == "__main__":
    main()
