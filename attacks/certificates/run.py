"""Certifies some points of a target by intervals, and says what an exact symmetry inherits."""

import copy
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from attacks.certificates.bracket import Certificate
from attacks.certificates.ensembles import certified_flags
from attacks.certificates.interval import NoRule, margin_bounds
from attacks.targets import EnsembleModel, NetworkModel
from attacks.threat import ThreatModel
from ensemble.members import SymmetryEnsemble

#: Points that are certified at most.
MOST = 200
#: Seconds after which a certificate is given up.
PATIENCE = 600.0
IBP = "IBP"
INHERITED = "IBP, inherited from the base"


def certify(
    model: NetworkModel,
    inputs: Tensor,
    labels: Tensor,
    threats: Sequence[ThreatModel],
    *,
    points: Sequence[int],
    target: str,
    deviation: float = 0.0,
    patience: float = PATIENCE,
) -> list[Certificate]:
    """Return one certificate per threat model and radius, by interval bounds in float64.

    The box of half-width epsilon holds the ball of every norm, so one propagation serves all; in L2 and L1 it is loose.
    A margin counts when it exceeds twice the largest difference between the served float32 logits and float64 ones on
    these points: what is served is not exact arithmetic.

    Args:
        model: the target as served, its members copied one by one to float64.
        inputs: `[n channel height width]`, all evaluated points.
        labels: `[n]` int64.
        threats: norms, radii and bounds.
        points: indices of the points to certify; the first 200 count.
        target: the judge's name.
        deviation: a further difference of logits that margins must cover, e.g. that of the null test.
        patience: seconds after which `NoRule` is raised.

    Raises:
        NoRule: a layer has no bound here, the inputs are rounded before the network, or time ran out.
        TraceError: torch.fx cannot follow a member.
    """
    if model.coding.name != "FP32":
        raise NoRule(
            f"inputs coded as {model.coding.name}: rounding may leave the ball, and no bound is known for that"
        )
    begin = time.perf_counter()
    chosen = list(points)[:MOST]
    x, y = inputs[chosen].to(model.device), labels[chosen].to(model.device)
    networks = _members(model)
    slack = 2 * max(deviation, *(_rounding(network, x) for network in networks))
    mode = model.mode if isinstance(model, EnsembleModel) else "prob"
    found = []
    for number, threat in enumerate(threats):
        for epsilon in threat.epsilons:
            if time.perf_counter() - begin > patience:
                raise NoRule(f"certificates took longer than {patience:g} s; certify fewer points")
            low, high = ((x + sign * epsilon).clamp(*threat.bounds) for sign in (-1, 1))
            margins = torch.stack([margin_bounds(network, low, high, y) for network in networks]) - slack
            flags = tuple(certified_flags(margins, mode).tolist())
            seconds = time.perf_counter() - begin
            found.append(Certificate(IBP, target, number, threat.norm, epsilon, tuple(chosen), flags, seconds, slack))
    return found


def inherited(certificates: Sequence[Certificate]) -> list[Certificate]:
    """Return what exact-symmetry members inherit from the base, and with them their ensemble in every fixed mode.

    An exact symmetry leaves the function as it is, so a certificate of the base is theirs, where the base's margin also
    covers twice the measured deviation of their logits: `certify` must have been given that deviation.

    Args:
        certificates: of the base.
    """
    return [replace(item, method=INHERITED) for item in certificates]


def _members(model: NetworkModel) -> list[nn.Module]:
    network = model.network
    if not isinstance(model, EnsembleModel):
        return [network]
    if isinstance(network, SymmetryEnsemble):
        return [network.member(index) for index in range(network.size)]
    raise NoRule(f"{type(network).__name__}: expected an ensemble whose members can be taken out one by one")


def _rounding(network: nn.Module, inputs: Tensor) -> float:
    """Return the largest difference between the float32 logits and those of a copy in float64."""
    with torch.no_grad():
        exact = copy.deepcopy(network).double()(inputs.double())
        return float((network(inputs).double() - exact).abs().max())
