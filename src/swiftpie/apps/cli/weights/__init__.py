"""Commands that fetch, publish and convert weights."""
