"""The one path of every drawing: request, conditions, denoising step, pixels."""
