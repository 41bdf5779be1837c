"""Functions that return complete, frozen training configurations."""
