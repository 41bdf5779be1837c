"""The command line, `swiftpie`."""
