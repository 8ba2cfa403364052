"""From a suite's row to the foolbox attack it names."""

from types import MappingProxyType
from typing import Any

from attacks.gradient import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, Transfer, fgsm, pgd
from attacks.noise import uniform_noise
from attacks.suites import AttackRow
from attacks.surrogates import Surrogate

#: The keep rule follows from what the attacker knows: only a white-box attacker may look at the served answer.
_KEEP = MappingProxyType({"stolen_base": KEEP_SURROGATE_LOSS, "white_box": KEEP_SERVED_MARGIN})


def build_attack(row: AttackRow, norm: str, surrogate: Surrogate) -> Any:
    """Return the foolbox attack of a row.

    Args:
        row: of a suite.
        norm: of the threat model.
        surrogate: what is crafted on.

    Returns:
        A fixed-epsilon attack; without white-box knowledge it is wrapped in `Transfer`.
    """
    if row.kind == "noise":
        return uniform_noise(norm)
    attack = fgsm(norm) if row.kind == "fgsm" else pgd(norm, keep=_KEEP[row.knowledge], **row.parameters)
    return attack if row.knowledge == "white_box" else Transfer(surrogate.model, attack)
