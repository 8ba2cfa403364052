"""What an attacker crafts on: a network it holds, with the digest of everything its examples depend on."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.canonical import content_digest
from attacks.targets import Coding, EnsembleModel, NetworkModel
from ensemble.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Surrogate:
    """A network the attacker holds.

    Attributes:
        name: "base" for the stolen base, "target" where the attacker holds the target itself, else what it is.
        model: what gradients are taken through; it may change its weights from one gradient call to the next.
        digest: SHA-256 of what it depends on; examples depend on this, never on the network judged.
    """

    name: str
    model: NetworkModel
    digest: str


def stolen_base(model: NetworkModel, digest: str) -> Surrogate:
    """Return the surrogate of an attacker who has stolen the base network.

    Args:
        model: the base, wrapped.
        digest: of its weights and buffers.
    """
    return Surrogate("base", model, digest)


def target_itself(model: NetworkModel, digest: str) -> Surrogate:
    """Return the surrogate of a white-box attacker: the target as served, or in another mode of `with_mode`.

    Args:
        model: the target, wrapped.
        digest: of its weights and buffers.
    """
    mode = model.mode if isinstance(model, EnsembleModel) else "prob"
    return Surrogate("target", model, digest if mode == "prob" else content_digest(["target", digest, mode]))


def leaked_member(target: NetworkModel, digest: str, index: int) -> Surrogate:
    """Return the surrogate of an attacker to whom one member of the target leaked.

    Args:
        target: the ensemble, wrapped; its network must hand out members, as a `SymmetryEnsemble` does.
        digest: of its weights and buffers.
        index: which member.

    Raises:
        InputError: there is no such member.
    """
    hand_out = getattr(target.network, "member", None)
    if hand_out is None:
        raise InputError(
            f"leaked member: expected a target that hands out members, got {type(target.network).__name__}; "
            "give it a method member(index) that returns one as a network"
        )
    name = f"member-{index}"
    model = NetworkModel(
        hand_out(index), bounds=tuple(target.bounds), classes=target.classes, coding=target.coding, role=name
    )
    return Surrogate(name, model, content_digest(["member", digest, index]))


def independent(model: NetworkModel, digest: str, *, index: int = 0) -> Surrogate:
    """Return the surrogate of an attacker who trained a network of its own: the user gives it.

    Args:
        model: that network, wrapped.
        digest: of its weights and buffers.
        index: which of several it is.
    """
    return Surrogate(f"independent-{index}", model, digest)


class _Joint(nn.Module):
    """Several models answering together by the mean of their logits."""

    def __init__(self, models: Sequence[NetworkModel]) -> None:
        super().__init__()
        self.models = tuple(models)
        self.networks = nn.ModuleList(model.network for model in models)
        self.train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([model.serve(inputs) for model in self.models]).mean(0)


class JointModel(NetworkModel):
    """Several surrogates as one foolbox model that answers the mean of their logits (Liu et al., 2017).

    Args:
        models: at least one, with equal bounds, classes and device.
    """

    def __init__(self, models: Sequence[NetworkModel]) -> None:
        first = models[0]
        super().__init__(_Joint(models), bounds=tuple(first.bounds), classes=first.classes, role="surrogates")
        self._models = tuple(models)

    @property
    def changes(self) -> bool:
        """Whether one of them changes its weights from one gradient to the next."""
        return any(model.changes for model in self._models)

    def restart(self) -> None:
        """Begin a run anew in every one of them."""
        for model in self._models:
            model.restart()

    @contextmanager
    def one_gradient(self) -> Iterator[None]:
        """Hold the turn of every one of them."""
        with ExitStack() as stack:
            for model in self._models:
                stack.enter_context(model.one_gradient())
            yield

    def with_coding(self, coding: Coding) -> "JointModel":
        """Return the same models, each behind another coding of its inputs."""
        return JointModel([model.with_coding(coding) for model in self._models])


def ensemble_of(surrogates: Sequence[Surrogate]) -> Surrogate:
    """Return several surrogates as one, by the mean of their logits.

    Args:
        surrogates: at least one; those that change their weights go on doing so.

    Raises:
        InputError: none given, or different bounds, classes or devices.
    """
    if not surrogates:
        raise InputError("ensemble of surrogates: expected at least one, got none; pass some")
    models = [surrogate.model for surrogate in surrogates]
    kinds = {(tuple(model.bounds), model.classes, str(model.device)) for model in models}
    if len(kinds) > 1:
        raise InputError(
            f"ensemble of surrogates: expected equal bounds, classes and devices, got {sorted(kinds)}; "
            "wrap all of them alike, on one device"
        )
    name = "+".join(surrogate.name for surrogate in surrogates)
    digest = content_digest(["mean_logits", [surrogate.digest for surrogate in surrogates]])
    return Surrogate(name, JointModel(models), digest)
