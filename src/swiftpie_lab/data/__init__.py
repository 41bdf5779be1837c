"""Packs of subjects, and photographs of users, as training reads them."""
