"""The one-cycle rate as a function of the step, so that a hardening that resumes needs no scheduler's state."""

import math

WARM_UP = 0.3
START = 1 / 25


def one_cycle(step: int, steps: int) -> float:
    """Return the rate's multiple of its peak at `step` of 0 ... steps - 1: half a cosine up, half a cosine to zero.

    Source: Smith and Topin (2018), arXiv:1708.07120, in its cosine form; the first 0.3 of the steps rise from 1/25.
    """
    peak = max(WARM_UP * steps, 1.0)
    if step < peak:
        return START + (1 - START) * _smooth(step / peak)
    return 1 - _smooth((step - peak) / max(steps - peak, 1.0))


def _smooth(share: float) -> float:
    return (1 - math.cos(math.pi * share)) / 2
