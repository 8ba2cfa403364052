"""The suites: named, versioned lists of attacks. Reading one loads no attack library."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attacks.rows import DETERMINISTIC, RANDOM, AttackRow, Suite, SurrogateRow
from ensemble.errors import UnknownName

__all__ = ["QUICK", "STANDARD", "SUITES", "THOROUGH", "AttackRow", "Suite", "SurrogateRow", "suite_named"]


def _at(**parameters: Any) -> Mapping[str, Any]:
    return MappingProxyType(parameters)


def _iterated(steps: int) -> Mapping[str, Any]:
    """Transfer attacks: a tenth of the radius per step, as MI is published for ten steps, and LGV for fifty."""
    return _at(steps=steps, rel_stepsize=0.1, random_start=False)


def _on_base(kind: str, steps: int) -> AttackRow:
    return AttackRow(f"{kind.replace('_', '-')}-{steps}@stolen_base", kind, "stolen_base", _iterated(steps))


def _white(name: str, kind: str, **parameters: Any) -> AttackRow:
    return AttackRow(
        f"{name}@white_box", kind, "white_box", MappingProxyType(parameters), surrogate="target", modes=DETERMINISTIC
    )


def _l1(name: str, kind: str, **parameters: Any) -> AttackRow:
    row_id = f"{name}@white_box"
    return AttackRow(
        row_id, kind, "white_box", MappingProxyType(parameters), surrogate="target", modes=DETERMINISTIC, norms=("l1",)
    )


def _random(name: str, kind: str, **parameters: Any) -> AttackRow:
    return AttackRow(
        f"{name}@white_box", kind, "white_box", MappingProxyType(parameters), surrogate="target", modes=RANDOM
    )


def _other_modes(steps: int) -> AttackRow:
    parameters = _at(steps=steps)
    row_id = f"apgd-ce-{steps}-through-{{mode}}@white_box"
    return AttackRow(
        row_id, "apgd_ce", "white_box", parameters, surrogate="target", through="others", modes=DETERMINISTIC
    )


def _on_fresh(name: str, kind: str, surrogate: str, steps: int) -> AttackRow:
    return AttackRow(f"{name}@fresh_members", kind, "fresh_members", _iterated(steps), surrogate=surrogate)


def _on_retrained(name: str, surrogate: str) -> AttackRow:
    row_id, parameters = f"{name}@retrained_surrogate", _iterated(10)
    return AttackRow(row_id, "mi_di", "retrained_surrogate", parameters, surrogate=surrogate)


def _on_lgv(kind: str) -> AttackRow:
    row_id = f"{kind.replace('_', '-')}-40@lgv_surrogate"
    return AttackRow(row_id, kind, "lgv_surrogate", _iterated(40), surrogate="lgv-step")


def _fresh(count: int) -> tuple[SurrogateRow, ...]:
    settings = _at(count=count)
    return (
        SurrogateRow("fresh-step", "one_per_step", "fresh_members", settings),
        SurrogateRow("fresh-pool", "mean_of_pool", "fresh_members", settings),
    )


def _matrix(members: int) -> AttackRow:
    parameters = _iterated(20)
    return AttackRow(
        "pgd-20@member_to_member",
        "pgd",
        "member_to_member",
        parameters,
        surrogate="members",
        radii="headline",
        members=members,
    )


def _square(queries: int) -> AttackRow:
    parameters = _at(queries=queries)
    return AttackRow(f"square-{queries}", "square", "score_query", parameters, surrogate="target", radii="headline")


def _hopskipjump(steps: int, points: int) -> AttackRow:
    parameters = _at(steps=steps)
    return AttackRow(
        f"hopskipjump-{steps}",
        "hopskipjump",
        "decision_query",
        parameters,
        surrogate="target",
        points=points,
    )


def _audit(
    name: str,
    kind: str,
    *,
    radii: str = "headline",
    full_range: bool = False,
    modes: tuple[str, ...] = (),
    norms: tuple[str, ...] = (),
    **parameters: Any,
) -> AttackRow:
    return AttackRow(
        f"audit-{name}",
        kind,
        "white_box",
        MappingProxyType(parameters),
        surrogate="target",
        radii=radii,
        points=AUDIT,
        modes=modes,
        norms=norms,
        full_range=full_range,
    )


#: The audit subset: the points of the probes and of the cold runs.
AUDIT = 128
_NOISE = AttackRow("noise-uniform-10", "noise", "stolen_base", draws=10)
_FGSM = AttackRow("fgsm@stolen_base", "fgsm", "stolen_base")
_FGSM_WHITE = AttackRow("fgsm@white_box", "fgsm", "white_box", surrogate="target")
#: On one network that the attacker trained itself, and on all it trained: they are the independent networks given.
_RETRAINED = (
    _on_retrained("mi-di-10", "independent"),
    _on_retrained("mi-di-10-mean-of-networks", "independents"),
)
_LGV = SurrogateRow("lgv-step", "one_per_step", "lgv", _at(epochs=10, snapshots=4))

_AUTOATTACK = ("AutoAttack", "not installed; no agreement with it is claimed")
_FAB = ("FAB-T", "not implemented: the white box is that of AutoAttack's standard version without FAB-T")
_TARGETED = ("targeted attacks as a result of their own", "they run as sub-steps of untargeted attacks only")
_LATER = "part of the suite standard"

QUICK = Suite(
    name="quick",
    version="3",
    rows=(
        _NOISE,
        _FGSM,
        _on_base("mi_di", 10),
        _on_fresh("mi-di-10-member-per-step", "mi_di", "fresh-step", 10),
        _FGSM_WHITE,
        _white("apgd-ce-20", "apgd_ce", steps=20),
        _random("averaged-20", "apgd_ce", steps=20),
        _random("expectation-20", "eot", steps=20),
        _random("greedy-5", "greedy_members", rounds=5),
    ),
    surrogates=_fresh(8)[:1],
    audits=(
        _audit("fgsm", "fgsm", radii="all"),
        _audit("apgd-ce-20", "apgd_ce", radii="all", steps=20),
    ),
    not_run=(
        ("retrained_surrogate", _LATER),
        ("lgv_surrogate", _LATER),
        ("member_to_member", _LATER),
        ("APGD-DLR-T, re-weighted attack, other modes as surrogates", f"{_LATER}: the white box is APGD with 20 steps"),
        ("score_query (Square), decision_query (HopSkipJump)", _LATER),
        _TARGETED,
        _AUTOATTACK,
    ),
)

STANDARD = Suite(
    name="standard",
    version="3",
    rows=(
        _NOISE,
        _FGSM,
        *_RETRAINED,
        _on_base("pgd", 20),
        _on_base("mi", 10),
        _on_base("mi_di_ti_si", 10),
        _on_lgv("mi_di"),
        _on_fresh("mi-di-40-member-per-step", "mi_di", "fresh-step", 40),
        _on_fresh("mi-di-10-pool-mean", "mi_di", "fresh-pool", 10),
        _matrix(8),
        _FGSM_WHITE,
        _white("apgd-ce-100", "apgd_ce", steps=100),
        _white("apgd-dlr-t-100", "apgd_dlr_targeted", steps=100, classes=3),
        _white("reweighted-50", "reweighted", steps=50),
        _other_modes(50),
        _random("averaged-100", "apgd_ce", steps=100),
        _random("expectation-100", "eot", steps=100),
        _random("greedy-20", "greedy_members", rounds=20),
        _square(1000),
        _hopskipjump(20, 50),
    ),
    surrogates=(_LGV, *_fresh(16)),
    audits=(
        _audit("fgsm", "fgsm", radii="all"),
        _audit("apgd-ce-100", "apgd_ce", radii="all", steps=100),
        _audit("apgd-ce-200", "apgd_ce", steps=200),
        _audit("expectation-100", "eot", modes=RANDOM, steps=100),
        _audit("apgd-dlr-100", "apgd_dlr", steps=100),
        _audit("pgd-50", "pgd", steps=50, rel_stepsize=0.05, random_start=True),
        _audit("pgd-50-small-steps", "pgd", steps=50, rel_stepsize=0.02, random_start=True),
        _audit("pgd-50-large-steps", "pgd", steps=50, rel_stepsize=0.125, random_start=True),
        _audit("apgd-ce-100x5", "apgd_ce", steps=100, restarts=5),
        _audit("pgd-100-full-range", "pgd", full_range=True, steps=100, rel_stepsize=0.025, random_start=True),
    ),
    not_run=(
        ("VMI, Admix, SGM on the stolen base", "part of the suite thorough"),
        _TARGETED,
        _AUTOATTACK,
    ),
    norms=("linf", "l2"),
    draws=5,
)

THOROUGH = Suite(
    name="thorough",
    version="3",
    rows=(
        _NOISE,
        _FGSM,
        *_RETRAINED,
        _on_base("pgd", 20),
        _on_base("mi", 10),
        _on_base("mi_di_ti_si", 10),
        _on_base("vmi", 10),
        _on_base("admix", 10),
        _on_base("sgm", 10),
        _on_lgv("mi_di"),
        _on_lgv("mi_di_ti_si"),
        _on_fresh("mi-di-100-member-per-step", "mi_di", "fresh-step", 100),
        _on_fresh("mi-di-10-pool-mean", "mi_di", "fresh-pool", 10),
        _matrix(32),
        _FGSM_WHITE,
        _l1("pgd-100", "pgd", steps=100, rel_stepsize=0.05, random_start=True),
        _l1("apgd-l1-100", "apgd_l1", steps=100),
        _l1("ead-100", "ead", steps=100),
        _white("apgd-ce-100x5", "apgd_ce", steps=100, restarts=5),
        _white("apgd-dlr-t-100", "apgd_dlr_targeted", steps=100, classes=9),
        _white("reweighted-100x2", "reweighted", steps=100, restarts=2),
        _other_modes(100),
        _random("averaged-100", "apgd_ce", steps=100),
        _random("expectation-100x5", "eot", steps=100, restarts=5),
        _random("greedy-50", "greedy_members", rounds=50),
        _square(5000),
        _hopskipjump(40, 200),
    ),
    surrogates=(_LGV, *_fresh(32)),
    audits=(
        *STANDARD.audits,
        # Without it FGSM is the only cold run below the headline radius in L1, and everything leaks.
        _audit("apgd-l1-100", "apgd_l1", radii="all", norms=("l1",), steps=100),
    ),
    not_run=(_FAB, _TARGETED, _AUTOATTACK),
    norms=("linf", "l2", "l1"),
    draws=5,
)

#: Every suite by its name.
SUITES: Mapping[str, Suite] = MappingProxyType({suite.name: suite for suite in (QUICK, STANDARD, THOROUGH)})


def suite_named(name: str) -> Suite:
    """Return the suite of this name.

    Args:
        name: a key of `SUITES`.

    Returns:
        The suite.

    Raises:
        UnknownName: no such suite; the message lists the known ones.
    """
    if name not in SUITES:
        raise UnknownName("suite", str(name), SUITES)
    return SUITES[name]
