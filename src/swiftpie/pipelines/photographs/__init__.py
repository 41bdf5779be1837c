"""Subjects put into photographs, and things taken out of them."""
