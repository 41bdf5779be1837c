"""One transform a file, named as the file, each with a `TRANSFORM`."""
