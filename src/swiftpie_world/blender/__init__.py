"""Truth for the network of light: scenes that Cycles draws with and without a thing."""
