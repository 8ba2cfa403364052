"""Figures 10 and 11 of the paper, which attack networks, in two tracks."""

from attacks.paper import figure10, figure11
from attacks.paper.data import Images, PaperData, cut
from attacks.paper.settings import DEFAULT, OFFICIAL, Settings

#: The figures of this package, in order.
FIGURES = (figure10, figure11)

__all__ = ["DEFAULT", "FIGURES", "OFFICIAL", "Images", "PaperData", "Settings", "cut", "figure10", "figure11"]
