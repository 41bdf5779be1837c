"""Exported graphs: `mini` without PyTorch, and the export of other models."""
