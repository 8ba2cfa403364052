"""Serving modes of a target."""

#: Modes that can be judged today: the mean of the members' probabilities.
MODES = ("prob",)
