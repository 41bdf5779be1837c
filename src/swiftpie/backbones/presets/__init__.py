"""A preset a file, named as the file; a file may also hold a family that shares settings."""
