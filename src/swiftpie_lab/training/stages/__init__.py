"""One training stage a file; each reads the folder that an earlier stage wrote."""
