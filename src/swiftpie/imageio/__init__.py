"""Picture files: decoding of untrusted ones, writing, colour, cut-outs."""
