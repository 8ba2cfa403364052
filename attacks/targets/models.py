"""Networks and ensembles as foolbox models: what is served is what is attacked and what is judged."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from foolbox import PyTorchModel
from torch import Tensor, nn

from attacks.modes import ServingMode, serving_mode
from attacks.targets.coding import FLOAT32, Coding
from attacks.targets.failures import ModelFailure, fits_in_memory, named_failure
from ensemble.errors import InputError, LevelsetError


@runtime_checkable
class HasMembers(Protocol):
    """A target that can answer member by member."""

    def member_logits(self, inputs: Tensor) -> Tensor:
        """Return `[member batch classes]`."""
        ...


@dataclass(slots=True)
class Passes:
    """How many points went through a network: the cost figure of a report.

    Attributes:
        forwards: points passed forward.
        backwards: points passed backward.
    """

    forwards: int = 0
    backwards: int = 0

    def count(self, outputs: Tensor) -> Tensor:
        """Return the outputs `[batch ...]` after counting their forward pass, and later their backward pass."""
        self.forwards += len(outputs)
        if outputs.requires_grad:
            outputs.register_hook(self._count_backward)
        return outputs

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


class _Counted(nn.Module):
    """A served network with a count of the points that pass through it."""

    def __init__(self, network: nn.Module, serve: Callable[[Tensor], Tensor], passes: Passes) -> None:
        super().__init__()
        self.network = network
        self.serve = serve
        self.passes = passes
        self.training = False

    def forward(self, inputs: Tensor) -> Tensor:
        return self.passes.count(self.serve(inputs))


class NetworkModel(PyTorchModel):  # type: ignore[misc]
    """A classifier as foolbox sees it.

    Attributes:
        network: the untouched network.
        device: where its weights are.
        classes: the number of classes.
        coding: what happens to inputs before the network sees them.
        role: what it is called in error messages.
        passes: points passed so far.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        bounds: tuple[float, float],
        classes: int,
        coding: Coding = FLOAT32,
        role: str = "network",
    ) -> None:
        self.network = network
        self.classes = classes
        self.coding = coding
        self.role = role
        self.passes = Passes()
        # foolbox compares float32 values with Python floats: round the bounds the same way first.
        rounded = tuple(torch.tensor(bounds, dtype=torch.float32).tolist())
        super().__init__(_Counted(network, self.serve, self.passes), bounds=rounded, device=device_of(network))

    def serve(self, inputs: Tensor) -> Tensor:
        """Return the served logits `[batch classes]`, differentiable, uncounted: what a call counts and answers.

        Args:
            inputs: `[batch channel height width]` on the model's device.

        Raises:
            ModelFailure: the network raised an error, or lost a row.
        """
        with named_failure(self.role, tuple(inputs.shape)):
            logits: Tensor = self.network(self.coding(inputs))
        return self.shaped(logits, (len(inputs), self.classes))

    def shaped(self, logits: Tensor, expected: tuple[int, ...]) -> Tensor:
        """Return the logits themselves when they have a row for each input and a column for each class.

        Args:
            logits: what the network answered.
            expected: the last axes.

        Raises:
            ModelFailure: another shape; a row too few would silently be another point's answer.
        """
        if tuple(logits.shape[-len(expected) :]) != expected:
            raise ModelFailure(
                f"{self.role}: expected logits of the shape {list(expected)} for {expected[0]} inputs, got "
                f"{list(logits.shape)}; mend the network's forward: one row per input, whatever the batch"
            )
        return logits

    def restart(self) -> None:
        """Begin a run of an attack: nothing to do where the weights stay what they are."""

    @property
    def changes(self) -> bool:
        """Whether the weights change from one gradient to the next, so that losses of two steps do not compare."""
        return False

    def one_gradient(self) -> AbstractContextManager[None]:
        """Return a context in which all calls belong to one gradient step: nothing to do where the weights stay."""
        return nullcontext()

    def logits(self, inputs: Tensor) -> Tensor:
        """Return `[batch classes]` in float32 without a gradient, for inputs on any device; not counted.

        Args:
            inputs: `[batch channel height width]` float32.

        Returns:
            Finite logits, on the model's device.

        Raises:
            LevelsetError: an output is NaN or infinite.
            OutOfMemory: the batch does not fit; the message names a block size that does.
            ModelFailure: the network raised an error.
        """
        with torch.no_grad(), fits_in_memory(f"judging with {self.role}", len(inputs)):
            return finite(self.serve(inputs.to(self.device)).float(), self.role)

    def answers(self, inputs: Tensor) -> Tensor:
        """Return the served class of every input, `[batch]` int64 on the CPU: the first of the largest logits."""
        return self.logits(inputs).argmax(dim=1).cpu()

    def held(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return whether each input is answered right, `[batch]` bool on the CPU.

        Args:
            inputs: `[batch channel height width]` float32.
            labels: `[batch]` int64 on the CPU.
        """
        return self.answers(inputs) == labels

    def with_coding(self, coding: Coding) -> "NetworkModel":
        """Return the same network behind another coding of its inputs, with a count of its own."""
        return NetworkModel(self.network, bounds=self.bounds, classes=self.classes, coding=coding, role=self.role)


class EnsembleModel(NetworkModel):
    """An ensemble as served, which also answers member by member for member-aware attacks.

    Attributes:
        serving: how its members' answers become one.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        bounds: tuple[float, float],
        classes: int,
        mode: str | ServingMode = "prob",
        coding: Coding = FLOAT32,
        role: str = "network",
    ) -> None:
        self.serving = serving_mode(mode)
        super().__init__(network, bounds=bounds, classes=classes, coding=coding, role=role)

    @property
    def mode(self) -> str:
        """The name of the serving mode."""
        return self.serving.name

    def serve(self, inputs: Tensor) -> Tensor:
        """Return the scores of the serving mode `[batch classes]`; see `NetworkModel.serve`."""
        if self.serving.forward:
            return super().serve(inputs)
        return self.serving.scores(self._members(inputs))

    def _members(self, inputs: Tensor, members: slice | None = None) -> Tensor:
        """Return `[member batch classes]`, uncounted."""
        some = {} if members is None else {"members": members}
        with named_failure(self.role, tuple(inputs.shape)):
            logits: Tensor = self.network.member_logits(self.coding(inputs), **some)  # type: ignore[operator]
        return self.shaped(logits, (len(inputs), self.classes))

    def _judged(self, inputs: Tensor) -> Tensor:
        """Return finite `[member batch classes]` in float32 without a gradient; a vote would hide a NaN."""
        with torch.no_grad(), fits_in_memory(f"judging with {self.role}", len(inputs)):
            return finite(self._members(inputs.to(self.device)).float(), self.role)

    def logits(self, inputs: Tensor) -> Tensor:
        """Return `[batch classes]` in float32 without a gradient; see `NetworkModel.logits`.

        In the mode `random_member` this is the log of the probability of each answer.
        """
        if self.serving.forward:
            return super().logits(inputs)
        return self.serving.scores(self._judged(inputs))

    def held(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return whether each input is answered right, `[batch]` bool on the CPU.

        In the mode `random_member` a point is held when every member is right: then no draw can be wrong.

        Args:
            inputs: `[batch channel height width]` float32.
            labels: `[batch]` int64 on the CPU.
        """
        if self.serving.random:
            return (self.member_answers(inputs) == labels).all(0)
        return super().held(inputs, labels)

    def member_logits(self, inputs: Tensor, *, members: slice | None = None) -> Tensor:
        """Return the logits of every member, batch first; counted like any pass.

        Args:
            inputs: `[batch channel height width]` float32.
            members: only these, for networks that can run some members alone; None for all.

        Returns:
            `[batch member classes]`, with a gradient where the inputs require one.
        """
        return self.passes.count(self._members(inputs.to(self.device), members).transpose(0, 1))

    def member_answers(self, inputs: Tensor) -> Tensor:
        """Return the class each member answers, `[member batch]` int64 on the CPU; not counted."""
        return self._judged(inputs).argmax(dim=2).cpu()

    def with_mode(self, mode: str | ServingMode) -> "EnsembleModel":
        """Return the same ensemble served in another mode, with a count of its own."""
        return EnsembleModel(
            self.network, bounds=self.bounds, classes=self.classes, mode=mode, coding=self.coding, role=self.role
        )

    def with_coding(self, coding: Coding) -> "EnsembleModel":
        """Return the same ensemble behind another coding of its inputs, with a count of its own."""
        return EnsembleModel(
            self.network, bounds=self.bounds, classes=self.classes, mode=self.serving, coding=coding, role=self.role
        )


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the network's first parameter or buffer; the CPU for a network without any.

    Args:
        network: any module.

    Returns:
        The device its inputs must be on.

    Raises:
        InputError: its parameters lie on several devices.
    """
    devices = {tensor.device for tensor in (*network.parameters(), *network.buffers())}
    if len(devices) > 1:
        names = ", ".join(sorted(str(device) for device in devices))
        raise InputError(f"network: expected all weights on one device, got {names}; move it with network.to(device)")
    return devices.pop() if devices else torch.device("cpu")


def finite(logits: Tensor, role: str = "network") -> Tensor:
    """Return the logits themselves when all are finite.

    Args:
        logits: any shape.
        role: what the network is called in the error.

    Raises:
        LevelsetError: one is NaN or infinite.
    """
    if not torch.isfinite(logits).all():
        raise LevelsetError(
            f"judging with {role}: expected finite logits, got NaN or infinity inside the bounds; "
            "the network is numerically broken on admissible inputs, so no accuracy can be stated for it"
        )
    return logits
