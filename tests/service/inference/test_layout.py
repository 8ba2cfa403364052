"""Channels last is the same ensemble, and serves only where it is faster.

Seen to fail: the axes of the weights moved to the wrong place; the slower layout taken; the warm-up run counted; a
refined trunk left out of the copy.
"""

import copy
from collections.abc import Iterator
from itertools import chain, cycle

import pytest
import torch

from ensemble import SymmetryEnsemble
from service.catalogue.repository import ModelRepository
from service.inference.layout import REPEATS, channels_last, fastest_layout
from tests.service.inference.models import stored_models


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> SymmetryEnsemble:
    """Return a real ensemble of convolutions."""
    return ModelRepository(stored_models(tmp_path_factory)).load("digits")


def _is_channels_last(model: SymmetryEnsemble) -> bool:
    weights = [layer.weight[0] for layer in model.layers if layer.weight.ndim == 5]
    # One input channel is neighbour of itself in any layout.
    telling = [weight for weight in weights if weight.shape[1] > 1 and weight[0, 0].numel() > 1]
    assert telling
    return all(weight.is_contiguous(memory_format=torch.channels_last) for weight in telling)


def _clock(plain: float, last: float) -> Iterator[float]:
    """Yield a clock's readings for which the two layouts take so long, and a warm-up the other way round."""
    warm_up = [(0.0, last), (0.0, plain)]
    return chain.from_iterable(chain(warm_up, cycle([(0.0, plain), (0.0, last)])))


def test_the_other_layout_is_the_same_ensemble(model: SymmetryEnsemble) -> None:
    """Digest, logits and the base's logits agree; only the order in memory differs."""
    other = channels_last(model)
    inputs = torch.rand(5, *model.input_shape, generator=torch.Generator().manual_seed(0))
    assert _is_channels_last(other)
    assert not _is_channels_last(model)
    assert other.digest == model.digest
    torch.testing.assert_close(other.member_logits(inputs), model.member_logits(inputs))
    torch.testing.assert_close(other.base(inputs), model.base(inputs))


def test_a_refined_trunk_is_kept(model: SymmetryEnsemble) -> None:
    """What members share outside their own layers is the trunk's in either layout, not the base's."""
    trunk = copy.deepcopy(model.base)
    with torch.no_grad():
        for weight in trunk.parameters():
            weight.mul_(1.5)
    plain, refined = (SymmetryEnsemble(model.base, model.input_shape, model.layers[:1], trunk=t) for t in (None, trunk))
    inputs = torch.rand(5, *model.input_shape, generator=torch.Generator().manual_seed(0))
    expected = refined.member_logits(inputs)
    assert not torch.allclose(expected, plain.member_logits(inputs))
    other = channels_last(refined)
    assert other.digest == refined.digest
    torch.testing.assert_close(other.member_logits(inputs), expected)


@pytest.mark.parametrize(("plain", "last", "chosen"), [(2.0, 1.0, True), (1.0, 2.0, False)])
def test_the_faster_layout_serves(model: SymmetryEnsemble, plain: float, last: float, chosen: bool) -> None:
    """The clock decides, after a warm-up that does not count."""
    readings = _clock(plain, last)
    found = fastest_layout(model, max_rows=4, clock=lambda: next(readings))
    assert _is_channels_last(found) == chosen
    assert (found is model) == (not chosen)


def test_a_model_is_measured_a_few_times_only(model: SymmetryEnsemble) -> None:
    """Two readings per run, two layouts, one warm-up."""
    count = 0

    def clock() -> float:
        nonlocal count
        count += 1
        return float(count)

    fastest_layout(model, max_rows=1, clock=clock)
    assert count == 2 * 2 * (REPEATS + 1)
