"""The skip gradient method shrinks the gradients of residual branches, and nothing else.

Seen to fail with: the skip shrunk in place of the branch; the forward values shrunk too; sums of
paths equally long taken for residual blocks; passes not counted in the model.
"""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from attacks.gradient import KEEP_SURROGATE_LOSS, mi, sgm
from attacks.gradient.skip import residual_branches, with_skip_gradient
from attacks.targets import NetworkModel
from ensemble.errors import InputError
from service.catalogue.networks.cifar_resnet import resnet20

STEPS = {"steps": 3, "rel_stepsize": 0.4}


class Residual(nn.Module):
    """Linear blocks x + B x, added in place as real networks do, then a linear head; one skip has a projection."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
        self.second = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 4, bias=False))
        self.project = nn.Linear(6, 4, bias=False)
        self.head = nn.Linear(4, 3, bias=False)
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch 3]`."""
        x = inputs.flatten(1) + 0.5
        branch = self.first(x)
        branch += x
        y: Tensor = self.head(self.second(branch) + self.project(branch))
        return y


def _expected(network: Residual, gamma: float) -> Tensor:
    """The Jacobian `[3 6]` with every branch shrunk, from the weights."""
    first = network.first[1].weight @ network.first[0].weight
    second = network.second[1].weight @ network.second[0].weight
    block = gamma * second + network.project.weight
    return (network.head.weight @ block @ (gamma * first + torch.eye(6))).detach()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_branches_shrink_and_answers_stay(gamma: float) -> None:
    """The Jacobian is that of the formula; the answers are the network's own, bit by bit; its weights are shared."""
    network = Residual()
    shrunk = with_skip_gradient(network, gamma)
    x = torch.randn(5, 1, 1, 6)
    assert torch.equal(shrunk(x), network(x))
    jacobian = torch.autograd.functional.jacobian(shrunk, x[:1])
    torch.testing.assert_close(jacobian[0, :, 0, 0, 0], _expected(network, gamma), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        torch.autograd.functional.jacobian(network, x[:1])[0, :, 0, 0, 0], _expected(network, 1.0), rtol=1e-4, atol=1e-6
    )
    assert {id(weight) for weight in shrunk.parameters()} == {id(weight) for weight in network.parameters()}


@pytest.mark.parametrize(("make", "blocks"), [(resnet18, 8), (resnet20, 9)])
def test_every_block_of_a_residual_network_is_found(make: type, blocks: int) -> None:
    """One branch per block, each ending in its last batch norm."""
    branches = residual_branches(torch.fx.symbolic_trace(make().eval()).graph)
    assert len(branches) == blocks
    assert all(str(branch.target).endswith("bn2") for _, branch in branches)


def test_with_gamma_one_it_is_momentum_and_with_less_it_is_not() -> None:
    """The wrapped attack is MI; passes are counted in the model it was called with."""
    model = NetworkModel(resnet20().eval(), bounds=(0.0, 1.0), classes=10)
    x, y = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2, 3])
    plain = mi("linf", keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.03)
    model.passes.forwards = model.passes.backwards = 0
    same = sgm("linf", keep=KEEP_SURROGATE_LOSS, gamma=1.0, **STEPS).run(model, x, y, epsilon=0.03)
    assert torch.equal(same, plain)
    assert (model.passes.forwards, model.passes.backwards) == (3 * 5, 3 * 3)
    other = sgm("linf", keep=KEEP_SURROGATE_LOSS, gamma=0.3, **STEPS).run(model, x, y, epsilon=0.03)
    assert not torch.equal(other, plain)
    assert (other - x).abs().max() <= 0.03 + 1e-6


class Untraceable(nn.Module):
    """Branches on its values."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        return inputs if inputs.sum() > 0 else -inputs


class Sum(nn.Module):
    """Adds two paths of one length: no residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch 3]`."""
        return self.left(inputs) + self.right(inputs)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("network", "reason"),
    [(Untraceable(), "trace"), (nn.Linear(6, 3), "residual branches"), (Sum(), "residual branches")],
)
def test_networks_without_branches_are_refused(network: nn.Module, reason: str) -> None:
    """The message says what was expected and what to do instead."""
    with pytest.raises(InputError, match=rf"{reason}.*use another attack"):
        with_skip_gradient(network.eval(), 0.5)
