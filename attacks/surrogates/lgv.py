"""Weights collected around the stolen base by training on at a constant high rate: large geometric vicinity.

Source: Gubri et al. (2022), arXiv:2207.13129. SGD with momentum from the trained weights, ten epochs, four snapshots
per epoch; BatchNorm statistics move with the training and are collected as they are. The paper trains on the whole
training set. A few hundred points move the weights farther than they teach them (ResNet-20, 400 images, one seed: 79 %
of 200 held-out images right before, 52 to 64 % after the first epoch), and need not transfer better than the base does.
"""

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.canonical import content_digest, seed_from
from attacks.data import LabelledData, check_labels
from attacks.surrogates.pools import Tensors, on_base
from ensemble.digests import tensor_digest
from ensemble.errors import InputError, LevelsetError
from ensemble.layers import like_state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LgvSettings:
    """How weights are collected; the defaults are the paper's.

    Attributes:
        epochs: passes over the attacker's sample.
        rate: constant learning rate.
        momentum: of SGD.
        weight_decay: of SGD.
        batch: points per step at most; smaller where an epoch would have fewer steps than snapshots.
        snapshots: collected weights per epoch.

    Raises:
        InputError: a value is outside its range.
    """

    epochs: int = 10
    rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch: int = 256
    snapshots: int = 4

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("epochs", "batch", "snapshots"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"lgv {name}: expected a whole number >= 1, got {value!r}; the paper's is the default")
        for name, least in (("rate", 0.0), ("momentum", -1e-9), ("weight_decay", -1e-9)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not least < value < 1:
                raise InputError(
                    f"lgv {name}: expected a number from 0 to 1, got {value!r}; the paper's is the default"
                )

    @property
    def count(self) -> int:
        """How many weights are collected."""
        return self.epochs * self.snapshots


@dataclass(frozen=True, slots=True, eq=False)
class CollectedWeights:
    """Weights that an attacker collects from the stolen base with labelled data of its own.

    Attributes:
        base: the stolen base, in eval mode; a copy is trained.
        base_digest: SHA-256 of its weights and buffers.
        data: the attacker's labelled sample.
        seed: of the order of points, and of dropout where the network has it.
        settings: of the training.
        name: what reports call it.
        digest: SHA-256 of base, sample with labels, seed and settings (derived).

    Raises:
        InputError: too few points for the snapshots of an epoch.
    """

    base: nn.Module
    base_digest: str
    data: LabelledData
    seed: int
    settings: LgvSettings = LgvSettings()
    name: str = "lgv"
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Check that each step can have two points, which BatchNorm needs, and name what weights are made from."""
        least = 2 * self.settings.snapshots
        if len(self.data) < least:
            raise InputError(
                f"lgv: expected at least {least} labelled points of the attacker's own, got {len(self.data)}; "
                "give a larger sample"
            )
        data = [tensor_digest(self.data.inputs), tensor_digest(self.data.labels)]
        parts = [self.name, self.base_digest, data, self.seed, asdict(self.settings)]
        object.__setattr__(self, "digest", content_digest(parts))

    def prepare(self) -> dict[str, Tensor]:
        """Return the collected state dictionaries, stacked `[weight ...]` on the CPU; equal digests, equal bytes.

        Raises:
            InputError: a label is not a class of the base.
            LevelsetError: the training diverged.
        """
        inputs, labels = on_base(self.base, self.data.inputs), on_base(self.base, self.data.labels)
        with torch.no_grad():
            classes = self.base(inputs[:1]).shape[1]
        check_labels(self.data.labels, len(self.data), classes=classes)
        network = copy.deepcopy(self.base).requires_grad_(True).train()
        devices = [inputs.device] if inputs.device.type == "cuda" else []
        repeatable = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
        with torch.random.fork_rng(devices=devices), repeatable, torch.enable_grad():
            torch.manual_seed(seed_from(self.digest, "dropout"))
            states = list(_collected(network, inputs, labels, self.settings, seed_from(self.digest, "order")))
        stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        if not all(bool(torch.isfinite(value).all()) for value in stacked.values() if value.is_floating_point()):
            raise LevelsetError(
                f"lgv: expected finite weights, got a training that diverged at the rate {self.settings.rate:g}; "
                "lower the rate"
            )
        return stacked

    def from_state(self, tensors: Tensors) -> "StackedNetworks":
        """Return the pool that tensors of `prepare` describe, on the base's device.

        Args:
            tensors: of `prepare`.
        """
        with torch.no_grad():
            classes = self.base(on_base(self.base, self.data.inputs[:1])).shape[1]
        return StackedNetworks(self.base, {name: on_base(self.base, value) for name, value in tensors.items()}, classes)


def _collected(
    network: nn.Module, inputs: Tensor, labels: Tensor, settings: LgvSettings, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Yield a copy of the state on the CPU at even distances in each epoch of training."""
    rng = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(
        network.parameters(), settings.rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    steps = max(-(-len(inputs) // settings.batch), settings.snapshots)
    ends = {(part + 1) * steps // settings.snapshots for part in range(settings.snapshots)}
    for _ in range(settings.epochs):
        order = torch.randperm(len(inputs), generator=rng).to(inputs.device)
        # In even parts: a last batch of one point would have no variance for BatchNorm.
        for step, batch in enumerate(order.tensor_split(steps), start=1):
            optimiser.zero_grad()
            functional.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimiser.step()
            if step in ends:
                yield {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


class StackedNetworks(nn.Module):
    """Networks of one class with weights stacked on a first axis, run one after another.

    Args:
        network: of their class, in eval mode; its own weights are not used.
        states: state dictionaries stacked `[weight ...]`, on the network's device.
        classes: the number of classes.
    """

    def __init__(self, network: nn.Module, states: Tensors, classes: int) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.states = dict(states)
        self.num_classes = classes
        self.train(False)

    @property
    def size(self) -> int:
        """Return how many there are."""
        return len(next(iter(self.states.values())))

    def member_logits(self, x: Tensor, *, members: slice | None = None) -> Tensor:
        """Return logits `[member batch classes]` for inputs `[batch ...]`.

        Args:
            x: inputs.
            members: which of them; None for all.
        """
        chosen = range(self.size)[slice(None) if members is None else members]
        return torch.stack([self._one(index, x) for index in chosen])

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of their logits `[batch classes]`."""
        return self.member_logits(x).mean(0)

    def member(self, index: int) -> nn.Module:
        """Return one of them as a network of its own, in eval mode."""
        network = copy.deepcopy(self.network)
        own = {name: value[index] for name, value in self.states.items()}
        network.load_state_dict(like_state_of(network, own), strict=True)
        return network

    def _one(self, index: int, x: Tensor) -> Tensor:
        own = {name: value[index] for name, value in self.states.items()}
        logits: Tensor = torch.func.functional_call(self.network, own, (x,), tie_weights=False)
        return logits
