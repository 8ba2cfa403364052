"""Network architectures by key: what is known, and an untrained network of one.

A key is the name of an entry point in the group `levelset.architectures`, followed for families by `/` and a member:
`digits-cnn`, `resnet20`, `torchvision/resnet18`. A package adds its own networks by declaring entry points there. A
request can only ever name a key; code is never imported from a request.
"""

from torch import nn

from ensemble import architectures
from ensemble.architectures import Architecture
from ensemble.errors import InputError
from service.catalogue.networks import torchvision_models

FAMILIES = {"torchvision": torchvision_models.known_names}


def known() -> list[str]:
    """Return every architecture key, sorted; a family appears as its members, e.g. `torchvision/resnet18`."""
    keys: list[str] = []
    for key in architectures.factories():
        members = FAMILIES.get(key)
        keys.extend([key] if members is None else [f"{key}/{member}" for member in members()])
    return sorted(keys)


def build(key: str, *, num_classes: int | None = None) -> nn.Module:
    """Return an untrained network of the architecture `key`, in eval mode.

    Args:
        key: one of `known()`.
        num_classes: number of logits; the architecture's own default when None.

    Raises:
        UnknownName: the key is not known.
        InputError: the number of classes is below two, or the architecture refuses it.
    """
    return architectures.build(architecture(key, num_classes=num_classes))


def architecture(key: str, *, num_classes: int | None = None) -> Architecture:
    """Return the value that names an architecture in a stored artifact.

    Raises:
        InputError: the number of classes is below two.
    """
    if num_classes is not None and num_classes < 2:
        raise InputError(f"number of classes: expected at least 2, got {num_classes}; pass the data set's classes")
    return Architecture(key, {} if num_classes is None else {"num_classes": num_classes})
