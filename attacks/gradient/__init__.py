"""Published gradient attacks as foolbox attack classes, and the adapter that crafts them on a surrogate."""

from attacks.gradient.descent import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, KeepBestGradientDescent, KeepRule
from attacks.gradient.fgsm import fgsm
from attacks.gradient.pgd import pgd
from attacks.gradient.transfer import Transfer

__all__ = [
    "KEEP_SERVED_MARGIN",
    "KEEP_SURROGATE_LOSS",
    "KeepBestGradientDescent",
    "KeepRule",
    "Transfer",
    "fgsm",
    "pgd",
]
