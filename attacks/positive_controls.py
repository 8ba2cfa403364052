"""Networks and protocols that look hard to attack and are not: an evaluation must call each of them UNRELIABLE.

Every one hides the gradient, or the verdict, of a network that any plain attack breaks. They are shipped so that a
reader can see the alarms ring, and one of them is shown to the alarms in every evaluation (check B15).
"""

from typing import Any

import eagerpy as ep
import torch
from foolbox.distances import l2, linf
from torch import Tensor, nn


class _Wrapped(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.train(False)


class GradientKiller(_Wrapped):
    """Answers what the network answers through a softmax so steep that its derivative rounds to exactly nought.

    Args:
        network: a classifier in eval mode; it is neither changed nor copied.
        steepness: what its logits are multiplied by; margins of a hundredth already saturate float32.
    """

    def __init__(self, network: nn.Module, steepness: float = 1e4) -> None:
        super().__init__(network)
        self.steepness = steepness

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[batch classes]` of 0 and 10."""
        logits: Tensor = self.network(inputs)
        return 10 * (self.steepness * logits).softmax(1)


class SaturatedLogits(_Wrapped):
    """Answers what the network answers, with logits so large that the cross-entropy has no gradient in float32.

    Args:
        network: a classifier in eval mode.
        scale: what its logits are multiplied by.
    """

    def __init__(self, network: nn.Module, scale: float = 1e4) -> None:
        super().__init__(network)
        self.scale = scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Return large logits `[batch classes]`."""
        logits: Tensor = self.network(inputs)
        return self.scale * logits


class RoundedInput(_Wrapped):
    """Rounds its input to a few levels and offers no derivative of that.

    Args:
        network: a classifier in eval mode.
        levels: steps between 0 and 1.
    """

    def __init__(self, network: nn.Module, levels: int = 8) -> None:
        super().__init__(network)
        self.levels = levels

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[batch classes]` of the rounded input."""
        logits: Tensor = self.network((inputs * self.levels).round() / self.levels)
        return logits


class NoisyInput(_Wrapped):
    """Adds fresh noise to every input, from torch's global generator.

    Args:
        network: a classifier in eval mode.
        sigma: standard deviation of the noise, in input units.
    """

    def __init__(self, network: nn.Module, sigma: float = 0.1) -> None:
        super().__init__(network)
        self.sigma = sigma

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `[batch classes]` of a perturbed input: another answer each time."""
        logits: Tensor = self.network(inputs + self.sigma * torch.randn_like(inputs))
        return logits


class WrongClamp:
    """FGSM as once published: the step is added twice, and inputs of any box are clipped to [0, 1].

    It is called like a foolbox attack and answers for itself, without foolbox's projection onto the ball. On data in
    [-0.5, 0.5] it cuts off half of every image, and the "perturbation" is up to half the width of the box.

    Args:
        norm: of the threat model; the step is that of Linf whatever the norm.
        low: lower end of the box it clips to.
        high: upper end.
    """

    def __init__(self, norm: str = "linf", *, low: float = 0.0, high: float = 1.0) -> None:
        self.norm = norm
        self.low = low
        self.high = high

    @property
    def distance(self) -> Any:
        """Foolbox's distance of the norm."""
        return {"linf": linf, "l2": l2}[self.norm]

    def __call__(
        self, model: Any, inputs: Tensor, labels: Tensor, *, epsilons: float, **_: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return raw examples, clipped examples and verdicts, as foolbox's attacks do.

        Args:
            model: a foolbox model.
            inputs: `[batch channel height width]`.
            labels: `[batch]` int64.
            epsilons: one radius.
        """
        found = self.run(model, inputs, labels, epsilon=epsilons)
        with torch.no_grad():
            fooled = model(found).argmax(1) != labels
        return found, found, fooled

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **_: Any) -> Any:
        """Return `[batch channel height width]`, outside the ball and outside most boxes.

        Args:
            model: a foolbox model.
            inputs: `[batch channel height width]`.
            criterion: the labels, or foolbox's criterion that holds them.
            epsilon: the radius.
        """
        wrapped, restore = ep.astensor_(inputs)
        origin: Tensor = wrapped.raw
        labels = criterion if isinstance(criterion, Tensor) else criterion.labels.raw
        with torch.enable_grad():
            x = origin.detach().clone().requires_grad_()
            # The softmax in front of the cross-entropy belongs to the protocol.
            loss = nn.functional.cross_entropy(model(x).softmax(1), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, x)
        step = epsilon * gradient.sign()
        once = (origin + step).clamp(self.low, self.high)
        return restore(ep.astensor((once + step).clamp(self.low, self.high)))
