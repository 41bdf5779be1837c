"""The adapter of a published one-step model, trained through the model itself."""
