"""What hardening reads: inputs, the target network's answers on them, and a part that no step sees."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemble.errors import InputError
from ensemble.hardening.settings import Hardening

CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Inputs and what the target network says about them.

    Attributes:
        inputs: `[n ...]`.
        targets: log-probabilities `[n classes]`.
        mirrored: the same of the inputs mirrored left to right, or None where they are not mirrored.
    """

    inputs: Tensor
    targets: Tensor
    mirrored: Tensor | None

    def batch(self, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return inputs `[size ...]` drawn with replacement, half of them mirrored, and their targets.

        Args:
            size: how many.
            rng: CPU generator.
        """
        rows = torch.randint(len(self.inputs), (size,), generator=rng).to(self.inputs.device)
        x, target = self.inputs[rows], self.targets[rows]
        if self.mirrored is None:
            return x, target
        turned = (torch.rand(size, generator=rng) < 0.5).to(x.device)
        x = torch.where(turned.reshape(-1, 1, 1, 1), x.flip(-1), x)
        return x, torch.where(turned.unsqueeze(1), self.mirrored[rows], target)


def split(target: nn.Module, inputs: Tensor, settings: Hardening, rng: torch.Generator) -> tuple[Points, Points]:
    """Return the points that steps draw from and the held-out ones, each with the target network's answers.

    Args:
        target: network whose soft predictions are the aim.
        inputs: `[n ...]`.
        settings: how many, which share is held out, whether they are mirrored.
        rng: CPU generator of the split: inputs may come sorted by class.

    Raises:
        InputError: too few inputs for a held-out part.
    """
    used = inputs[: settings.inputs]
    held_out = round(settings.held_out * len(used))
    if held_out < 1 or held_out >= len(used):
        raise InputError(
            f"hardening: expected enough inputs to hold out a share of {settings.held_out:g}, got {len(used)}; add "
            "unlabelled inputs"
        )
    order = torch.randperm(len(used), generator=rng).to(inputs.device)
    own, rest = _as_images(used[order[held_out:]]), _as_images(used[order[:held_out]])
    mirror = settings.flips and inputs.ndim == 4
    return (
        Points(own, log_probabilities(target, own), log_probabilities(target, own.flip(-1)) if mirror else None),
        Points(rest, log_probabilities(target, rest), None),
    )


def log_probabilities(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return the log-probabilities `[n classes]` of a network on inputs `[n ...]`, in chunks, without gradients."""
    with torch.no_grad():
        return torch.cat([network(part).float().log_softmax(1) for part in inputs.split(CHUNK)])


def _as_images(inputs: Tensor) -> Tensor:
    # Convolutions are faster with the channels innermost, on CPUs and on GPUs.
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs.contiguous()
