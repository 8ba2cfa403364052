r"""Where usual initialisations put Q: mean and spread in closed form, for any activation with a known integral.

Q = alpha/2 sum u^2 - sum f(v) is a sum over independent weights, so its moments follow from those of one weight:
`E f` and `E f^2` under a normal or a uniform distribution. The spread grows like the root of the number of weights,
the squared norms like the number itself: initialisation picks a thin slice of the valley. Derived here;
docs/mathematics.md, section 14.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Distribution(Protocol):
    """Independent weights, symmetric about 0."""

    @property
    def second(self) -> float:
        """Return E x^2."""
        ...

    @property
    def fourth(self) -> float:
        """Return E x^4."""
        ...

    def exponential(self, t: float) -> float:
        """Return E exp(t x)."""
        ...

    def tilted(self, t: float) -> float:
        """Return E x exp(t x)."""
        ...

    def sample(self, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Return float64 draws of a shape."""
        ...


@dataclass(frozen=True, slots=True)
class Normal:
    """N(0, std^2)."""

    std: float

    @property
    def second(self) -> float:
        """Return std^2."""
        return self.std**2

    @property
    def fourth(self) -> float:
        """Return 3 std^4."""
        return 3 * self.std**4

    def exponential(self, t: float) -> float:
        """Return exp(t^2 std^2 / 2)."""
        return math.exp((t * self.std) ** 2 / 2)

    def tilted(self, t: float) -> float:
        """Return t std^2 exp(t^2 std^2 / 2)."""
        return t * self.second * self.exponential(t)

    def sample(self, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Return draws."""
        return self.std * torch.randn(shape, dtype=torch.float64, generator=rng)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform on [-bound, bound]."""

    bound: float

    @property
    def second(self) -> float:
        """Return bound^2 / 3."""
        return self.bound**2 / 3

    @property
    def fourth(self) -> float:
        """Return bound^4 / 5."""
        return self.bound**4 / 5

    def exponential(self, t: float) -> float:
        """Return sinh(t bound) / (t bound)."""
        a = t * self.bound
        return math.sinh(a) / a

    def tilted(self, t: float) -> float:
        """Return the derivative of `exponential` by t."""
        a = t * self.bound
        return (math.cosh(a) - math.sinh(a) / a) / t

    def sample(self, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
        """Return draws."""
        return self.bound * (2 * torch.rand(shape, dtype=torch.float64, generator=rng) - 1)


@dataclass(frozen=True, slots=True)
class Scheme:
    """A usual initialisation: (fan in, fan out) -> distribution of a layer's weights."""

    name: str
    weights: Callable[[int, int], Distribution]


SCHEMES: tuple[Scheme, ...] = (
    Scheme("fan_in_normal", lambda fan_in, _: Normal(fan_in**-0.5)),  # the official code, there called Xavier
    Scheme("xavier_normal", lambda fan_in, fan_out: Normal((2 / (fan_in + fan_out)) ** 0.5)),
    Scheme("xavier_uniform", lambda fan_in, fan_out: Uniform((6 / (fan_in + fan_out)) ** 0.5)),
    Scheme("kaiming_normal", lambda fan_in, _: Normal((2 / fan_in) ** 0.5)),
    Scheme("kaiming_uniform", lambda fan_in, _: Uniform((6 / fan_in) ** 0.5)),
    Scheme("pytorch_default", lambda fan_in, _: Uniform(fan_in**-0.5)),
)


@dataclass(frozen=True, slots=True)
class Integral:
    """The lower part of Q for one weight.

    Attributes:
        name: the activation it belongs to.
        function: f, elementwise.
        mean: E f(x) under a distribution.
        square: E f(x)^2.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    mean: Callable[[Distribution], float]
    square: Callable[[Distribution], float]


HALF_SQUARE = Integral("linear", lambda x: x.square() / 2, lambda d: d.second / 2, lambda d: d.fourth / 4)
# The official code's integral for ReLU: 0 where the slope is 0. The per-unit law of conserved.py takes all of x^2/2.
POSITIVE_HALF_SQUARE = Integral(
    "relu as published", lambda x: x.clamp_min(0).square() / 2, lambda d: d.second / 4, lambda d: d.fourth / 8
)
TANH_INTEGRAL = Integral(
    "tanh", lambda x: torch.sinh(x).square() / 2,
    lambda d: (d.exponential(2) - 1) / 4,
    lambda d: (d.exponential(4) / 2 - 2 * d.exponential(2) + 1.5) / 16,
)  # fmt: skip
SIGMOID_INTEGRAL = Integral(
    "sigmoid", lambda x: x + torch.exp(x) - 1,
    lambda d: d.exponential(1) - 1,
    lambda d: d.second + d.exponential(2) + 1 + 2 * d.tilted(1) - 2 * d.exponential(1),
)  # fmt: skip
INTEGRALS: tuple[Integral, ...] = (HALF_SQUARE, POSITIVE_HALF_SQUARE, TANH_INTEGRAL, SIGMOID_INTEGRAL)


@dataclass(frozen=True, slots=True)
class Shape:
    """A two-layer network's sizes."""

    out: int
    hidden: int
    inp: int


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and spread of Q at initialisation.

    Attributes:
        mean: expectation.
        std: standard deviation.
        relative: std divided by the expected (|U|^2 + |V|^2)/2: 0 means that only a slice of the valley is reached.
    """

    mean: float
    std: float
    relative: float


def quantity_moments(shape: Shape, scheme: Scheme, integral: Integral) -> Moments:
    """Return the moments of Q = 1/2 sum u^2 - sum f(v) under a scheme, without biases.

    Examples:
        >>> moments = quantity_moments(Shape(100, 200, 100), SCHEMES[0], HALF_SQUARE)
        >>> round(moments.mean, 6), round(moments.std, 3)
        (-50.0, 1.118)
    """
    upper, lower = _distributions(shape, scheme)
    above, below = shape.out * shape.hidden, shape.hidden * shape.inp
    mean = above * upper.second / 2 - below * integral.mean(lower)
    variance = above * (upper.fourth - upper.second**2) / 4
    variance += below * (integral.square(lower) - integral.mean(lower) ** 2)
    norms = (above * upper.second + below * lower.second) / 2
    return Moments(mean, variance**0.5, variance**0.5 / norms)


def sample_quantities(shape: Shape, scheme: Scheme, integral: Integral, count: int, rng: torch.Generator) -> Tensor:
    """Return Q of `count` independent networks `[count]`, float64; U and V never share draws."""
    upper, lower = _distributions(shape, scheme)
    found = []
    for _ in range(count):
        U = upper.sample((shape.out, shape.hidden), rng)
        V = lower.sample((shape.hidden, shape.inp), rng)
        found.append(U.square().sum() / 2 - integral.function(V).sum())
    return torch.stack(found)


def _distributions(shape: Shape, scheme: Scheme) -> tuple[Distribution, Distribution]:
    return scheme.weights(shape.hidden, shape.out), scheme.weights(shape.inp, shape.hidden)
