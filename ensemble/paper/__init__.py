"""The figures of the paper, reproduced in two tracks: as published, with the official code's defects, and corrected."""

from ensemble.paper.defects import defects_of
from ensemble.paper.drawing import png, svg
from ensemble.paper.table import MISSING, TABLE, Row
from ensemble.paper.values import Comparison, Line, Panel, Report, Stroke, Track, TrackName

__all__ = [
    "MISSING",
    "TABLE",
    "Row",
    "Comparison",
    "Line",
    "Panel",
    "Report",
    "Stroke",
    "Track",
    "TrackName",
    "defects_of",
    "png",
    "svg",
]
