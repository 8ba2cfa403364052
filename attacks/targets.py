"""The only place that wraps a network or an ensemble for foolbox.

A wrapped model answers logits (or log-probabilities) in eval mode, where its weights already are, and counts its
passes. The network itself is neither changed nor moved.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from foolbox import PyTorchModel
from torch import Tensor, nn

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


class _Counted(nn.Module):
    """The network itself, with a count of the points that pass through it."""

    def __init__(self, network: nn.Module, passes: Passes) -> None:
        super().__init__()
        self.network = network
        self.passes = passes
        self.training = False

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        self.passes.forwards += len(inputs)
        if logits.requires_grad:
            logits.register_hook(self._count_backward)
        return logits

    def _count_backward(self, gradient: Tensor) -> None:
        self.passes.backwards += len(gradient)


class NetworkModel(PyTorchModel):  # type: ignore[misc]
    """A classifier as foolbox sees it.

    Attributes:
        network: the untouched network.
        device: where its weights are.
        classes: the number of classes.
        passes: points passed so far.
    """

    def __init__(self, network: nn.Module, *, bounds: tuple[float, float], classes: int) -> None:
        self.network = network
        self.classes = classes
        self.passes = Passes()
        # foolbox compares float32 values with Python floats: round the bounds the same way first.
        rounded = tuple(torch.tensor(bounds, dtype=torch.float32).tolist())
        super().__init__(_Counted(network, self.passes), bounds=rounded, device=device_of(network))

    def logits(self, inputs: Tensor) -> Tensor:
        """Return `[batch classes]` in float32 without a gradient, for inputs on any device.

        Args:
            inputs: `[batch channel height width]` float32.

        Returns:
            Finite logits, on the model's device.

        Raises:
            LevelsetError: an output is NaN or infinite.
        """
        with torch.no_grad():
            return _finite(self.network(inputs.to(self.device)).float())

    def answers(self, inputs: Tensor) -> Tensor:
        """Return the served class of every input, `[batch]` int64 on the CPU: the first of the largest logits."""
        return self.logits(inputs).argmax(dim=1).cpu()


class EnsembleModel(NetworkModel):
    """An ensemble as served, which also answers member by member for member-aware attacks."""

    def member_logits(self, inputs: Tensor) -> Tensor:
        """Return the logits of every member, batch first.

        Args:
            inputs: `[batch channel height width]` float32.

        Returns:
            `[batch member classes]`, with a gradient where the inputs require one.
        """
        logits: Tensor = self.network.member_logits(inputs.to(self.device))  # type: ignore[operator]
        return logits.transpose(0, 1)

    def member_answers(self, inputs: Tensor) -> Tensor:
        """Return the class each member answers, `[member batch]` int64 on the CPU."""
        with torch.no_grad():
            return _finite(self.member_logits(inputs)).argmax(dim=2).T.cpu()


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


def wrap(network: nn.Module, *, bounds: tuple[float, float], example: Tensor, role: str = "network") -> NetworkModel:
    """Return the network as a foolbox model, after checking that it keeps the logits contract.

    Args:
        network: a classifier `[batch channel height width] -> [batch classes]`, in eval mode.
        bounds: (low, high) of every input value.
        example: some inputs it must accept, `[batch channel height width]`.
        role: what the network is called in error messages.

    Returns:
        An `EnsembleModel` when the network has `member_logits`, else a `NetworkModel`.

    Raises:
        InputError: not a module, in training mode, refuses the example, or answers something that is not logits.
    """
    if not isinstance(network, nn.Module):
        raise InputError(f"{role}: expected a torch.nn.Module, got {type(network).__name__}; pass the network itself")
    training = [name or "the network itself" for name, module in network.named_modules() if module.training]
    if training:
        raise InputError(
            f"{role}: expected every module in eval mode, got {len(training)} in training mode (first: {training[0]}); "
            "call .eval() before the evaluation"
        )
    classes = _checked_output(_probe(network, example, role), role)
    kind = EnsembleModel if isinstance(network, HasMembers) else NetworkModel
    return kind(network, bounds=bounds, classes=classes)


def _probe(network: nn.Module, example: Tensor, role: str) -> Any:
    try:
        with torch.no_grad():
            return network(example.to(device_of(network)))
    except LevelsetError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError(
            f"{role}: expected a network that accepts inputs of the shape {list(example.shape[1:])}, got "
            f"{type(error).__name__}: {error}; check channels, height and width against the network"
        ) from error


def _checked_output(output: Any, role: str) -> int:
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2 or not output.is_floating_point():
        got = f"{output.dtype} {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{role}: expected logits, floating point [batch classes] with at least two classes, got {got}; "
            "wrap the network so that it returns its logits only"
        )
    if not torch.isfinite(output).all():
        raise InputError(
            f"{role}: expected finite logits, got NaN or infinity; check the weights and the normalisation"
        )
    if looks_like_probabilities(output):
        raise InputError(
            f"{role}: expected logits (values before the softmax), got values in [0, 1] that sum to 1; "
            "remove the final softmax, or return its logarithm"
        )
    return int(output.shape[1])


def looks_like_probabilities(output: Tensor) -> bool:
    """Return whether every row lies in [0, 1] and sums to 1 within 1e-4.

    Args:
        output: `[batch classes]`.

    Returns:
        True for the output of a softmax, which an attack's loss must never receive.
    """
    inside = bool((output >= 0).all() and (output <= 1).all())
    return inside and bool((output.double().sum(dim=1) - 1).abs().max() <= 1e-4)


def _finite(logits: Tensor) -> Tensor:
    if not torch.isfinite(logits).all():
        raise LevelsetError(
            "judging an example: expected finite logits, got NaN or infinity inside the bounds; "
            "the network is numerically broken on admissible inputs, so no accuracy can be stated for it"
        )
    return logits
