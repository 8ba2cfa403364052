"""Architectures by name, data sets by name, and the model repository on disk."""
