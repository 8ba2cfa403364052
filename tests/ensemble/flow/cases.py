"""What gradient flow conserves, and what it does not although it looks alike: two-layer, deep and real networks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble import flow
from ensemble.activations import GELU, IDENTITY, LEAKY_RELU, RADIAL, RELU, SIGMOID, SIN, SQUARE, TANH, Activation

Parameters = Mapping[str, Tensor]
Function = Callable[[Parameters], Tensor]
OUT, HIDDEN, INP = 3, 5, 4


@dataclass(frozen=True, slots=True)
class Case:
    """A loss with a quantity.

    Attributes:
        name: what is special about it.
        loss: named parameters -> scalar.
        quantity: named parameters -> values.
        parameters: where the flow starts.
        duration: of the flow; long enough for the loss to fall.
    """

    name: str
    loss: Function
    quantity: Function
    parameters: dict[str, Tensor]
    duration: float = 0.1

    def path(self, tolerance: float = 1e-12) -> flow.Trajectory:
        """Return the path of gradient flow."""
        return flow.gradient_flow(
            self.loss, self.parameters, self.quantity, duration=self.duration, points=3, tolerance=tolerance
        )

    def relative_drift(self, path: flow.Trajectory) -> float:
        """Return the largest drift along a path, relative to the squared norms of the parameters."""
        size = sum(float(tensor.square().sum()) for tensor in self.parameters.values()) / 2
        return float(path.drift.max()) / size


def rng(seed: int = 0) -> torch.Generator:
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return float64 normal draws."""
    return torch.randn(*shape, dtype=torch.float64, generator=rng(seed))


def weights(*, bias: bool = False, scale: float = 0.7, seed: int = 1) -> dict[str, Tensor]:
    """Return two layers' weights: U `[out hidden]`, V `[hidden inp]`, b `[hidden]`."""
    found = {"U": scale * normal(OUT, HIDDEN, seed=seed), "V": scale * normal(HIDDEN, INP, seed=seed + 1)}
    return found | ({"b": scale * normal(HIDDEN, seed=seed + 2)} if bias else {})


def any_inputs() -> Tensor:
    """Return inputs `[12 inp]` with no structure."""
    return normal(12, INP, seed=7)


def unit_inputs() -> Tensor:
    """Return X = 1."""
    return torch.eye(INP, dtype=torch.float64)


def rotated_inputs() -> Tensor:
    """Return fewer orthonormal inputs than there are axes, none of them a unit vector: x x^T = 1."""
    return torch.linalg.qr(normal(INP, INP - 1, seed=8)).Q.T


def whitened_inputs() -> Tensor:
    """Return more inputs than axes with X X^T = 1: whitened, but not orthonormal one by one."""
    return torch.linalg.qr(normal(12, INP, seed=9)).Q


def squared_loss(activation: Activation, inputs: Tensor, seed: int = 5) -> Function:
    """Return half the squared error of U sigma(V x + b) against random targets."""
    targets = normal(len(inputs), OUT, seed=seed)

    def loss(parameters: Parameters) -> Tensor:
        z = inputs @ parameters["V"].T + parameters.get("b", torch.zeros(()))
        return (activation.function(z) @ parameters["U"].T - targets).square().sum() / 2

    return loss


def total(activation: Activation, inputs: Tensor | None = None) -> Function:
    """Return the total Q as a function of the parameters."""
    return lambda p: flow.conserved_quantity(p["U"], p["V"], activation, bias=p.get("b"), inputs=inputs)


def units(activation: Activation, inputs: Tensor | None = None) -> Function:
    """Return Q of every unit."""
    return lambda p: flow.unit_quantities(p["U"], p["V"], activation, bias=p.get("b"), inputs=inputs)


def matrix(activation: Activation) -> Function:
    """Return Q of every symmetric generator."""
    return lambda p: flow.conserved_matrix(p["U"], p["V"], activation, bias=p.get("b"))


def of_network(network: nn.Module, inputs: Tensor, wanted: type, name: str, duration: float = 0.1) -> Case:
    """Return the laws of one kind of a network under cross-entropy, in the network's mode."""
    found = [law for law in flow.laws(network, inputs) if isinstance(law, wanted)]
    assert found, name
    loss = flow.network_loss(network, inputs, torch.arange(len(inputs)) % 3)
    return Case(
        name,
        loss,
        lambda p: torch.cat([law.quantity(p).reshape(-1) for law in found]),
        flow.parameters_of(network),
        duration,
    )


