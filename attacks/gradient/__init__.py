"""Published gradient attacks as foolbox attack classes, and the adapter that crafts them on a surrogate."""

from attacks.gradient.admix import Mixing, admix
from attacks.gradient.descent import Attempt, KeepBestGradientDescent
from attacks.gradient.diversity import Diversity, mi_di
from attacks.gradient.fgsm import fgsm
from attacks.gradient.goal import Goal
from attacks.gradient.keeping import KEEP_LAST, KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, KeepRule
from attacks.gradient.momentum import MomentumDescent, mi, ni
from attacks.gradient.pgd import pgd
from attacks.gradient.scales import Scales, mi_di_ti_si
from attacks.gradient.skip import SkipGradient, sgm
from attacks.gradient.smoothing import Smoothing
from attacks.gradient.transfer import Transfer
from attacks.gradient.variance import VarianceDescent, vmi

__all__ = [
    "KEEP_LAST",
    "KEEP_SERVED_MARGIN",
    "KEEP_SURROGATE_LOSS",
    "Attempt",
    "Diversity",
    "Goal",
    "KeepBestGradientDescent",
    "KeepRule",
    "Mixing",
    "MomentumDescent",
    "Scales",
    "SkipGradient",
    "Smoothing",
    "Transfer",
    "VarianceDescent",
    "admix",
    "fgsm",
    "mi",
    "mi_di",
    "mi_di_ti_si",
    "ni",
    "pgd",
    "sgm",
    "vmi",
]
