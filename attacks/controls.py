"""The networks a claim about the target must beat, built from the target itself, from data, or given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attacks.baselines import independent_ensemble, weight_noise_equal_accuracy
from attacks.canonical import seed_from
from attacks.data import LabelledData
from attacks.jury import EQUAL_ACCURACY, INDEPENDENT, NOISE, SCRAMBLED
from ensemble.controls import noise_ensemble, scrambled_ensemble
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
) -> Baselines:
    """Return the networks that a claim about a target must beat.

    Args:
        target: any network; only a `SymmetryEnsemble` has controls.
        seed: the evaluation's; each control draws from a generator of its own.
        mode: how the target is served.
        validation: points that equal-accuracy noise is fitted on, or None.
        independents: networks trained independently of the base; as many as the target has members are used.
        example: inputs every network must accept.

    Raises:
        InputError: an independent network that does not fit the target.
    """
    networks: dict[str, nn.Module] = {}
    absent: dict[str, str] = {}
    notes: dict[str, Mapping[str, Any]] = {}
    if isinstance(target, SymmetryEnsemble):
        networks[SCRAMBLED] = scrambled_ensemble(target, rng=_rng(seed, SCRAMBLED))
        networks[NOISE] = noise_ensemble(target, rng=_rng(seed, NOISE))
        _add_equal_accuracy(target, seed, mode, validation, networks, absent, notes)
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


def _add_equal_accuracy(
    target: SymmetryEnsemble,
    seed: int,
    mode: str,
    validation: LabelledData | None,
    networks: dict[str, nn.Module],
    absent: dict[str, str],
    notes: dict[str, Mapping[str, Any]],
) -> None:
    if validation is None:
        absent[EQUAL_ACCURACY] = _NO_VALIDATION
        return
    found = weight_noise_equal_accuracy(target, validation, seed=seed_from(seed, EQUAL_ACCURACY), mode=mode)
    if not found.equal:
        absent[EQUAL_ACCURACY] = found.reason
        return
    networks[EQUAL_ACCURACY] = found.network
    notes[EQUAL_ACCURACY] = {
        "factor": found.factor,
        "validation_accuracy": found.accuracy,
        "wanted_accuracy": found.wanted,
        "validation_points": found.points,
        "trials": len(found.trials),
    }


def _classes(target: nn.Module, example: Tensor) -> int:
    with torch.no_grad():
        device = next((tensor.device for tensor in target.parameters()), torch.device("cpu"))
        return int(target(example[:1].to(device)).shape[-1])


def _rng(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_from(seed, name))
