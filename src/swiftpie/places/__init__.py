"""The library of places: its scenes, their light and weather, and the words that ask for them."""
