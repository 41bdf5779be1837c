"""Ablations: what each part of the method is worth, measured with the parts taken away."""
