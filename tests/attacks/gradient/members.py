"""Small ensembles whose best attack is known."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attacks.targets import EnsembleModel
from tests.attacks.gradient.linear import BOX


class Members(nn.Module):
    """An ensemble of networks, which answers the mean probability and can run some members alone."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.size = len(members)
        self.at_once: list[int] = []
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the log of the mean member probability, `[batch classes]`."""
        return self.member_logits(inputs).log_softmax(2).logsumexp(0) - torch.tensor(self.size).log()

    def member_logits(self, inputs: Tensor, *, members: slice | None = None) -> Tensor:
        """Return `[member batch classes]`; remembers how many members a gradient was asked of."""
        chosen = list(self.members)[slice(None) if members is None else members]
        if inputs.requires_grad:
            self.at_once.append(len(chosen))
        return torch.stack([member(inputs) for member in chosen])


class Trap(nn.Module):
    """Logits (margin, 0, floor) with margin = offset + slope * mean(x - 1/2)."""

    def __init__(self, offset: float, slope: float, floor: float) -> None:
        super().__init__()
        self.offset, self.slope, self.floor = offset, slope, floor

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch 3]`."""
        margin = self.offset + self.slope * (inputs.flatten(1) - 0.5).mean(1)
        return torch.stack([margin, torch.zeros_like(margin), torch.full_like(margin, self.floor)], 1)


def ensemble_of(members: Sequence[nn.Module], *, mode: str = "prob", classes: int = 3) -> EnsembleModel:
    """Return the ensemble as foolbox sees it."""
    return EnsembleModel(Members(members), bounds=BOX, classes=classes, mode=mode)


#: Within a radius of 0.1 this member cannot be turned, but only it has a gradient left: falling means going down.
HOPELESS = Trap(2.0, 1.0, -2.0)
#: This one is saturated, and turns as soon as the mean rises by 0.05: going up.
CHEAP = Trap(30.0, -600.0, -600.0)


def middle(n: int) -> tuple[Tensor, Tensor]:
    """Return grey images `[n 1 8 8]` and the label 0."""
    return torch.full((n, 1, 8, 8), 0.5), torch.zeros(n, dtype=torch.int64)
