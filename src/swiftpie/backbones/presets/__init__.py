"""One preset a file; the file's name is the preset's."""
