"""How an artifact names the class of its base network: a key and options, never a pickled module.

Keys are resolved through the entry-point group `levelset.architectures`, so any installed distribution can add its own
factory, and nothing in an artifact can choose code to run.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from torch import nn

from ensemble.errors import InputError, UnknownName

GROUP = "levelset.architectures"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A base network's class by name.

    Attributes:
        key: an entry point of the group, or `family/name` for one that serves a family (`torchvision/resnet18`).
        options: keyword arguments of its factory, JSON values only (`{"num_classes": 10}`).
    """

    key: str
    options: Mapping[str, Any] = field(default_factory=dict)


def factories() -> dict[str, EntryPoint]:
    """Return the installed factories by key, unloaded."""
    return {point.name: point for point in entry_points(group=GROUP)}


def build(architecture: Architecture) -> nn.Module:
    """Return a network of the architecture with untrained weights, in evaluation mode.

    Raises:
        UnknownName: no installed factory has that key.
        InputError: the factory takes no such option.
    """
    family, _, name = architecture.key.partition("/")
    points = factories()
    if family not in points:
        raise UnknownName("architecture", architecture.key, points)
    factory = points[family].load()
    options = dict(architecture.options) | ({"name": name} if name else {})
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise InputError(f"architecture {architecture.key}: {error}; got options {sorted(options)}") from error
    network = factory(**options)
    assert isinstance(network, nn.Module)
    return network.eval()
