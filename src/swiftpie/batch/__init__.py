"""Many jobs in one run: each is drawn exactly once, whatever happens meanwhile."""
