"""The one-step model itself: its networks, its tasks and their losses."""
