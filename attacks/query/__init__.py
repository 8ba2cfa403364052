"""Attacks that only ask the served model: for its scores, or for its answer alone."""

from attacks.query.boundary import boundary
from attacks.query.decision import DecisionAttack
from attacks.query.hopskipjump import hopskipjump
from attacks.query.square import Square, square

__all__ = ["DecisionAttack", "Square", "boundary", "hopskipjump", "square"]
