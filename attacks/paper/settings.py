"""Settings that figures 10 and 11 share, and the networks both tracks start from."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks.paper.data import PaperData
from attacks.paper.networks import Networks, Sigma, cross_entropy, fresh, softmax_twice, train
from ensemble.errors import InputError

SPLIT = 977  # keeps the seeds of members apart from those of networks


@dataclass(frozen=True, slots=True)
class Settings:
    """What is run.

    Attributes:
        seeds: trained networks per track; at least two for a range.
        images: train images used at most.
        epochs: passes over them.
        evaluated: images judged at most.
        counts: numbers of members of figure 10.
        members: number of members of figure 11.
        white_box: images and members of the attack on the aggregate.
        steps: of the corrected PGD.
    """

    seeds: int = 5
    images: int = 45_800
    epochs: int = 10
    evaluated: int = 1000
    counts: tuple[int, ...] = (10, 20, 40, 80, 120)
    members: int = 200
    white_box: tuple[int, int] = (200, 50)
    steps: int = 10

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise InputError(f"seeds: expected at least two for a range, got {self.seeds}; train more networks")


OFFICIAL = Settings()
DEFAULT = replace(OFFICIAL, images=2000, epochs=3, evaluated=300, members=100, white_box=(100, 20))


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Networks of both tracks, equal seeds in equal rows.

    Attributes:
        published: trained with a softmax in front of the cross-entropy.
        corrected: trained on logits, from the same weights and batches.
    """

    published: Networks
    corrected: Networks


def trained(data: PaperData, settings: Settings, sigma: Sigma) -> Pair:
    """Return the networks of both tracks, all trained in one program.

    Args:
        data: what to train on.
        settings: how many seeds, images and epochs.
        sigma: activation of the last hidden layer.
    """
    seeds = list(range(settings.seeds))
    images = data.train.first(settings.images)
    channels, height, width = images.pixels.shape[1:]
    start = fresh([*seeds, *seeds], (channels, height, width), sigma)
    first, second = slice(0, len(seeds)), slice(len(seeds), 2 * len(seeds))
    both = train(start, images, [(first, softmax_twice), (second, cross_entropy)], epochs=settings.epochs, seed=0)
    return Pair(both.part(first), both.part(second))


@torch.no_grad()
def features(networks: Networks, pixels: Tensor) -> Tensor:
    """Return pre-activations `[net image hidden]` of images shared by all networks, in chunks."""
    return torch.cat([networks.pre_activations(chunk) for chunk in pixels.split(250)], dim=1)


def accuracy(labels: Tensor, truth: Tensor) -> Tensor:
    """Return the share of right labels `[net]` of labels `[net image]`."""
    return (labels == truth).double().mean(dim=1)


def horizon(data: PaperData, settings: Settings) -> str:
    """Return how much was run against the official settings, in words."""
    used = min(settings.images, len(data.train.labels))
    return (
        f"{data.name}: {used:,} train images, {settings.epochs} epochs, {settings.seeds} seeds; official CIFAR-10, "
        f"{OFFICIAL.images:,} images, {OFFICIAL.epochs} epochs, one unseeded run"
    )


def is_full(data: PaperData, settings: Settings) -> bool:
    """Return whether images and epochs are those of the official runs."""
    return min(settings.images, len(data.train.labels)) >= OFFICIAL.images and settings.epochs >= OFFICIAL.epochs


def described(data: PaperData, settings: Settings, **more: object) -> dict[str, object]:
    """Return the settings as words and numbers for a page."""
    return {
        "data": data.name,
        "train images": min(settings.images, len(data.train.labels)),
        "epochs": settings.epochs,
        "optimiser": "Adam at its defaults, batches of 32",
        "seeds": settings.seeds,
        **more,
    }
