"""Import torchvision on a torch that cannot load torchvision's compiled operators.

torchvision registers fake kernels for two operators, `nms` and `qnms`, while it is imported. Beside a CPU-only torch
its compiled library does not load (it needs the CUDA libraries of another torch build), the operators do not exist, and
the import fails. Defining the two schemas beforehand is enough: models, transforms and data sets then work, and only
code that calls those operators fails, at the call. Nothing is defined where the compiled library did load.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# The definitions vanish when the Library object is collected; torch's registry is global, and so is its owner.
_KEPT: list[torch.library.Library] = []


def torchvision_folder() -> Path:
    """Return the folder torchvision is installed in, found without importing it.

    Raises:
        ImportError: torchvision is not installed.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError(
            "torchvision is not installed: expected a package beside torch, got none; "
            "install it with `pip install -c constraints.txt torchvision`"
        )
    return Path(spec.origin).parent


def load_compiled_operators(folder: Path) -> bool:
    """Return whether one of the compiled operator libraries in `folder` loads into this torch."""
    loaded = False
    for library in sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]):
        try:
            torch.ops.load_library(str(library))
        except OSError:  # linked against libraries of another torch build
            continue
        loaded = True
    return loaded


def define_operator_schemas() -> None:
    """Define the two operator schemas torchvision expects; a second call changes nothing."""
    if _KEPT:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in OPERATORS:
        try:
            library.define(name + SIGNATURE)
        except RuntimeError:  # defined already, by an earlier owner
            continue
    _KEPT.append(library)


def import_torchvision() -> ModuleType:
    """Return the torchvision package, made importable first where its compiled operators cannot load.

    Call this before any other import of torchvision. Calling it twice is harmless.

    Raises:
        ImportError: torchvision is not installed.
    """
    if not load_compiled_operators(torchvision_folder()):
        define_operator_schemas()
    return importlib.import_module("torchvision")
