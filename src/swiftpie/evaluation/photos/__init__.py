"""Real photographs: what the model makes of subjects that no renderer drew."""
