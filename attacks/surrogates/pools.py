"""Pools of networks that an attacker makes, and the two ways to craft on one: a network per step, or their mean.

A material says what a pool is made of. It is cheap to name: its digest is known before anything is made, so that work
can be planned by it; making it may take minutes, and what was made is a dictionary of tensors that can be stored.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor, nn

from attacks.canonical import content_digest, seed_from
from attacks.surrogates.held import Surrogate
from attacks.targets import FLOAT32, Coding, EnsembleModel, NetworkModel, device_of
from attacks.targets.failures import named_failure
from ensemble.errors import InputError

Tensors = Mapping[str, Tensor]


class Pool(Protocol):
    """Networks that answer one by one: a `SymmetryEnsemble`, or stacked weights."""

    @property
    def size(self) -> int:
        """Return how many there are."""
        ...

    def member_logits(self, x: Tensor, *, members: slice | None = None) -> Tensor:
        """Return `[member batch classes]` of some of them, of all for None."""
        ...


class Material(Protocol):
    """What an attacker makes before it attacks.

    Example (a shard that makes it once and stores it, and another one that uses it)::

        material = FreshMembers(base, base_digest, recipe, sample, seed=1, count=8)
        tensors = material.prepare()                      # expensive; keep under material.digest
        surrogate = one_per_step(material, tensors, bounds=(0.0, 1.0))
    """

    @property
    def name(self) -> str:
        """Return what reports call it."""
        ...

    @property
    def digest(self) -> str:
        """Return the SHA-256 of all that it is made from, known without making it."""
        ...

    def prepare(self) -> dict[str, Tensor]:
        """Make it: return tensors on the CPU; equal digests on the same device give equal bytes."""
        ...

    def from_state(self, tensors: Tensors) -> nn.Module:
        """Return the pool that tensors of `prepare` describe, on the base's device."""
        ...


class MemberPerStep(NetworkModel):
    """A model that answers each gradient call with the next network of a pool, all of them once per pass.

    The order is shuffled anew in each pass, by a seed; `restart` goes back to the first. Calls without a gradient are
    answered by the network whose turn it is, and do not take its turn. An attack that needs several calls for one step
    makes them inside `one_gradient`: they are one turn.

    Source: Gubri et al. (2022), arXiv:2207.13129, one collected weight per iteration.

    Args:
        pool: the networks.
        bounds: (low, high) of every input value.
        classes: the number of classes.
        seed: of the order.
        coding: what happens to inputs before a network sees them.
        role: what it is called in error messages.
    """

    def __init__(
        self,
        pool: nn.Module,
        *,
        bounds: tuple[float, float],
        classes: int,
        seed: int,
        coding: Coding = FLOAT32,
        role: str = "pool",
    ) -> None:
        super().__init__(pool, bounds=bounds, classes=classes, coding=coding, role=role)
        self._seed = seed
        self._held = False
        self.restart()

    @property
    def turn(self) -> int:
        """The index of the network that answers next."""
        return self._order[0]

    @property
    def changes(self) -> bool:
        """Whether there is more than one network to take turns."""
        return int(self.network.size) > 1  # type: ignore[arg-type]

    def restart(self) -> None:
        """Begin a run anew: the same order again."""
        self._rng = torch.Generator().manual_seed(self._seed)
        self._order = self._pass()

    @contextmanager
    def one_gradient(self) -> Iterator[None]:
        """Hold the turn of one network for all calls inside; it ends with the context."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self._end_turn()

    def _end_turn(self) -> None:
        del self._order[0]
        self._order = self._order or self._pass()

    def _pass(self) -> list[int]:
        order: list[int] = torch.randperm(int(self.network.size), generator=self._rng).tolist()  # type: ignore[arg-type]
        return order

    def serve(self, inputs: Tensor) -> Tensor:
        """Return the logits of the network whose turn it is, `[batch classes]`; its turn ends if they have a gradient.

        Args:
            inputs: `[batch channel height width]` on the model's device.
        """
        here = slice(self.turn, self.turn + 1)
        with named_failure(self.role, tuple(inputs.shape)):
            logits: Tensor = self.network.member_logits(self.coding(inputs), members=here)[0]  # type: ignore[operator]
        if inputs.requires_grad and not self._held:
            self._end_turn()
        return logits

    def with_coding(self, coding: Coding) -> "MemberPerStep":
        """Return the same pool behind another coding of its inputs, at the start of its order."""
        return MemberPerStep(
            self.network,
            bounds=self.bounds,
            classes=self.classes,
            seed=self._seed,
            coding=coding,
            role=self.role,
        )


def one_per_step(material: Material, tensors: Tensors, *, bounds: tuple[float, float]) -> Surrogate:
    """Return the surrogate that takes each gradient through the next network of a material.

    Args:
        material: what the networks are made of.
        tensors: of its `prepare`.
        bounds: (low, high) of every input value.
    """
    pool, digest = material.from_state(tensors), form_digest("one_per_step", material)
    model = MemberPerStep(
        pool, bounds=bounds, classes=_classes(pool), seed=seed_from(digest, "order"), role=material.name
    )
    return Surrogate(f"{material.name}, one per step", model, digest)


def mean_of_pool(material: Material, tensors: Tensors, *, bounds: tuple[float, float]) -> Surrogate:
    """Return the surrogate that takes each gradient through the mean logits of a material's networks.

    Args:
        material: what the networks are made of.
        tensors: of its `prepare`.
        bounds: (low, high) of every input value.
    """
    pool = material.from_state(tensors)
    model = EnsembleModel(pool, bounds=bounds, classes=_classes(pool), mode="logit", role=material.name)
    return Surrogate(f"{material.name}, mean of the pool", model, form_digest("mean_of_pool", material))


#: How a pool is crafted on, by name: (material, tensors, bounds=...) -> surrogate.
FORMS: Mapping[str, Callable[..., Surrogate]] = MappingProxyType(
    {"one_per_step": one_per_step, "mean_of_pool": mean_of_pool}
)


def form_digest(form: str, material: Material) -> str:
    """Return the digest of the surrogate that a form will make of a material, before anything is made.

    Args:
        form: a key of `FORMS`.
        material: what it will be made of.
    """
    return content_digest([form, material.digest])


def on_base(base: nn.Module, inputs: Tensor) -> Tensor:
    """Return an attacker's inputs on the device of the base it stole.

    Args:
        base: the stolen base.
        inputs: on any device.
    """
    return inputs.to(device_of(base))


def _classes(pool: nn.Module) -> int:
    classes = getattr(pool, "num_classes", None)
    if not isinstance(classes, int):
        raise InputError(f"pool: expected one that knows its number of classes, got {type(pool).__name__}")
    return classes
