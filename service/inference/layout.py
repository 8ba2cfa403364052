"""The order of a served network's numbers in memory: channels last where convolutions are faster so, as measured.

CPU libraries convolve images whose channels are neighbours in memory, and otherwise reorder them before and after every
layer. The numbers are the same, and so is the ensemble's digest; only the rounding of answers may differ.
"""

import copy
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from ensemble import SymmetryEnsemble
from ensemble.execution import StackedLayer

LOG = logging.getLogger("levelset.models")
ROWS: Final = 8  # of the batch that is measured
REPEATS: Final = 3  # timed runs after a warm-up, in turn; the fastest counts
_CONVOLUTION: Final = 5  # axes of stacked weights `[member out inp kh kw]`


def fastest_layout(
    model: SymmetryEnsemble, *, max_rows: int, clock: Callable[[], float] = time.perf_counter
) -> SymmetryEnsemble:
    """Return the ensemble as it is, or a copy with channels last if that answers faster here.

    Only CPUs are asked: on a GPU, float32 convolutions gain nothing by it.

    Args:
        model: the loaded ensemble.
        max_rows: rows of the largest execution.
        clock: seconds, monotonic.
    """
    weight = model.layers[0].weight
    if weight.device.type != "cpu" or not any(layer.weight.ndim == _CONVOLUTION for layer in model.layers):
        return model
    try:
        return _fastest((model, channels_last(model)), min(ROWS, max_rows), clock)
    except RuntimeError as error:  # no memory for a second copy, say: the first one serves
        LOG.warning("channels last cannot be tried, so the stored layout serves: %s", error)
        return model


def channels_last(model: SymmetryEnsemble) -> SymmetryEnsemble:
    """Return an ensemble of the same numbers whose convolutions run channels last."""
    trunk = None if model.refined is None else _reordered(model.refined)
    layers = [StackedLayer(layer.ref, _channels_last(layer.weight), layer.bias) for layer in model.layers]
    return SymmetryEnsemble(_reordered(model.base), model.input_shape, layers, model.generation, trunk=trunk)


def _fastest(candidates: Sequence[SymmetryEnsemble], rows: int, clock: Callable[[], float]) -> SymmetryEnsemble:
    first = candidates[0]
    inputs = torch.zeros(rows, *first.input_shape, dtype=first.layers[0].weight.dtype)
    seconds: list[list[float]] = [[] for _ in candidates]
    with torch.inference_mode():
        for _ in range(REPEATS + 1):
            for index, candidate in enumerate(candidates):
                begin = clock()
                candidate.member_logits(inputs)
                seconds[index].append(clock() - begin)
    best = [min(runs[1:]) for runs in seconds]
    return candidates[best.index(min(best))]


def _reordered(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _channels_last(weight: Tensor) -> Tensor:
    if weight.ndim != _CONVOLUTION:
        return weight
    return weight.movedim(2, -1).contiguous().movedim(-1, 2)
