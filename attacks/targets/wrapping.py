"""The gate: a network becomes a model only after it has kept the logits contract."""

from typing import Any

import torch
from torch import Tensor, nn

from attacks.modes import ServingMode, serving_mode
from attacks.targets.coding import FLOAT32, Coding
from attacks.targets.failures import fits_in_memory
from attacks.targets.models import EnsembleModel, HasMembers, NetworkModel, device_of
from ensemble.errors import InputError, LevelsetError


def wrap(
    network: nn.Module,
    *,
    bounds: tuple[float, float],
    example: Tensor,
    role: str = "network",
    mode: str | ServingMode = "prob",
    coding: Coding = FLOAT32,
) -> NetworkModel:
    """Return the network as a foolbox model, after checking that it keeps the logits contract.

    Args:
        network: a classifier `[batch channel height width] -> [batch classes]`, in eval mode.
        bounds: (low, high) of every input value.
        example: some inputs it must accept, `[batch channel height width]`.
        role: what the network is called in error messages.
        mode: how an ensemble is served; a single network answers the same in all of them.
        coding: what happens to inputs before the network sees them.

    Returns:
        An `EnsembleModel` when the network has `member_logits`, else a `NetworkModel`.

    Raises:
        InputError: not a module, in training mode, refuses the example, or answers something that is not logits; an
            ensemble also where its members do.
        OutOfMemory: the example does not fit in the memory of the device.
        UnknownName: no such serving mode.
    """
    chosen = serving_mode(mode)
    if not isinstance(network, nn.Module):
        raise InputError(f"{role}: expected a torch.nn.Module, got {type(network).__name__}; pass the network itself")
    training = [name or "the network itself" for name, module in network.named_modules() if module.training]
    if training:
        raise InputError(
            f"{role}: expected every module in eval mode, got {len(training)} in training mode (first: {training[0]}); "
            "call .eval() before the evaluation"
        )
    classes = _checked_output(_probe(network, example, role), role)
    if isinstance(network, HasMembers):
        _check_members(_probe(network, example, role, member_logits=True), [len(example), classes], role)
        return EnsembleModel(network, bounds=bounds, classes=classes, mode=chosen, coding=coding, role=role)
    return NetworkModel(network, bounds=bounds, classes=classes, coding=coding, role=role)


def with_mode(model: NetworkModel, mode: str | ServingMode) -> NetworkModel:
    """Return the same target served in another mode: the other modes are surrogates of a white-box attacker.

    Args:
        model: of `wrap`; it is left as it is.
        mode: a serving mode or its name.

    Returns:
        A new model of the same network with its own count of passes; a single network has no modes.

    Raises:
        InputError: the target has no members.
        UnknownName: no such serving mode.
    """
    if not isinstance(model, EnsembleModel):
        raise InputError(
            f"{model.role}: expected an ensemble to serve in another mode, got a single network; "
            "a single network answers the same in every mode"
        )
    return model.with_mode(mode)


def _probe(network: nn.Module, example: Tensor, role: str, *, member_logits: bool = False) -> Any:
    ask: Any = network.member_logits if member_logits else network
    try:
        with torch.no_grad(), fits_in_memory(f"asking {role} once", len(example)):
            return ask(example.to(device_of(network)))
    except LevelsetError:
        raise
    except Exception as error:
        raise InputError(
            f"{role}: expected a network that accepts inputs of the shape {list(example.shape[1:])}, got "
            f"{type(error).__name__}: {error}; check channels, height and width, and that the weights are float32"
        ) from error


def check_gradient(model: NetworkModel, example: Tensor) -> None:
    """Return nothing when a gradient of the model's answer reaches its inputs: white-box attacks need one.

    Args:
        model: of `wrap`; nothing is counted.
        example: `[batch channel height width]`, inputs it accepts.

    Raises:
        InputError: the answer has no gradient, or its backward pass fails.
        OutOfMemory: the example does not fit in the memory of the device.
    """
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            fits_in_memory(f"a backward pass of {model.role}", len(example)),
        ):
            x = example.to(model.device).detach().clone().requires_grad_()
            torch.autograd.grad(model.serve(x).sum(), x)
    except RuntimeError as error:
        raise InputError(
            f"{model.role}: expected logits that can be differentiated by the inputs, got {type(error).__name__}: "
            f"{error}; remove no_grad, detach and numpy from its forward (a step without a gradient may pass it "
            "straight through)"
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


def _check_members(answers: Any, shape: list[int], role: str) -> None:
    if not isinstance(answers, Tensor) or answers.ndim != 3 or list(answers.shape[1:]) != shape or not len(answers):
        got = list(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
        raise InputError(
            f"{role}: expected member_logits(x) of the shape {['member', *shape]}, got {got}; "
            "stack the members' logits along the first axis"
        )
    for number, answer in enumerate(answers):
        _checked_output(answer, f"{role}, member {number}")


def looks_like_probabilities(output: Tensor) -> bool:
    """Return whether every row lies in [0, 1] and sums to 1 within 1e-4.

    Args:
        output: `[batch classes]`.

    Returns:
        True for the output of a softmax, which an attack's loss must never receive.
    """
    inside = bool((output >= 0).all() and (output <= 1).all())
    return inside and bool((output.double().sum(dim=1) - 1).abs().max() <= 1e-4)
