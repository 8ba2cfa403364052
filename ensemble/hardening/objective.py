r"""What hardening minimises: the divergence from the target network's soft prediction, clean and under attack.

.. math:: L = \frac1B \sum_i \mathrm{KL}(p_i \| q(x_i)) + w \, \mathrm{KL}(p_i \| q(x_i + \delta_i)),
          \quad \delta_i \approx \arg\max_{\lVert\delta\rVert_\infty \le r} \mathrm{KL}(p_i \| q(x_i + \delta))

p is fixed and computed once on the clean input; no label enters. Derived here; the form is that of TRADES (Zhang et
al. 2019) with the labels' cross-entropy replaced by the divergence from a fixed network on both terms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ensemble.crafting import ascend
from ensemble.hardening.settings import Hardening

Classifier = Callable[[Tensor], Tensor]


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return KL(target || softmax(logits)) in nats per row `[batch]`.

    Args:
        target: log-probabilities `[batch classes]`.
        logits: `[batch classes]`.
    """
    rows = F.kl_div(logits.float().log_softmax(1), target, reduction="none", log_target=True)
    return rows.sum(1)


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of a batch.

    Attributes:
        settings: radius, inner steps and weight.
        bounds: least and largest value of an input.
    """

    settings: Hardening
    bounds: tuple[float, float]

    def attacked(self, network: Classifier, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        """Return copies of `x` moved within the radius to where the network diverges from the target.

        Args:
            network: what is attacked.
            x: inputs `[batch ...]`.
            target: log-probabilities `[batch classes]`.
            noise: where the attack starts, minus x; at x itself the gradient of an unrefined network is zero.
        """

        def loss(probe: Tensor) -> Tensor:
            return divergence(target, network(probe)).sum()

        radius, steps = self.settings.radius, self.settings.inner_steps
        return ascend(loss, x, noise, radius=radius, steps=steps, bounds=self.bounds)

    def loss(self, network: Classifier, x: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        """Return the loss, a scalar with a gradient; clean and attacked inputs share one pass."""
        attacked = self.attacked(network, x, target, noise)
        rows = divergence(torch.cat([target, target]), network(torch.cat([x, attacked])))
        clean, adversarial = rows.split(len(x))
        total: Tensor = clean.mean() + self.settings.adversarial_weight * adversarial.mean()
        return total
