"""From a suite's row to the foolbox attack it names: one table, kind -> builder."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attacks.gradient import (
    KEEP_SERVED_MARGIN,
    KEEP_SURROGATE_LOSS,
    KeepRule,
    admix,
    fgsm,
    mi,
    mi_di,
    mi_di_ti_si,
    ni,
    pgd,
    sgm,
    vmi,
)
from attacks.gradient.apgd import apgd_ce, apgd_dlr
from attacks.gradient.apgd_l1 import apgd_l1
from attacks.gradient.apgd_targeted import apgd_dlr_targeted
from attacks.gradient.eot import eot, eot_sampled
from attacks.gradient.greedy import greedy_members
from attacks.gradient.keeping import served_margin
from attacks.gradient.reweighted import reweighted
from attacks.kinds import KINDS
from attacks.minimum_norm import blur, cw, ddn, deepfool, ead, fmn
from attacks.noise import gaussian_noise, uniform_noise
from attacks.query.boundary import boundary
from attacks.query.hopskipjump import hopskipjump
from attacks.query.square import square
from attacks.rows import AttackRow

#: A served answer that is drawn per request: the iterate nearest to being wrong on average, no point finished early.
KEEP_EXPECTED_MARGIN = KeepRule(served_margin, stop_below=None)
#: kind -> builder(norm, ...); a kind that is missing here is NOT-RUN.
BUILDERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "noise": uniform_noise,
        "gaussian_noise": gaussian_noise,
        "blur": blur,
        "fgsm": fgsm,
        "pgd": pgd,
        "mi": mi,
        "ni": ni,
        "mi_di": mi_di,
        "mi_di_ti_si": mi_di_ti_si,
        "vmi": vmi,
        "admix": admix,
        "sgm": sgm,
        "deepfool": deepfool,
        "cw": cw,
        "ddn": ddn,
        "fmn": fmn,
        "ead": ead,
        "apgd_ce": apgd_ce,
        "apgd_dlr": apgd_dlr,
        "apgd_dlr_targeted": apgd_dlr_targeted,
        "apgd_l1": apgd_l1,
        "eot": eot,
        "eot_sampled": eot_sampled,
        "reweighted": reweighted,
        "greedy_members": greedy_members,
        "square": square,
        "hopskipjump": hopskipjump,
        "boundary": boundary,
    }
)


def build_attack(row: AttackRow, norm: str, *, served: bool, random: bool = False) -> Any:
    """Return the foolbox attack of a row.

    Args:
        row: of a suite.
        norm: of the threat model.
        served: whether gradients go through what judges: only then may the attack look at the answer and stop.
        random: whether that answer is drawn per request.

    Returns:
        A fixed-epsilon attack.
    """
    builder = BUILDERS[row.kind]
    arguments = dict(row.parameters)
    if "keep" in inspect.signature(builder).parameters:
        arguments["keep"] = _keep(served=served, random=random)
    return builder(norm, **arguments)


def _keep(*, served: bool, random: bool) -> KeepRule:
    if not served:
        return KEEP_SURROGATE_LOSS
    return KEEP_EXPECTED_MARGIN if random else KEEP_SERVED_MARGIN


def takes_starts(row: AttackRow) -> bool:
    """Return whether a row's attack can go on from points given to it."""
    attack = build_attack(row, KINDS[row.kind].norms[0], served=True)
    return "starting_points" in inspect.signature(attack.run).parameters


def query_budget(row: AttackRow) -> int:
    """Return how many answers of the target a row's attack may ask for per point; 0 where it asks for none.

    Args:
        row: of a suite.
    """
    if not row.queries:
        return 0
    default = inspect.signature(BUILDERS[row.kind]).parameters["queries"].default
    return int(row.parameters.get("queries", default))


def class_name(row: AttackRow, norm: str) -> str:
    """Return the name of the class that runs a row.

    Args:
        row: of a suite.
        norm: of the threat model.
    """
    return type(build_attack(row, norm, served=True)).__name__
