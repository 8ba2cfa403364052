"""Data sets a job may name: the built-in ones, and those the operator registered; never a path from a request."""

from pathlib import Path

from torch import Tensor

from attacks.data import LabelledData
from ensemble.digests import tensor_digest
from ensemble.errors import UnknownName
from ensemble.generation import Generation
from service.catalogue import datasets
from service.settings import Settings


def names(settings: Settings) -> list[str]:
    """Return the names a job may use, sorted."""
    return sorted({*datasets.known(), *settings.datasets})


def open_dataset(name: str, settings: Settings) -> datasets.DataSet:
    """Return the data set of an offered name.

    Args:
        name: one of `names(settings)`.
        settings: what the operator registered, and where the built-in ones lie.

    Raises:
        UnknownName: the name is not offered.
        InputError: the data set is not there or cannot be read.
    """
    if name not in names(settings):
        raise UnknownName("data set", name[:80], names(settings))
    key = settings.datasets.get(name, name)
    root: Path = settings.datasets_folder
    return datasets.load(key, root)


#: Points that baselines are fitted on: half a point of accuracy is one of two hundred.
VALIDATION = 600


def points_of_others(dataset: datasets.DataSet) -> tuple[LabelledData | None, LabelledData | None]:
    """Return the attacker's own sample and the points that baselines are fitted on; None for a part that is empty.

    Args:
        dataset: with disjoint parts.
    """
    return _labelled(dataset, "attacker", None), _labelled(dataset, "validation", VALIDATION)


def calibration_of(dataset: datasets.DataSet, generation: Generation | None) -> Tensor | None:
    """Return the inputs an ensemble was generated from, of which other draws are made; None where they are not these.

    Args:
        dataset: that the ensemble may have been made on.
        generation: the ensemble's record.
    """
    if generation is None or len(dataset.parts.get("calibration", ())) < generation.calibration_rows:
        return None
    inputs = dataset.part("calibration", generation.calibration_rows).inputs
    return inputs if tensor_digest(inputs) == generation.calibration_digest else None


def _labelled(dataset: datasets.DataSet, split: str, most: int | None) -> LabelledData | None:
    size = len(dataset.parts.get(split, ()))
    if size == 0:
        return None
    part = dataset.part(split, size if most is None else min(size, most))
    return LabelledData(part.inputs, part.labels)
