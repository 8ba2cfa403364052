"""What an attacker crafts on: networks it holds, and pools of networks it makes from what it knows."""

from attacks.surrogates.held import (
    JointModel,
    Surrogate,
    ensemble_of,
    independent,
    leaked_member,
    stolen_base,
    target_itself,
)

__all__ = [
    "JointModel",
    "Surrogate",
    "ensemble_of",
    "independent",
    "leaked_member",
    "stolen_base",
    "target_itself",
]
