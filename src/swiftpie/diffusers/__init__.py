"""The pipelines as diffusers users know pipelines: loaded, saved and called the same way."""
