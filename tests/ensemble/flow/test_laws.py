"""The laws that are found in real networks: streams, gates, groups, BatchNorm, attention; and their orthogonality.

Seen to fail when: a reader's columns are read in the order of its rows; the groups of a convolution are ignored; a
depthwise bias is left out; a BatchNorm's beta is left out; the conv's weight is taken where gamma scales the units; the
attention bias is dropped; values are compared with keys.
"""

import pytest
import torch
from torch import Tensor, nn

from ensemble import flow
from ensemble.activations import RELU
from ensemble.errors import InputError
from tests.ensemble.cases import ResidualNet, images, mlp, plain_cnn, randomised
from tests.ensemble.flow.cases import any_inputs, rotated_inputs, small, weights
from tests.ensemble.networks import GroupedNet, LinearStream, Sequences, SqueezeExciteNet, Transformer

F64 = torch.float64


class DepthwiseNet(nn.Module):
    """Expand, ReLU, a depthwise convolution with a bias, ReLU, project: the depthwise bias rides along."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depthwise = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
        self.project = nn.Conv2d(4, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 3]` of images `[batch 1 8 8]`."""
        return self.project(torch.relu(self.depthwise(torch.relu(self.expand(x))))).mean([2, 3])


NETWORKS = {
    "perceptron": (mlp, 2),
    "plain cnn": (plain_cnn, 3),
    "residual": (ResidualNet, 4),
    "squeeze and excite": (SqueezeExciteNet, 2),
    "stream without activations": (LinearStream, 1),
    "grouped": (GroupedNet, 3),
    "depthwise": (DepthwiseNet, 1),
    "sequences": (Sequences, 2),
    "attention": (Transformer, 2),
}


def built(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network in float64 evaluation mode and inputs."""
    network = randomised(NETWORKS[name][0](), dtype=F64)
    rows = torch.rand(6, 6, dtype=F64, generator=torch.Generator().manual_seed(2))
    return network, rows if name == "perceptron" else images(6, dtype=F64)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_law_of_a_network_is_orthogonal_to_its_loss(name: str) -> None:
    """<grad Q, grad L> = 0 for all laws that hold for any data, and as many are found as there should be."""
    network, inputs = built(name)
    found = [law for law in flow.laws(network, inputs) if law.condition == "any data, any loss"]
    assert len(found) == NETWORKS[name][1]
    parameters = flow.parameters_of(network)
    gradient = flow.loss_gradient(flow.network_loss(network, inputs, torch.arange(6) % 3), parameters)
    for law in found:
        own = {key: parameters[key] for key in law.parameters}
        along = flow.directional_derivative(law.quantity, own, {key: gradient[key] for key in own})
        bound = (law.size(own).max() * law.size({key: gradient[key] for key in own}).max()).sqrt()
        assert float(bound) > 0
        assert float(along.abs().max() / bound) < 1e-13


def test_laws_are_those_of_the_two_layer_formulas() -> None:
    """A perceptron's law is `unit_quantities` of its own weights; a chain's is `conserved_matrix`."""
    p = weights(bias=True)
    network = small(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    (law,) = flow.laws(network, any_inputs())
    values = {"0.weight": p["V"], "0.bias": p["b"], "2.weight": p["U"]}
    torch.testing.assert_close(law.quantity(values), flow.unit_quantities(p["U"], p["V"], RELU, bias=p["b"]))
    assert flow.coordinates(network, any_inputs())["0 -> 2"].shape == (5,)


def test_a_batchnorm_takes_the_place_of_the_weights_it_scales() -> None:
    """Behind a BatchNorm, gamma and beta are the lower part; the raw weights have a law of their own."""
    network = small(nn.Conv2d(1, 3, 2, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    scaling, norm = flow.laws(network, torch.zeros(1, 1, 3, 3, dtype=F64))
    assert isinstance(scaling, flow.ScalingLaw)
    p = flow.parameters_of(network)
    columns = p["4.weight"].reshape(3, 3, 4)  # out, channel, position
    by_hand = (columns.square().sum((0, 2)) - p["1.weight"].square() - p["1.bias"].square()) / 2
    torch.testing.assert_close(scaling.quantity(p), by_hand)
    assert isinstance(norm, flow.NormLaw)
    assert norm.condition.startswith("training mode")
    torch.testing.assert_close(norm.quantity(p), p["0.weight"].square().sum((1, 2, 3)) / 2)


def test_elementwise_laws_need_orthonormal_inputs_and_no_trained_bias() -> None:
    """A tanh network has its law where x x^T = 1 and the bias is frozen or absent; otherwise there is none."""

    def found(network: nn.Module, inputs: Tensor) -> list[str]:
        try:
            return [law.condition for law in flow.laws(network, inputs)]
        except InputError:
            return []

    free = small(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 3))
    biased = small(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    assert found(free, rotated_inputs()) == ["training inputs x with x x^T = 1"]
    assert found(free, 2 * rotated_inputs()) == []
    assert found(free, any_inputs()) == []
    assert found(biased, rotated_inputs()) == []
    biased[0].bias.requires_grad_(False)
    assert len(found(biased, rotated_inputs())) == 1


def test_nothing_is_changed_and_training_mode_is_fine() -> None:
    """The network keeps its mode and its weights."""
    network = small(nn.Linear(4, 5), nn.Dropout(0.5), nn.ReLU(), nn.Linear(5, 3)).train()
    before = [parameter.clone() for parameter in network.parameters()]
    flow.laws(network, any_inputs())
    assert network.training
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_network_without_laws_says_so() -> None:
    """GELU conserves nothing that is known here."""
    with pytest.raises(InputError, match="homogeneous"):
        flow.laws(small(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 3)), any_inputs())
