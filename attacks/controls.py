"""The control networks of an evaluation, built by the ensemble package from the target itself."""

from collections.abc import Mapping

import torch
from torch import nn

from attacks.canonical import seed_from
from attacks.jury import NOISE, SCRAMBLED
from ensemble.controls import noise_ensemble, scrambled_ensemble
from ensemble.members import SymmetryEnsemble


def control_networks(target: nn.Module, *, seed: int) -> Mapping[str, nn.Module]:
    """Return the controls that a claim about `target` must beat, by name.

    Args:
        target: any network; only a `SymmetryEnsemble` has controls.
        seed: the evaluation's; each control draws from a generator of its own.

    Returns:
        The scrambled control and the equal-norm weight noise, or nothing for a single network.
    """
    if not isinstance(target, SymmetryEnsemble):
        return {}
    return {
        SCRAMBLED: scrambled_ensemble(target, rng=_rng(seed, SCRAMBLED)),
        NOISE: noise_ensemble(target, rng=_rng(seed, NOISE)),
    }


def _rng(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_from(seed, name))
