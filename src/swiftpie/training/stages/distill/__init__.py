"""Stages that make a one-step model of a multi-step one, and the multi-step one itself."""
