"""The networks a claim about the target must beat, built from the target itself, from data, or given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.baselines import clean_accuracy, independent_ensemble, weight_noise_equal_accuracy
from attacks.canonical import content_digest, seed_from
from attacks.data import LabelledData
from attacks.jury import EQUAL_ACCURACY, INDEPENDENT, NOISE, SCRAMBLED
from attacks.metrics import chance_count
from attacks.statistics import ALPHA, binomial_above
from attacks.store import recalled
from ensemble.controls import layers_outside, noise_ensemble, scrambled_ensemble
from ensemble.digests import network_digest, tensor_digest
from ensemble.members import SymmetryEnsemble

_SINGLE = "the target is a single network: there are no members to scramble or to match"
_NO_SITES = "the target has members, but no sites that a control could act on"
_NO_VALIDATION = "no validation points were given to fit its size on"
_NOT_GIVEN = "no independently trained networks were given"


@dataclass(frozen=True, slots=True, eq=False)
class Baselines:
    """What the target is compared with.

    Attributes:
        networks: by name, in the order reports list them.
        absent: name -> why it is missing.
        notes: name -> what is known about its making.
    """

    networks: Mapping[str, nn.Module]
    absent: Mapping[str, str]
    notes: Mapping[str, Mapping[str, Any]]


def baselines(
    target: nn.Module,
    *,
    seed: int,
    mode: str,
    validation: LabelledData | None,
    independents: Sequence[nn.Module],
    example: Tensor,
    points: LabelledData,
    folder: Path | None = None,
) -> Baselines:
    """Return the networks that a claim about a target must beat.

    Args:
        target: any network; only a `SymmetryEnsemble` has controls.
        seed: the evaluation's; each control draws from a generator of its own.
        mode: how the target is served.
        validation: points that equal-accuracy noise is fitted on, or None.
        independents: networks trained independently of the base; as many as the target has members are used.
        example: inputs every network must accept.
        points: the evaluated ones, on which the scrambled control must know nothing.
        folder: where the size fitted for equal-accuracy noise is kept, or None.

    Raises:
        InputError: an independent network that does not fit the target.
    """
    networks: dict[str, nn.Module] = {}
    absent: dict[str, str] = {}
    notes: dict[str, Mapping[str, Any]] = {}
    if isinstance(target, SymmetryEnsemble):
        networks[SCRAMBLED], notes[SCRAMBLED] = _scrambled(target, seed, mode, points, folder)
        networks[NOISE] = noise_ensemble(target, rng=_rng(seed, NOISE))
        _add_equal_accuracy(target, seed, mode, validation, folder, networks, absent, notes)
    else:
        reason = _NO_SITES if hasattr(target, "member_logits") else _SINGLE
        absent |= dict.fromkeys((SCRAMBLED, NOISE, EQUAL_ACCURACY), reason)
    if independents:
        chosen = list(independents)[: getattr(target, "size", None)]
        networks[INDEPENDENT] = independent_ensemble(chosen, classes=_classes(target, example), example=example)
        notes[INDEPENDENT] = {"networks": len(chosen)}
    else:
        absent[INDEPENDENT] = _NOT_GIVEN
    return Baselines(networks, absent, notes)


def _scrambled(
    target: SymmetryEnsemble, seed: int, mode: str, points: LabelledData, folder: Path | None
) -> tuple[SymmetryEnsemble, dict[str, Any]]:
    """Return the control that knows nothing, and how many layers outside the ensemble had to be scrambled for that."""
    data = [tensor_digest(points.inputs), tensor_digest(points.labels)]
    key = content_digest([SCRAMBLED, network_digest(target), data, seed_from(seed, SCRAMBLED), mode])
    kept = recalled(folder, key, lambda: {"further": torch.tensor(_needed(target, seed, mode, points))})
    further = int(kept["further"])
    outside = layers_outside(target)[:further] if further else ()
    return scrambled_ensemble(target, rng=_rng(seed, SCRAMBLED), further=outside), {"layers_outside": further}


def _needed(target: SymmetryEnsemble, seed: int, mode: str, points: LabelledData) -> int:
    """Return how many layers outside, the last first and twice as many each time, leave the control at chance."""
    if _knows_nothing(scrambled_ensemble(target, rng=_rng(seed, SCRAMBLED)), mode, points):
        return 0
    outside = layers_outside(target)
    count = min(1, len(outside))
    while count < len(outside):
        control = scrambled_ensemble(target, rng=_rng(seed, SCRAMBLED), further=outside[:count])
        if _knows_nothing(control, mode, points):
            break
        count = min(2 * count, len(outside))
    return count


def _knows_nothing(control: SymmetryEnsemble, mode: str, points: LabelledData) -> bool:
    """Return whether its clean accuracy is not significantly above the best constant answer."""
    n = len(points)
    right = round(n * clean_accuracy(control, points, mode=mode))
    return binomial_above(right, n, chance_count(points.labels.numpy()) / n) > ALPHA


def _add_equal_accuracy(
    target: SymmetryEnsemble,
    seed: int,
    mode: str,
    validation: LabelledData | None,
    folder: Path | None,
    networks: dict[str, nn.Module],
    absent: dict[str, str],
    notes: dict[str, Mapping[str, Any]],
) -> None:
    if validation is None:
        absent[EQUAL_ACCURACY] = _NO_VALIDATION
        return
    own = seed_from(seed, EQUAL_ACCURACY)
    key = content_digest(
        [
            EQUAL_ACCURACY,
            network_digest(target),
            [tensor_digest(validation.inputs), tensor_digest(validation.labels)],
            own,
            mode,
        ]
    )
    kept = recalled(folder, key, lambda: _fitted(target, validation, own, mode))
    if not bool(kept["equal"]):
        percent = (100 * float(kept[name]) for name in ("wanted_accuracy", "validation_accuracy"))
        wanted, nearest = (f"{value:.1f} %" for value in percent)
        absent[EQUAL_ACCURACY] = (
            f"no factor gives weight noise the clean accuracy {wanted} of the ensemble on {len(validation)} validation "
            f"points within half a point; the nearest, {float(kept['factor']):.3g}, gives {nearest}"
        )
        return
    networks[EQUAL_ACCURACY] = noise_ensemble(
        target, rng=torch.Generator().manual_seed(own), factor=float(kept["factor"])
    )
    notes[EQUAL_ACCURACY] = {
        **{name: float(kept[name]) for name in ("factor", "validation_accuracy", "wanted_accuracy")},
        "validation_points": len(validation),
        "trials": int(kept["trials"]),
    }


def _fitted(target: SymmetryEnsemble, validation: LabelledData, seed: int, mode: str) -> dict[str, Tensor]:
    """Return what the search for a factor found, as tensors that can be kept: each trial passes every point."""
    found = weight_noise_equal_accuracy(target, validation, seed=seed, mode=mode)
    numbers = {
        "factor": found.factor,
        "validation_accuracy": found.accuracy,
        "wanted_accuracy": found.wanted,
        "trials": float(len(found.trials)),
        "equal": float(found.equal),
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}


def _classes(target: nn.Module, example: Tensor) -> int:
    with torch.no_grad():
        device = next((tensor.device for tensor in target.parameters()), torch.device("cpu"))
        return int(target(example[:1].to(device)).shape[-1])


def _rng(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_from(seed, name))
