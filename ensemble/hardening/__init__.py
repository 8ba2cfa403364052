"""Label-free consistency refinement of a network: fine-tuning towards a network's own predictions, without labels."""

from ensemble.hardening.refine import Hardened, harden
from ensemble.hardening.report import Check, HardeningReport
from ensemble.hardening.settings import Hardening

__all__ = ["Check", "Hardened", "Hardening", "HardeningReport", "harden"]
