"""From trained weights and a data set to a stored ensemble, as one recorded step."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ensemble
from ensemble import Recipe, SymmetryEnsemble
from ensemble.architectures import Architecture
from ensemble.errors import ArtifactError, InputError
from service.catalogue import architectures, user_network
from service.catalogue.checkpoints import load_weights
from service.catalogue.datasets import DataSet
from service.catalogue.model_info import ModelInfo
from service.catalogue.names import check_name
from service.catalogue.repository import ModelRepository

DEVICE = re.compile(r"cpu|cuda(:[0-9]{1,2})?")
ENOUGH = 500  # calibration images used where the caller names no number and the recipe trains nothing
CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained base network and how it is built again.

    Attributes:
        network: in eval mode, on its device.
        architecture: catalogue key and options; None for a network from the user's own file.
    """

    network: nn.Module
    architecture: Architecture | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be built.

    Attributes:
        name: name of the ensemble.
        members: how many networks.
        recipe: settings of the generation.
        seed: seed of everything random.
        calibration: how many calibration images; all, but at most 500, when None.
    """

    name: str
    members: int
    recipe: Recipe
    seed: int
    calibration: int | None = None


def trained_network(key: str, weights: Path, *, num_classes: int | None, device: str = "cpu") -> TrainedNetwork:
    """Return the network of an architecture key, or of the user's own `file.py:factory`, with trained weights in it.

    Raises:
        UnknownName: the key is not known.
        InputError: the weights are missing or do not fit, or there is no such device.
        ArtifactError: the weights are damaged.
    """
    if user_network.is_file_reference(key):
        network, architecture = user_network.build_from_file(key, num_classes=num_classes), None
    else:
        architecture = architectures.architecture(key, num_classes=num_classes)
        network = architectures.build(key, num_classes=num_classes)
    load_weights(network, weights)
    return TrainedNetwork(network.to(checked_device(device)), architecture)


def build(
    base: TrainedNetwork,
    source: DataSet,
    order: Order,
    repository: ModelRepository,
    *,
    progress: Callable[[Any], None] | None = None,
) -> ModelInfo:
    """Return the record of an ensemble built on the calibration part of a data set and stored in the repository.

    The labels of the calibration part are not used.

    Raises:
        LevelsetError: the name, the numbers or the network do not allow it; nothing is stored then.
    """
    check_name(order.name)  # before minutes of work
    inputs = calibration_inputs(base, source, order.calibration, enough=enough(order.recipe))
    rng = torch.Generator().manual_seed(order.seed)
    model = ensemble.generate(
        base.network, inputs, members=order.members, recipe=order.recipe, rng=rng, progress=progress
    )
    return repository.add(
        order.name,
        model,
        architecture=base.architecture,
        dataset=source.name,
        dataset_digest=source.digest,
        class_names=source.class_names,
    )


def enough(recipe: Recipe) -> int:
    """Return how many calibration images are used where the caller names no number: hardening wants thousands."""
    return ENOUGH if recipe.hardening is None else max(ENOUGH, recipe.hardening.inputs)


def calibration_inputs(base: TrainedNetwork, source: DataSet, n: int | None, *, enough: int = ENOUGH) -> Tensor:
    """Return `n` images of the calibration part, all but at most `enough` when None, on the network's device.

    Raises:
        InputError: the data set has other classes than the network, or not so many images.
    """
    classes = count_classes(base.network, source.input_shape)
    if classes != source.num_classes:
        raise InputError(
            f"data set {source.name}: expected {classes} classes like the network, got {source.num_classes}; "
            "use the data set the network was trained on"
        )
    count = min(source.size(CALIBRATION), enough) if n is None else n
    return source.part(CALIBRATION, count).inputs.to(next(base.network.parameters()).device)


def store(
    base: TrainedNetwork,
    source: DataSet,
    name: str,
    model: SymmetryEnsemble,
    repository: ModelRepository,
    *,
    base_name: str,
) -> ModelInfo:
    """Return the record of a version with this content: the one that is there, or else a new one.

    Args:
        base: network the ensemble was made from.
        source: data set of the calibration inputs.
        name: name of the ensemble.
        model: what to store.
        repository: where.
        base_name: name of the stored base network.
    """
    for version in repository.versions(name) if name in repository.names() else ():
        with suppress(ArtifactError):
            info = repository.info(name, version)
            if info.digest == model.digest and info.dataset_digest == source.digest:
                return info
    return repository.add(
        name,
        model,
        architecture=base.architecture,
        dataset=source.name,
        dataset_digest=source.digest,
        class_names=source.class_names,
        base=base_name,
    )


def count_classes(network: nn.Module, input_shape: Sequence[int]) -> int:
    """Return the number of classes a network answers for inputs of a shape `(C, H, W)`.

    Raises:
        InputError: the network does not accept such inputs, or answers anything but logits `[batch classes]`.
    """
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            logits = network(torch.zeros(2, *input_shape, device=device))
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"input shape: expected one the network accepts, got {list(input_shape)} ({str(error)[:200]}); "
            "check the data set against the architecture"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 2:
        got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"network: expected logits [batch classes], got {got} for a batch of two; return the logits alone"
        )
    return int(logits.shape[1])


def checked_device(name: str) -> torch.device:
    """Return the torch device of a name.

    Raises:
        InputError: it is malformed or this machine does not have it.
    """
    if DEVICE.fullmatch(name) is None:
        raise InputError(f"device: expected cpu, cuda or cuda:<n>, got {name!r}; choose one of them")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device: expected one of this machine's {torch.cuda.device_count()} GPUs, got {name!r}; use cpu"
        )
    return device
