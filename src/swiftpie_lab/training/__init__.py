"""Recipes that train every part of the mini model, from the first step to shipped weights."""
