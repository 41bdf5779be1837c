"""One guidance method a file, each with a `METHOD` that builds its default for some steps."""
