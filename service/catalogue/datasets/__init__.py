"""Labelled image data sets with fixed, disjoint parts."""

from service.catalogue.datasets.table import known, load
from service.catalogue.datasets.values import DataSet, Part

__all__ = ["DataSet", "Part", "known", "load"]
