"""Ensembles that a gain must be held against: weight noise that costs as much accuracy, and independent networks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.data import LabelledData, check_labels
from attacks.modes import ServingMode, serving_mode
from attacks.targets import device_of
from ensemble.aggregation import MeanProbability
from ensemble.controls import noise_ensemble
from ensemble.errors import InputError
from ensemble.members import SymmetryEnsemble

#: How close the clean accuracies must be: half a point.
TOLERANCE = 0.005
#: How closely the largest factor is found, as a ratio.
PRECISION = 1.05
#: No factor above this is tried: noise of this size that costs nothing acts where nothing depends on it.
LARGEST = 256.0
_TRIALS = 40


@dataclass(frozen=True, slots=True, eq=False)
class EqualAccuracyNoise:
    """Weight noise, scaled until it costs what the ensemble's members cost.

    Attributes:
        network: the noise ensemble.
        factor: of the distance each tensor is moved; 1 is `weight_noise_equal_norm`.
        accuracy: its clean accuracy on the validation points.
        wanted: the ensemble's.
        points: how many validation points there are.
        trials: (factor, accuracy) of everything tried, in order.
    """

    network: SymmetryEnsemble
    factor: float
    accuracy: float
    wanted: float
    points: int
    trials: tuple[tuple[float, float], ...]

    @property
    def equal(self) -> bool:
        """Whether the two accuracies are within half a point."""
        return abs(self.accuracy - self.wanted) <= TOLERANCE + 1e-9

    @property
    def reason(self) -> str:
        """Why the accuracies are not equal; nothing where they are."""
        if self.equal:
            return ""
        return (
            f"no factor gives weight noise the clean accuracy {100 * self.wanted:.1f} % of the ensemble on "
            f"{self.points} validation points within half a point; the nearest, {self.factor:.3g}, gives "
            f"{100 * self.accuracy:.1f} %"
        )


def weight_noise_equal_accuracy(
    ensemble: SymmetryEnsemble,
    validation: LabelledData,
    *,
    seed: int,
    mode: str | ServingMode = "prob",
    block: int = 256,
) -> EqualAccuracyNoise:
    """Return the strongest weight noise whose clean accuracy is the ensemble's within half a point.

    Every tensor W that a member moves to W' becomes W + factor |W' - W| Z/|Z| with one global factor, found by
    bisection; Z is the same at every factor. Of all factors that cost no more than half a point over the ensemble's
    cost the largest is wanted: of networks equally good, the most different ones are the hardest to win against.

    Args:
        ensemble: the ensemble under test.
        validation: points that were neither evaluated nor calibrated on.
        seed: of Z.
        mode: how the ensemble is served; the accuracy of `random_member` is the mean of its members'.
        block: points per pass.

    Returns:
        The noise with its factor; `equal` says whether half a point was reached: few validation points, or an ensemble
        better than its base, can make it impossible.

    Raises:
        InputError: a label is not a class of the ensemble.
    """
    check_labels(validation.labels, len(validation), classes=ensemble.num_classes)
    search = _Search(ensemble, validation, seed, serving_mode(mode), block)
    wanted = clean_accuracy(ensemble, validation, mode=search.mode, block=block)
    enough = wanted - TOLERANCE - 1e-9
    low, high = 0.0, 1.0
    if search.accuracy(low) >= enough:
        while high <= LARGEST and search.accuracy(high) >= enough:
            low, high = high, 2 * high
        while low < LARGEST and len(search.found) < _TRIALS and not search.settled(low, high, wanted):
            middle = (low + high) / 2
            low, high = (middle, high) if search.accuracy(middle) >= enough else (low, middle)
    return EqualAccuracyNoise(
        network=search.noise(low),
        factor=low,
        accuracy=search.accuracy(low),
        wanted=wanted,
        points=len(validation),
        trials=tuple(search.found.items()),
    )


class _Search:
    """The accuracies of noise at the factors tried so far."""

    def __init__(
        self, ensemble: SymmetryEnsemble, validation: LabelledData, seed: int, mode: ServingMode, block: int
    ) -> None:
        self.ensemble, self.validation, self.seed, self.mode, self.block = ensemble, validation, seed, mode, block
        self.found: dict[float, float] = {}

    def noise(self, factor: float) -> SymmetryEnsemble:
        return noise_ensemble(self.ensemble, rng=torch.Generator().manual_seed(self.seed), factor=factor)

    def accuracy(self, factor: float) -> float:
        if factor not in self.found:
            self.found[factor] = clean_accuracy(self.noise(factor), self.validation, mode=self.mode, block=self.block)
        return self.found[factor]

    def settled(self, low: float, high: float, wanted: float) -> bool:
        return high <= PRECISION * low and abs(self.accuracy(low) - wanted) <= TOLERANCE + 1e-9


def clean_accuracy(
    ensemble: SymmetryEnsemble, data: LabelledData, *, mode: str | ServingMode = "prob", block: int = 256
) -> float:
    """Return the share of points that an ensemble answers right as served; for a random answer, its expectation.

    Args:
        ensemble: any.
        data: points with labels.
        mode: how it is served.
        block: points per pass.
    """
    serving, device = serving_mode(mode), device_of(ensemble)
    right = 0.0
    with torch.no_grad():
        for x, y in zip(data.inputs.split(block), data.labels.split(block), strict=True):
            logits = ensemble.member_logits(x.to(device))
            answers = logits.argmax(-1) if serving.random else serving.scores(logits).argmax(-1)[None]
            right += float((answers == y.to(device)).double().mean(0).sum())
    return right / len(data)


class IndependentEnsemble(nn.Module):
    """Networks trained on their own, answering together like an ensemble: what diversity costs at training time.

    Args:
        networks: at least one, in eval mode, with equal classes; they are held, not copied.

    Raises:
        InputError: none is given.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks:
            raise InputError("independent ensemble: expected at least one network, got none; pass some")
        self.networks = nn.ModuleList(networks)
        # Of the containers only: whether a network is in training mode is for its owner to change.
        self.training = self.networks.training = False

    @property
    def size(self) -> int:
        """Return the number of networks."""
        return len(self.networks)

    def member(self, index: int) -> nn.Module:
        """Return one of the networks.

        Args:
            index: which.

        Raises:
            InputError: there is no such network.
        """
        if not 0 <= index < self.size:
            raise InputError(f"member: expected an integer in 0..{self.size - 1}, got {index!r}")
        return self.networks[index]

    def member_logits(self, x: Tensor, *, members: slice | None = None) -> Tensor:
        """Return logits `[member batch classes]` for inputs `[batch ...]`.

        Args:
            x: inputs.
            members: which of them; None for all.
        """
        return torch.stack([network(x) for network in self.networks[slice(None) if members is None else members]])

    def forward(self, x: Tensor) -> Tensor:
        """Return the log of the mean probability `[batch classes]` for inputs `[batch ...]`."""
        return MeanProbability()(self.member_logits(x))


def independent_ensemble(networks: Sequence[nn.Module], *, classes: int, example: Tensor) -> IndependentEnsemble:
    """Return networks that the user trained independently of the base, as one ensemble.

    Args:
        networks: at least one, in eval mode, all on one device.
        classes: how many classes each must know.
        example: some inputs that each must accept.

    Raises:
        InputError: none, one in training mode, or one with other classes.
    """
    ensemble = IndependentEnsemble(networks)
    for index, network in enumerate(networks):
        if any(module.training for module in network.modules()):
            raise InputError(f"independents[{index}]: expected eval mode, got training mode; call .eval() before")
        with torch.no_grad():
            found = network(example[:1].to(device_of(ensemble))).shape[-1]
        if found != classes:
            raise InputError(
                f"independents[{index}]: expected {classes} classes like the target, got {found}; pass networks of the "
                "same task"
            )
    return ensemble
