"""Faces of people in new scenes, judged as FastFace does (arXiv:2505.21144), each aspect apart."""
