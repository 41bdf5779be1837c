"""PIE-Bench: its folder, its exact definitions, and a report on a method."""
