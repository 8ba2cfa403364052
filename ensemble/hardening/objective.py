r"""What hardening minimises: the divergence from the target network's soft prediction, clean and under attack.

.. math:: L = \frac1B \sum_i \mathrm{KL}(p_i \| q(x_i)) + w \, \mathrm{KL}(p_i \| q(x_i + \delta_i))
              + v \, \mathrm{KL}(p_i \| q(x_i + \tau_i)),
          \quad \delta_i \approx \arg\max_{\lVert\delta\rVert_\infty \le r} \mathrm{KL}(p_i \| q(x_i + \delta))

tau moves the input to where the target network itself is wrong, as a thief of it would: the idea of ensemble
adversarial training (Tramer et al. 2018) with the one network that is known to be attacked. p is fixed and computed
once on the clean input; no label enters. Derived here; the form is that of TRADES (Zhang et al. 2019) with the labels'
cross-entropy replaced by the divergence from a fixed network on all terms.
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
        settings: radii, steps and weights.
        bounds: least and largest value of an input.
        aim: the target network; what transfer attacks are made on.
    """

    settings: Hardening
    bounds: tuple[float, float]
    aim: Classifier

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

    def transferred(self, x: Tensor, target: Tensor, unit: Tensor) -> Tensor:
        """Return copies of `x` moved to where the target network leaves its own label.

        Args:
            x: inputs `[batch ...]`.
            target: log-probabilities `[batch classes]`.
            unit: `[batch]` in [0, 1), each input's share of the largest radius.
        """
        labels = target.argmax(1)

        def loss(probe: Tensor) -> Tensor:
            return F.cross_entropy(self.aim(probe).float(), labels, reduction="sum")

        radii = (unit * self.settings.transfer_radius).reshape(-1, *[1] * (x.ndim - 1))
        steps = self.settings.transfer_steps
        return ascend(loss, x, torch.zeros_like(x), radius=radii, steps=steps, bounds=self.bounds)

    def loss(self, network: Classifier, x: Tensor, target: Tensor, noise: Tensor, unit: Tensor | None) -> Tensor:
        """Return the loss, a scalar with a gradient; clean and attacked inputs share one pass.

        Args:
            network: what is refined.
            x: inputs `[batch ...]`.
            target: log-probabilities `[batch classes]`.
            noise: where the inner attack starts, minus x.
            unit: radii of the transfer attacks; None where they have no weight.
        """
        copies = [x, self.attacked(network, x, target, noise)]
        weights = [1.0, self.settings.adversarial_weight]
        if unit is not None:
            copies.append(self.transferred(x, target, unit))
            weights.append(self.settings.transfer_weight)
        rows = divergence(target.repeat(len(copies), 1), network(torch.cat(copies)))
        means = torch.stack([part.mean() for part in rows.split(len(x))])
        return means @ torch.tensor(weights, dtype=means.dtype, device=means.device)
