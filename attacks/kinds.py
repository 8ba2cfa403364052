"""What is known about a kind of attack without loading it: a table, read by suites, checks and reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kind:
    """Traits of one kind of attack.

    Attributes:
        family: what a progress display groups by where the attacker's knowledge says less: "noise" or "fgsm".
        gradient: whether it uses gradients.
        single_step: whether it takes one step only, and hence need not get stronger with epsilon.
        norms: where it is defined.
        transformed: whether gradients are taken on transformed copies: made to transfer, not to break the network they
            are taken on.
        nearest: whether it looks for the nearest example instead of one in a given ball.
        queries: whether it asks the served answer for scores or labels and counts these questions.
    """

    family: str = ""
    gradient: bool = True
    single_step: bool = False
    norms: tuple[str, ...] = ("linf", "l2", "l1")
    transformed: bool = False
    nearest: bool = False
    queries: bool = False


_PLANE = ("linf", "l2")

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "noise": Kind("noise", gradient=False),
        "gaussian_noise": Kind("noise", gradient=False, norms=("l2",)),
        "blur": Kind("noise", gradient=False),
        "fgsm": Kind("fgsm", single_step=True),
        "pgd": Kind(),
        "mi": Kind(),
        "ni": Kind(),
        "mi_di": Kind(transformed=True),
        "mi_di_ti_si": Kind(transformed=True),
        "vmi": Kind(transformed=True),
        "admix": Kind(transformed=True),
        "sgm": Kind(transformed=True),
        "deepfool": Kind(norms=_PLANE),
        "cw": Kind(norms=("l2",)),
        "ddn": Kind(norms=("l2",)),
        "fmn": Kind(),
        "ead": Kind(norms=("l1",)),
        "apgd_ce": Kind(norms=_PLANE),
        "apgd_dlr": Kind(norms=_PLANE),
        "apgd_dlr_targeted": Kind(norms=_PLANE),
        "apgd_l1": Kind(norms=("l1",)),
        "eot": Kind(norms=_PLANE),
        "eot_sampled": Kind(norms=_PLANE),
        "reweighted": Kind(norms=_PLANE),
        "greedy_members": Kind(norms=_PLANE),
        "square": Kind(gradient=False, norms=_PLANE, queries=True),
        "hopskipjump": Kind(gradient=False, norms=_PLANE, nearest=True, queries=True),
        "boundary": Kind(gradient=False, norms=("l2",), nearest=True, queries=True),
    }
)
