"""Scenes that Cycles draws: truth for the network of light, and places of the library."""
