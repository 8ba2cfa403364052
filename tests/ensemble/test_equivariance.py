"""A reflection-equivariant network keeps its equivariance in every member whose g commutes with the reflection.

Exact symmetries keep every function and with it every equivariance; the data-dependent action is what can lose one.
Seen to fail: a dense g in place of the commuting one; calibration inputs without their mirror images.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from ensemble.calibration import NormalEquations, regressor_rows, target_rows
from ensemble.controls import exact_ensemble
from ensemble.groups import Centraliser, Commuting, GeneralLinear, Group, PositiveScaling, Product
from ensemble.layers import FoldedLayer, fold, unfold
from ensemble.sites import Site, find_sites
from tests.ensemble.cases import generator, images

PAIRS = 4
ORDER = tuple(unit ^ 1 for unit in range(2 * PAIRS))  # channel 2i and its mirror image 2i+1


class MirrorNet(nn.Module):
    """Two convolutions with channels in mirrored pairs; its logits do not see left from right.

    Of each pair the second filter is the first one reflected; the second layer's also exchanges its input's pairs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2 * PAIRS, 3, padding=1)
        self.second = nn.Conv2d(2 * PAIRS, 2 * PAIRS, 3, padding=1)
        self.head = nn.Linear(PAIRS, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 5]` of images `[batch 1 8 8]`."""
        x = F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.1)), 0.1)
        return self.head(x.mean([2, 3]).unflatten(1, (PAIRS, 2)).mean(2))

    def features(self, x: Tensor) -> Tensor:
        """Return the second convolution's output `[batch channels 8 8]`."""
        return self.second(F.leaky_relu(self.first(x), 0.1))


def mirror_net(seed: int = 0) -> MirrorNet:
    """Return the network with random weights of the mirrored form, in float64."""
    rng = generator(seed)
    network = MirrorNet().double().eval().requires_grad_(False)
    mirror = torch.tensor(ORDER)
    for layer in (network.first, network.second):
        weight = torch.randn(layer.weight.shape, generator=rng, dtype=torch.float64) / layer.weight[0].numel() ** 0.5
        bias = 0.1 * torch.randn(2 * PAIRS, generator=rng, dtype=torch.float64)
        image = weight[0::2].flip(3)
        weight[1::2] = image if layer is network.first else image[:, mirror]
        bias[1::2] = bias[0::2]
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    network.head.weight.copy_(torch.randn(5, PAIRS, generator=rng, dtype=torch.float64))
    return network


def _refitted(network: MirrorNet, site: Site, group: Group, inputs: Tensor) -> MirrorNet:
    """Return a member: g on the lower layer, the upper one refitted to the base's features by ridge least squares."""
    lower, upper = fold(network, site.lower), fold(network, site.upper)
    element = group.sample(site.hidden, scale=0.7, rng=generator(2))
    moved = lower.mix_output(element.matrix)
    equations = NormalEquations(site.regressors, len(upper.weight), affine=True, device=torch.device("cpu"))
    equations.add(regressor_rows(upper, F.leaky_relu(moved(inputs), 0.1)), target_rows(upper, network.features(inputs)))
    fit = equations.solve(ridge=1e-3, prior=torch.zeros(len(upper.weight), site.regressors))
    refitted = replace(upper, weight=fit.weight.reshape(upper.weight.shape), bias=fit.bias)
    return _loaded(network, site, moved, refitted)


def _loaded(network: MirrorNet, site: Site, lower: FoldedLayer, upper: FoldedLayer) -> MirrorNet:
    member = MirrorNet().double().eval().requires_grad_(False)
    state = network.state_dict()
    state |= unfold(network, site.lower, lower.weight, lower.bias) | unfold(
        network, site.upper, upper.weight, upper.bias
    )
    member.load_state_dict(state, strict=True)
    return member


def _lost(network: MirrorNet, x: Tensor) -> tuple[float, float]:
    """Return how far logits are from invariant and features from equivariant, relative."""
    logits, features = network(x), network.features(x)
    mirrored = network.features(x.flip(3)).flip(3)[:, list(ORDER)]
    return (
        float((network(x.flip(3)) - logits).abs().max() / logits.abs().max()),
        float((mirrored - features).abs().max() / features.abs().max()),
    )


def test_members_of_commuting_elements_stay_equivariant() -> None:
    """With mirrored calibration inputs and g rho = rho g a refitted member does not see left from right, anywhere."""
    network = mirror_net()
    site = find_sites(network, images(1, dtype=torch.float64))[0]
    calibration, unseen = images(40, dtype=torch.float64), images(6, seed=9, dtype=torch.float64)
    closed = torch.cat([calibration, calibration.flip(3)])
    assert max(_lost(network, unseen)) < 1e-12
    member = _refitted(network, site, Commuting(GeneralLinear(), ORDER), closed)
    assert max(_lost(member, unseen)) < 1e-9
    # It is another function all the same.
    assert float((member(unseen) - network(unseen)).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("group", "mirrored"), [(GeneralLinear(), True), (Commuting(GeneralLinear(), ORDER), False)], ids=["g", "inputs"]
)
def test_the_equivariance_is_lost_otherwise(group: Group, mirrored: bool) -> None:
    """A g that does not commute, or inputs that do not come with their mirror images, cost the member its symmetry."""
    network = mirror_net()
    site = find_sites(network, images(1, dtype=torch.float64))[0]
    calibration, unseen = images(40, dtype=torch.float64), images(6, seed=9, dtype=torch.float64)
    inputs = torch.cat([calibration, calibration.flip(3)]) if mirrored else calibration
    member = _refitted(network, site, group, inputs)
    assert min(_lost(member, unseen)) > 1e-6


def test_exact_members_are_equivariant_whatever_the_element() -> None:
    """An exact symmetry keeps the function and so its invariance; a commuting one also keeps the weights' form."""
    network = mirror_net()
    x = images(5, dtype=torch.float64)
    for index, group in enumerate((None, Product(Centraliser(ORDER), Commuting(PositiveScaling(), ORDER)))):
        site = find_sites(network, x)[0]
        places = [site] if group is None else [replace(site, exact_group=group)]
        many = exact_ensemble(network, x, members=1, rng=generator(index), places=places)
        member = many.member(0)
        assert isinstance(member, MirrorNet)
        assert _lost(member, x)[0] < 1e-12
        z, image = member.first(x), member.first(x.flip(3)).flip(3)[:, list(ORDER)]
        kept = float((z - image).abs().max()) < 1e-12
        assert kept == (group is not None)
        assert_close(member(x), network(x), rtol=1e-11, atol=1e-12)
