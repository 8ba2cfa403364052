"""Folding a BatchNorm into its layer and writing it back.

Seen to fail: eps left out of the square root; the running mean not scaled; running variance 1 instead of 1 - eps.
"""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ensemble.errors import InputError
from ensemble.layers import LayerRef, fold, unfold
from tests.ensemble.cases import generator, randomised


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["conv1d", "conv2d", "linear"])
def test_fold_and_unfold_compute_the_same(kind: str, bias: bool, affine: bool) -> None:
    """The folded layer equals layer and norm, and its state dictionary loads strictly and computes the same."""
    layers: dict[str, tuple[nn.Module, nn.Module, tuple[int, ...]]] = {
        "conv1d": (nn.Conv1d(3, 4, 3, padding=1, bias=bias), nn.BatchNorm1d(4, affine=affine), (5, 3, 9)),
        "conv2d": (nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=bias), nn.BatchNorm2d(4, affine=affine), (5, 3, 8, 8)),
        "linear": (nn.Linear(3, 4, bias=bias), nn.BatchNorm1d(4, affine=affine), (5, 3)),
    }
    layer, norm, shape = layers[kind]
    network = randomised(nn.Sequential(layer, norm), dtype=torch.float64)
    x = torch.randn(shape, generator=generator(), dtype=torch.float64)
    folded = fold(network, LayerRef("0", "1"))
    assert_close(folded(x), network(x), rtol=1e-10, atol=1e-10)
    expected = network(x).detach().clone()
    state = network.state_dict() | unfold(network, LayerRef("0", "1"), folded.weight, folded.bias)
    network.load_state_dict(state, strict=True)
    assert_close(network(x), expected, rtol=1e-10, atol=1e-10)


def test_a_pruned_channel_folds() -> None:
    """Gamma = 0 gives a zero row, not a division by zero."""
    network = randomised(nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)), dtype=torch.float64)
    with torch.no_grad():
        network[1].weight[1] = 0.0
    folded = fold(network, LayerRef("0", "1"))
    assert float(folded.weight[1].abs().max()) == 0.0
    assert folded.bias is not None
    assert float(folded.bias[1]) == float(network[1].bias[1].detach())


def test_norm_without_statistics_is_refused() -> None:
    """Without running statistics a BatchNorm is no affine map."""
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval()
    with pytest.raises(InputError, match="running statistics"):
        fold(network, LayerRef("0", "1"))


def test_bias_without_a_place_is_refused() -> None:
    """A layer that stores no bias refuses one."""
    network = nn.Sequential(nn.Linear(2, 3, bias=False))
    with pytest.raises(InputError, match="expected no bias"):
        unfold(network, LayerRef("0", None), torch.zeros(3, 2), torch.ones(3))
