"""Recipes by name, one or several a file, none of which loads anything."""
