"""Attacks that only ask the served model: for its scores, or for its answer alone."""

from attacks.query.square import Square, square

__all__ = ["Square", "square"]
