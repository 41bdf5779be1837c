"""What a photograph shows: outline, matte, ground, and what stands behind a thing."""
