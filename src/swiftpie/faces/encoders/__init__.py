"""Ways to find and recognise faces: one a file, bound to `ENCODER`, or several, to `ENCODERS`."""
