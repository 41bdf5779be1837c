"""Exported networks in whole numbers of 8 bits, and the calls that they are calibrated with."""
