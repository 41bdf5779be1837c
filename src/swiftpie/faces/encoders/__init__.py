"""One way to find and recognise faces a file, each bound to `ENCODER`."""
