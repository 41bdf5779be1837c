"""Inversion networks (SwiftEdit, arXiv:2412.04301): pictures to the noise behind them."""
