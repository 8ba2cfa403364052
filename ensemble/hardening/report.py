"""The record of what hardening did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ensemble.hardening.settings import Hardening


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One look at the held-out inputs.

    Attributes:
        step: steps done before it.
        training_loss: mean loss of the steps since the last look; 0 at the first look, before any step.
        clean_drop: share of held-out inputs on which the label differs from the target network's.
        divergence: mean KL(target || network) in nats on them.
        adversarial_divergence: the same on copies of them attacked like those of the steps.
        transfer_divergence: the same on copies attacked on the target network; 0 where it has no weight.
    """

    step: int
    training_loss: float
    clean_drop: float
    divergence: float
    adversarial_divergence: float
    transfer_divergence: float = 0.0

    def loss(self, settings: Hardening) -> float:
        """Return the loss of the steps on the held-out inputs.

        Args:
            settings: for the weights of its parts.
        """
        attacked = settings.adversarial_weight * self.adversarial_divergence
        return self.divergence + attacked + settings.transfer_weight * self.transfer_divergence


@dataclass(frozen=True, slots=True, kw_only=True)
class HardeningReport:
    """What hardening did.

    Attributes:
        steps: steps done.
        stopped_early: whether the held-out loss had stopped falling before the last step.
        inputs: inputs that steps drew from.
        held_out: inputs that no step saw.
        checks: every look at the held-out inputs.
        kept_step: the look whose weights were kept.
        share: how far the kept weights lie on the way from the start to the refined ones; 1 is all the way.
        clean_drop: share of held-out inputs on which the kept network's label differs from the target network's.
        trunk_digest: SHA-256 of the kept network.
        seconds: wall time over all sittings; not part of any digest or comparison.
    """

    steps: int
    stopped_early: bool
    inputs: int
    held_out: int
    checks: tuple[Check, ...]
    kept_step: int
    share: float
    clean_drop: float
    trunk_digest: str
    seconds: float = field(default=0.0, compare=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HardeningReport":
        """Return the record of a mapping from field names.

        Raises:
            KeyError, TypeError: the values are not such a record.
        """
        return cls(**{**values, "checks": tuple(Check(**check) for check in values["checks"])})