def small(*layers: nn.Module, seed: int = 3) -> nn.Sequential:
    """Return a float64 network in evaluation mode with weights that do not depend on the global generator."""
    network = nn.Sequential(*layers).double().eval()
    generator = rng(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
    return network


def small_cnn() -> nn.Module:
    """Return conv-ReLU-pool-conv-LeakyReLU-flatten-linear on `[batch 1 6 6]`."""
    return small(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.LeakyReLU(0.2), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip


def normed_network() -> nn.Module:
    """Return linear-BatchNorm-ReLU-linear whose BatchNorm has no epsilon to speak of."""
    return small(nn.Linear(INP, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN, eps=1e-14), nn.ReLU(), nn.Linear(HIDDEN, 3))


class Attending(nn.Module):
    """One attention layer over a sequence, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 3]` of sequences `[batch time 4]`."""
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def images() -> Tensor:
    """Return images `[8 1 6 6]`."""
    return normal(8, 1, 6, 6, seed=11)


def softmax_loss(parameters: Parameters) -> Tensor:
    """Return the cross-entropy of U tanh(V x) on any inputs."""
    logits = torch.tanh(any_inputs() @ parameters["V"].T) @ parameters["U"].T
    return F.cross_entropy(logits, torch.arange(12) % OUT, reduction="sum")


def _two_layer(name: str, row: Activation, inputs: Tensor, quantity: Function, *, bias: bool = False) -> Case:
    return Case(name, squared_loss(row, inputs), quantity, weights(bias=bias))


def conserved_cases() -> list[Case]:
    """Return every case in which Q is constant along gradient flow."""
    inverse_square = flow.radial_power(-1.0)
    x, one, rotated = any_inputs(), unit_inputs(), rotated_inputs()
    deep = small(nn.Linear(INP, 5), nn.ReLU(), nn.Linear(5, 4), nn.LeakyReLU(0.1), nn.Linear(4, 3))
    chain = small(nn.Linear(INP, 5), nn.Linear(5, 4), nn.Linear(4, 3))
    frozen = small(nn.Linear(INP, 5, bias=False), nn.Tanh(), nn.Linear(5, 3))
    return [
        _two_layer("linear, all generators", IDENTITY, x, matrix(IDENTITY), bias=True),
        _two_layer("relu, per unit", RELU, x, units(RELU), bias=True),
        _two_layer("leaky relu, per unit", LEAKY_RELU, x, units(LEAKY_RELU), bias=True),
        Case("square (degree 2), per unit", squared_loss(SQUARE, x), units(SQUARE), weights(bias=True, scale=0.4)),
        Case("radial of degree -1, total", squared_loss(inverse_square, x), total(inverse_square), weights(scale=1.0)),
        _two_layer("tanh, X = 1", TANH, one, units(TANH)),
        _two_layer("sigmoid, X = 1", SIGMOID, one, units(SIGMOID)),
        _two_layer("sin, X = 1", SIN, one, units(SIN)),
        _two_layer("tanh, X^T X = 1 at Z", TANH, rotated, units(TANH, rotated)),
        _two_layer("sigmoid, X^T X = 1 at Z", SIGMOID, rotated, units(SIGMOID, rotated)),
        Case("softmax output layer", softmax_loss, lambda p: flow.softmax_quantities(p["U"]), weights()),
        of_network(deep, x[:5], flow.ScalingLaw, "deep relu and leaky relu"),
        of_network(chain, x, flow.MatrixLaw, "linear chain"),
        of_network(frozen, rotated, flow.ElementwiseLaw, "tanh network, orthonormal inputs", 2.0),
        of_network(small_cnn(), images()[:3], flow.ScalingLaw, "convolutions"),
        of_network(normed_network(), x, flow.ScalingLaw, "gamma and beta of a BatchNorm", 1.0),
        of_network(normed_network().train(), x, flow.NormLaw, "weights under a BatchNorm, training mode", 0.3),
        of_network(small_attention(), normal(6, 3, 4, seed=12), flow.AttentionLaw, "attention heads"),
    ]


def small_attention() -> nn.Module:
    """Return the attention network in float64, weights from a seed."""
    return small(Attending())


def broken_cases() -> list[Case]:
    """Return the same quantities where one condition is not met: none of them is constant."""
    x, one, white, rotated = any_inputs(), unit_inputs(), whitened_inputs(), rotated_inputs()
    inverse_square = flow.radial_power(-1.0)
    return [
        _two_layer("tanh, whitened inputs", TANH, white, units(TANH)),
        _two_layer("sigmoid, whitened inputs", SIGMOID, white, units(SIGMOID)),
        _two_layer("tanh, X^T X = 1 but at V", TANH, rotated, units(TANH)),
        _two_layer("tanh, trained bias", TANH, one, lambda p: units(TANH)({"U": p["U"], "V": p["V"]}), bias=True),
        _two_layer("tanh as if it were linear", TANH, one, total(IDENTITY)),
        _two_layer("relu without its bias", RELU, x, lambda p: units(RELU)({"U": p["U"], "V": p["V"]}), bias=True),
        _two_layer("relu, generators that mix units", RELU, x, matrix(IDENTITY), bias=True),
        _two_layer("square with degree 1", SQUARE, x, units(RELU), bias=True),
        _two_layer("gelu as if it were relu", GELU, x, total(RELU), bias=True),
        _two_layer("rotations only: the total", RADIAL, x, total(IDENTITY)),
        Case(
            "radial of degree -1, per unit",
            squared_loss(inverse_square, x),
            lambda p: -(p["U"].square().sum(0) + p["V"].square().sum(1)) / 2,
            weights(scale=1.0),
        ),
        Case("softmax sums, squared loss", squared_loss(TANH, x), lambda p: flow.softmax_quantities(p["U"]), weights()),
        of_network(normed_network(), x, flow.NormLaw, "weights under a BatchNorm, evaluation mode"),
    ]
