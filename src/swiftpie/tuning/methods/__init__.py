"""One file a method; each binds `METHOD`."""
