r"""Q as coordinates of the valley: move along a symmetry, go to a wanted Q, rebalance a trained network.

Along `exp(tM)` the function does not change and Q_M grows strictly, so Q says where on the orbit a network is. For one
unit with `a = |u|^2` and `w = |v|^2 + b^2` the move to `Q = q` is `u/s, sv, sb` with

.. math:: s^2 = \frac{-q + \sqrt{q^2 + a w}}{w}.

q = 0 is the balanced point, where the unit's squared norms are least. Derived here; docs/mathematics.md, section 13.
"""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ensemble.activations import Activation
from ensemble.errors import InputError
from ensemble.flow.generators import symmetric_projection
from ensemble.flow.law import Parameters
from ensemble.flow.laws import unit_laws
from ensemble.flow.scaling import ScalingLaw

SWEEPS = 1000
PLAIN_SWEEPS = 50  # enough for all but long chains of layers
TOLERANCE = 1e-12


def move(
    U: Tensor, V: Tensor, generator: Tensor, t: float, activation: Activation, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return U exp(alpha t M), exp(-t M) V and exp(-t M) b: the same function, further up Q_M.

    Args:
        U: `[out hidden]`.
        V: `[hidden inp]`.
        generator: M `[hidden hidden]`, symmetric, among the generators of the activation's group.
        t: how far; Q_M is strictly increasing in it.
        activation: a row with a degree.
        bias: lower bias `[hidden]`.

    Raises:
        InputError: M is no symmetric generator of the group, or the activation has no degree.
    """
    if activation.degree is None:
        raise InputError(f"{activation.name}: expected an activation with a degree; its exact group moves nothing")
    error = float((symmetric_projection(activation.group, generator) - generator).abs().max())
    if error > 1e-10 * max(1.0, float(generator.abs().max())) or not torch.allclose(generator, generator.T):
        raise InputError(
            f"{activation.name}: expected a symmetric generator of {activation.group.name}, off by {error:.3g}"
        )
    up, down = torch.matrix_exp(activation.degree * t * generator), torch.matrix_exp(-t * generator)
    return U @ up, down @ V, None if bias is None else down @ bias


def balance_factors(energies: Tensor, weights: Sequence[float], target: Tensor) -> Tensor:
    """Return s `[hidden]` with `1/2 sum_t w_t e_t s^(-2 w_t) = target` for every unit.

    In closed form for weights of 1 and -1; otherwise by bisection in log s, where the left side falls strictly.

    Args:
        energies: squared norms e `[terms hidden]`.
        weights: w, positive for upper layers, negative for lower ones.
        target: wanted Q `[hidden]`.

    Raises:
        InputError: a dead unit, whose upper or lower weights are all zero: no scaling moves its Q through 0.
    """
    signs = torch.tensor(weights, dtype=energies.dtype, device=energies.device)
    upper, lower = energies[signs > 0].sum(0), energies[signs < 0].sum(0)
    dead = (upper <= 0) | (lower <= 0)
    if bool(dead.any()):
        listed = ", ".join(str(int(unit)) for unit in dead.nonzero()[:8, 0])
        raise InputError(f"expected units with both layers non-zero, got dead units {listed}; prune them first")
    if all(abs(weight) == 1 for weight in weights):
        root = torch.sqrt(target.square() + upper * lower)
        # Of two forms of the same root the one without cancellation.
        return torch.where(target > 0, upper / (root + target.abs()), (root + target.abs()) / lower).sqrt()
    low, high = (torch.full_like(target, end) for end in (-60.0, 60.0))
    for _ in range(200):
        middle = (low + high) / 2
        above = signs @ (energies * torch.exp(-2 * torch.outer(signs, middle))) / 2 > target
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.exp((low + high) / 2)


def go_to(
    U: Tensor, V: Tensor, target: float | Tensor, activation: Activation, *, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the weights of the same function whose every hidden unit has Q = target.

    Args:
        U: `[out hidden]`.
        V: `[hidden inp]`.
        target: one value, or one per unit `[hidden]`.
        activation: a homogeneous row of degree > 0 (or the identity).
        bias: lower bias `[hidden]`.

    Raises:
        InputError: a dead unit, or an activation without positive degree.
    """
    if activation.degree is None or activation.degree <= 0:
        raise InputError(f"{activation.name}: expected an activation of positive degree, got {activation.degree}")
    lower = V.square().sum(1) if bias is None else V.square().sum(1) + bias.square()
    wanted = torch.as_tensor(target, dtype=U.dtype, device=U.device).expand(V.shape[0])
    s = balance_factors(torch.stack([U.square().sum(0), lower]), (activation.degree, -1.0), wanted)
    return U * s**-activation.degree, V * s[:, None], None if bias is None else bias * s


def rebalance(
    network: nn.Module, example_input: Tensor, target: float | Mapping[str, float | Tensor] = 0.0
) -> nn.Module:
    """Return a new network that computes the same function, with Q = target at every hidden unit that can be scaled.

    Neighbouring sites share a layer, so sites are visited in turn until all hold; the sum of squared norms plus a
    linear term is convex in log s, hence the sweeps converge. In long chains of layers they do so slowly, as for any
    chain of neighbours, and are over-relaxed.

    Args:
        network: any network with homogeneous sites; copied, never changed.
        example_input: `[batch ...]`, one row is enough.
        target: wanted Q of every unit, or a mapping from site names to values `[hidden]` or numbers; sites that are
            left out stay where they are, up to what their neighbours need.

    Raises:
        InputError: no site can be scaled, a dead unit, or targets that the sweeps do not reach.
        TraceError: torch.fx cannot follow the forward.
    """
    found = unit_laws(network, example_input)
    if not found:
        raise InputError(f"{type(network).__name__}: expected a homogeneous site, got none; nothing can be rebalanced")
    known = {law.name for law in found}
    if isinstance(target, Mapping) and not set(target) <= known:
        raise InputError(f"expected targets for sites among {sorted(known)}, got {sorted(set(target) - known)}")
    # In float64: the moves must cost the function no more than one rounding.
    here = {name: parameter.detach().double() for name, parameter in network.named_parameters()}
    wanted = {
        law.name: _wanted(target[law.name] if isinstance(target, Mapping) else target, law, here)
        for law in found
        if not isinstance(target, Mapping) or law.name in target
    }
    chosen = [law for law in found if law.name in wanted]
    for sweep in range(SWEEPS):
        power = 1.0 if sweep < PLAIN_SWEEPS else _relaxation(len(chosen))
        error = max(_settle(law, here, wanted[law.name], power) for law in chosen)
        if error < TOLERANCE:
            return _with_parameters(network, here)
    raise InputError(
        f"rebalancing: expected every Q within {TOLERANCE:g}, got {error:.3g} after {SWEEPS} sweeps; choose "
        "targets closer to the present coordinates, or fewer sites"
    )


def scaled(network: nn.Module, law: ScalingLaw, factors: Tensor) -> nn.Module:
    """Return a new network whose hidden units at one site are scaled by positive factors `[hidden]`; same function.

    Raises:
        InputError: factors of another number, or not positive.
    """
    if factors.shape != (law.hidden,) or not bool((factors > 0).all()):
        raise InputError(f"{law.name}: expected {law.hidden} positive factors, got {tuple(factors.shape)}")
    here = {name: parameter.detach().double() for name, parameter in network.named_parameters()}
    _scale(law, here, factors.double())
    return _with_parameters(network, here)


def sample_valley(
    network: nn.Module, example_input: Tensor, *, count: int, scale: float, rng: torch.Generator
) -> list[nn.Module]:
    """Return `count` networks of the same function: every unit scaled by exp(scale N(0, 1)).

    Args:
        network: any network with homogeneous sites; copied, never changed.
        example_input: `[batch ...]`.
        count: how many points.
        scale: spread in log units; 0 returns copies.
        rng: CPU generator.

    Raises:
        InputError, TraceError: as `rebalance`.
    """
    found = unit_laws(network, example_input)
    points = []
    for _ in range(count):
        here = {name: parameter.detach().double() for name, parameter in network.named_parameters()}
        for law in found:
            _scale(law, here, torch.exp(scale * torch.randn(law.hidden, dtype=torch.float64, generator=rng)))
        points.append(_with_parameters(network, here))
    return points


def _wanted(value: float | Tensor, law: ScalingLaw, here: Parameters) -> Tensor:
    like = here[law.terms[0].parameter]
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).expand(law.hidden)


def _relaxation(sites: int) -> float:
    """Return the best factor of successive over-relaxation on a chain of so many neighbours, in (1, 2)."""
    return 2 / (1 + math.sin(math.pi / (sites + 1)))


def _settle(law: ScalingLaw, here: dict[str, Tensor], target: Tensor, power: float) -> float:
    """Scale one site in place, to its target or by a power of that; return how far off it was, relative to its size."""
    size = float(law.size(here).max())
    off = float((law.quantity(here) - target).abs().max()) / max(size, 1e-300)
    if off < TOLERANCE:
        return off
    try:
        factors = balance_factors(law.energies(here), [term.weight for term in law.terms], target)
    except InputError as error:
        raise InputError(f"{law.name}: {error}") from error
    _scale(law, here, factors**power)
    return off


def _scale(law: ScalingLaw, here: dict[str, Tensor], factors: Tensor) -> None:
    for term in law.terms:
        here[term.parameter] = term.scaled(here[term.parameter], factors)


def _with_parameters(network: nn.Module, parameters: Parameters) -> nn.Module:
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in moved.named_parameters():
            parameter.copy_(parameters[name])
    return moved
