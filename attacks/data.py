"""Labelled points and what is known about them; every malformed input is refused here, once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.errors import InputError


def check_inputs(inputs: Tensor) -> None:
    """Return nothing when the inputs are a batch of finite float32 images.

    Args:
        inputs: expected `[batch channel height width]`.

    Raises:
        InputError: not a tensor, wrong dtype or shape, empty, or not finite.
    """
    if not isinstance(inputs, Tensor):
        raise InputError(
            f"inputs: expected a torch.Tensor, got {type(inputs).__name__}; convert with torch.as_tensor(...)"
        )
    if inputs.ndim != 4:
        raise InputError(
            f"inputs: expected the shape [batch channel height width], got {list(inputs.shape)}; "
            "reshape, or add the missing axis with inputs.unsqueeze(...)"
        )
    if inputs.numel() == 0:
        raise InputError(
            f"inputs: expected at least one point, got the shape {list(inputs.shape)}; pass a non-empty set"
        )
    if inputs.dtype != torch.float32:
        raise InputError(
            f"inputs: expected float32, got {inputs.dtype}; convert with inputs.float() (scaled to the bounds)"
        )
    bad = ~torch.isfinite(inputs).reshape(len(inputs), -1).all(dim=1)
    if bad.any():
        raise InputError(
            f"inputs: expected finite values, got NaN or infinity in {int(bad.sum())} of {len(inputs)} points "
            f"(first: {int(bad.nonzero()[0])}); drop or repair these points"
        )


def check_labels(labels: Tensor, points: int, *, classes: int | None = None) -> None:
    """Return nothing when there is one integer class per point.

    Args:
        labels: expected `[batch]`, an integer dtype.
        points: how many there must be.
        classes: the number of classes, where it is known.

    Raises:
        InputError: wrong type, shape, length or range.
    """
    if not isinstance(labels, Tensor) or labels.dtype not in (torch.int64, torch.int32, torch.int16, torch.uint8):
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise InputError(f"labels: expected a tensor of class indices (int64), got {got}; convert with labels.long()")
    if labels.shape != (points,):
        raise InputError(
            f"labels: expected the shape [{points}], one label per input, got {list(labels.shape)}; "
            "pass the labels of these inputs"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (classes is not None and high >= classes):
        upper = "" if classes is None else f" and <= {classes - 1}, the network's last class"
        raise InputError(
            f"labels: expected classes >= 0{upper}, got values from {low} to {high}; check the label encoding"
        )


@dataclass(frozen=True, slots=True, eq=False)
class LabelledData:
    """Inputs with their classes, checked.

    Attributes:
        inputs: `[batch channel height width]` float32, finite.
        labels: `[batch]` int64, >= 0.
    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Check both fields; labels become int64."""
        check_inputs(self.inputs)
        check_labels(self.labels, len(self.inputs))
        object.__setattr__(self, "labels", self.labels.long())

    def __len__(self) -> int:
        return len(self.inputs)


def check_beside(name: str, data: LabelledData | None, inputs: Tensor, bounds: tuple[float, float]) -> None:
    """Return nothing when further points are like the evaluated ones: labelled, of their size, inside the bounds.

    Args:
        name: the argument, for the message.
        data: the points, or None.
        inputs: the evaluated points.
        bounds: (low, high).

    Raises:
        InputError: not labelled data, another shape, or values outside the bounds.
    """
    if data is None:
        return
    if not isinstance(data, LabelledData):
        raise InputError(
            f"{name}: expected LabelledData, got {type(data).__name__}; pass attacks.LabelledData(inputs, labels)"
        )
    check_like(name, data.inputs, inputs, bounds)


def check_like(name: str, others: Tensor, inputs: Tensor, bounds: tuple[float, float]) -> None:
    """Return nothing when some inputs have the size and range of the evaluated ones.

    Args:
        name: the argument, for the message.
        others: expected `[n channel height width]`.
        inputs: the evaluated points.
        bounds: (low, high).

    Raises:
        InputError: another shape, or values outside the bounds.
    """
    if not isinstance(others, Tensor) or others.ndim != inputs.ndim or others.shape[1:] != inputs.shape[1:]:
        got = list(others.shape) if isinstance(others, Tensor) else type(others).__name__
        raise InputError(
            f"{name}: expected a tensor of the shape {['n', *inputs.shape[1:]]}, like the evaluated inputs, got {got}; "
            "take them from the same data"
        )
    low, high = others.min().item(), others.max().item()
    lower, upper = torch.tensor(bounds, dtype=others.dtype).tolist()
    if not (lower <= low and high <= upper):
        raise InputError(
            f"{name}: expected every value within the bounds [{bounds[0]:g}, {bounds[1]:g}], got values from {low:g} "
            f"to {high:g}; scale them like the evaluated inputs"
        )


@dataclass(frozen=True, slots=True)
class DataDescription:
    """Where points come from, in words a report can print.

    Attributes:
        name: the data set's name.
        split: the part of it, e.g. "test".
        encoding: how the images were stored, e.g. "lossless" or "JPEG re-encoded".
        ids: one stable id per evaluated point, or None where the data set has none.
        used_ids: the ids of the training and calibration points, or None where they are not known.
    """

    name: str = "unnamed"
    split: str = "unnamed"
    encoding: str = "not stated"
    ids: tuple[str, ...] | None = None
    used_ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Store ids as tuples of text."""
        for name in ("ids", "used_ids"):
            value: Sequence[object] | None = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(str(item) for item in value))
