"""Data sets by name, and by path on the command line."""

from collections.abc import Callable
from pathlib import Path

from ensemble.errors import UnknownName
from service.catalogue.datasets.digits import digits
from service.catalogue.datasets.image_folder import image_folder
from service.catalogue.datasets.npz_file import npz_file
from service.catalogue.datasets.torchvision_sets import ROWS, torchvision_set
from service.catalogue.datasets.values import DataSet

BY_PATH: dict[str, Callable[[Path], DataSet]] = {"folder": image_folder, "npz": npz_file}


def known() -> list[str]:
    """Return the names a request may use, sorted."""
    return sorted(["digits", *ROWS])


def load(name: str, root: Path | None = None, *, download: bool = False) -> DataSet:
    """Return the data set of a name.

    Args:
        name: one of `known()`. A caller on the operator's own machine may also pass `folder:PATH` or `npz:PATH`; a
            request must be checked against `known()` first.
        root: folder that holds torchvision's files, for the data sets that have them.
        download: let torchvision fetch missing files over the network.

    Raises:
        UnknownName: no such data set.
        InputError: the data set is not there or cannot be read.
    """
    kind, colon, path = name.partition(":")
    if colon and kind in BY_PATH:
        return BY_PATH[kind](Path(path).expanduser())
    if name == "digits":
        return digits()
    if name in ROWS:
        return torchvision_set(ROWS[name], root, download=download)
    raise UnknownName("data set", name, [*known(), "folder:PATH", "npz:PATH"])
