"""The gauge of multi-head attention.

Seen to fail: a instead of its inverse transpose on the queries; biases left behind; w not inverted on the output; heads
relabelled in queries and keys only; blocks transposed.
"""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ensemble.attention import (
    AttentionSite,
    Gauge,
    act_on_attention,
    attention_sites,
    refused_attention,
    sample_gauge,
)
from ensemble.errors import InputError
from ensemble.groups import DirectSum, GeneralLinear, GroupElement, Permutation, identity
from tests.ensemble.cases import generator, images, randomised
from tests.ensemble.networks import Transformer


class _Attention(nn.Module):
    """An attention layer read with other keys than queries, its only output that of the layer."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(12, 3, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and attention weights."""
        output, weights = self.layer(x, keys, values)
        return output, weights


def _acted(network: nn.Module, scale: float = 1.0) -> nn.Module:
    state = network.state_dict()
    for index, site in enumerate(attention_sites(network)):
        state |= act_on_attention(network, site, sample_gauge(site, scale=scale, rng=generator(index)))
    other = copy.deepcopy(network)
    other.load_state_dict(state, strict=True)
    return other


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"add_zero_attn": True}, {"kdim": 7, "vdim": 5}])
@pytest.mark.parametrize("batch_first", [True, False])
def test_the_gauge_changes_no_output(options: dict[str, object], batch_first: bool) -> None:
    """Outputs and the heads' mean attention stay the same while every projection has moved."""
    network = randomised(_Attention(batch_first=batch_first, **options), dtype=torch.float64).requires_grad_(False)
    rng = generator(3)
    x = torch.randn(4, 6, 12, generator=rng, dtype=torch.float64)
    keys = torch.randn(4, 6, int(str(options.get("kdim", 12))), generator=rng, dtype=torch.float64)
    values = torch.randn(4, 6, int(str(options.get("vdim", 12))), generator=rng, dtype=torch.float64)
    other = _acted(network)
    before, after = network(x, keys, values), other(x, keys, values)
    scale = float(before[0].abs().max())
    assert_close(after[0], before[0], rtol=0, atol=1e-12 * scale)
    assert_close(after[1], before[1], rtol=0, atol=1e-12)
    for name, weight in network.named_parameters():
        moved = float((dict(other.named_parameters())[name] - weight).abs().max())
        assert (moved > 1e-2) == (name != "layer.out_proj.bias")


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_whole_transformer_keeps_its_function(batch_first: bool) -> None:
    """Acting on every layer's heads leaves a transformer's logits alone, in its own class."""
    network = randomised(Transformer(batch_first=batch_first), dtype=torch.float64).requires_grad_(False)
    x = images(5, dtype=torch.float64)
    assert [site.name for site in attention_sites(network)] == ["attention.0", "attention.1"]
    before = network(x)
    assert_close(_acted(network)(x), before, rtol=0, atol=1e-11 * float(before.abs().max()))


def test_what_is_no_gauge_moves_the_output() -> None:
    """The test above can fail: the same matrices without the inverse on the queries change the logits."""
    network = randomised(Transformer(), dtype=torch.float64).requires_grad_(False)
    x = images(5, dtype=torch.float64)
    site = attention_sites(network)[0]
    state = network.state_dict() | act_on_attention(network, site, sample_gauge(site, scale=0.3, rng=generator()))
    state["attention.0.in_proj_weight"][:12] = network.state_dict()["attention.0.in_proj_weight"][:12]
    other = copy.deepcopy(network)
    other.load_state_dict(state, strict=True)
    assert float((other(x) - network(x)).abs().max()) > 1e-3


def test_identity_and_relabelling_alone() -> None:
    """The neutral gauge returns the weights; a relabelling moves whole heads."""
    network = randomised(Transformer(), dtype=torch.float64).requires_grad_(False)
    site = attention_sites(network)[0]
    one = identity(site.group, 12)
    neutral = act_on_attention(network, site, Gauge(one, one, identity(Permutation(), 3)))
    for name, value in neutral.items():
        assert_close(value, network.state_dict()[name], rtol=0, atol=1e-14)
    swap = GroupElement(torch.eye(3, dtype=torch.float64)[[1, 0, 2]], Permutation())
    swapped = act_on_attention(network, site, Gauge(one, one, swap))["attention.0.in_proj_weight"]
    own = network.state_dict()["attention.0.in_proj_weight"]
    assert_close(swapped[:12], own[[4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11]])


def test_refused_layers_say_why() -> None:
    """Extra key biases and shared layers are left alone, with a reason."""
    extra = nn.ModuleDict({"a": nn.MultiheadAttention(12, 3, add_bias_kv=True)})
    assert [(entry.layer, "add_bias_kv" in entry.reason) for entry in refused_attention(extra)] == [("a", True)]
    one, two = nn.MultiheadAttention(12, 3), nn.MultiheadAttention(12, 3)
    two.in_proj_weight = one.in_proj_weight
    refused = refused_attention(nn.ModuleList([one, two]))
    assert [("tied" in entry.reason, entry.layer) for entry in refused] == [(True, "0"), (True, "1")]
    assert attention_sites(nn.ModuleList([one, two])) == []


def test_a_gauge_of_another_layer_is_refused() -> None:
    """Sizes and groups are checked before anything is multiplied."""
    network = Transformer()
    other = AttentionSite("attention.0", 2, 6)
    with pytest.raises(InputError, match="expected keys in 3 blocks"):
        act_on_attention(network, attention_sites(network)[0], sample_gauge(other, scale=0.1, rng=generator()))
    one = identity(DirectSum(GeneralLinear(), 3), 12)
    with pytest.raises(InputError, match="permutation of 3 heads"):
        act_on_attention(network, attention_sites(network)[0], Gauge(one, one, identity(Permutation(), 2)))
