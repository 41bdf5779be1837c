"""Ways to draw a request, one a file; each binds `TECHNIQUE`, see `pipelines.draw.Technique`."""
