"""Models that remember what they were shown, and models whose gradients are prescribed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attacks.targets import NetworkModel

BOX = (0.0, 1.0)


class Recorded(NetworkModel):
    """A model that remembers every batch it was shown, with and without a gradient."""

    def __init__(self, network: nn.Module, classes: int = 10) -> None:
        super().__init__(network, bounds=BOX, classes=classes)
        self.seen: list[Tensor] = []
        self.differentiated: list[Tensor] = []

    def __call__(self, inputs: Any) -> Any:
        """Remember and answer."""
        raw = getattr(inputs, "raw", inputs)
        self.seen.append(raw.detach().clone())
        if torch.is_grad_enabled():
            self.differentiated.append(raw.detach().clone())
        return super().__call__(inputs)


class Prescribed(nn.Module):
    """Logits (0, w_t · x): the loss of class 0 has a gradient along w_t at the t-th pass with a gradient."""

    def __init__(self, gradients: Sequence[Tensor]) -> None:
        super().__init__()
        self.gradients = list(gradients)
        self.taken = 0
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch 2]`."""
        weight = self.gradients[min(self.taken, len(self.gradients) - 1)]
        self.taken += torch.is_grad_enabled()
        score = (inputs.flatten(1) * weight).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)
