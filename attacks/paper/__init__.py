"""Figures 10 and 11 of the paper, which attack networks, in two tracks."""

from attacks.paper import figure10, figure11
from attacks.paper.data import Images, PaperData, cut
from attacks.paper.settings import Settings

__all__ = ["Images", "PaperData", "Settings", "cut", "figure10", "figure11"]
