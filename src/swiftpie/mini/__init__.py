"""What only the embedded model needs."""
