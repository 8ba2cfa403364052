"""Several members attacked at once, each on its own examples: one model whose rows belong to members in turn."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attacks.targets import EnsembleModel, NetworkModel
from ensemble.errors import InputError
from ensemble.execution.program import chosen, logits_of
from ensemble.members import SymmetryEnsemble


class OwnInputs(nn.Module):
    """Members that each see their own rows: `[member*batch ...] -> [member*batch classes]`.

    One member runs alone, in channels-last memory order where inputs are images. Several run under one `vmap`: layers
    that they share see one batch of all rows, layers that differ become grouped kernels.

    Args:
        ensemble: whose members are run; it is read, never changed.
        members: their indices, consecutive and ascending.
    """

    def __init__(self, ensemble: SymmetryEnsemble, members: range) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.members = members
        self.train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of every row by the member it belongs to.

        Args:
            inputs: `[member*batch ...]`, the rows of the first member first.

        Raises:
            InputError: the rows cannot be dealt out evenly; the attack dropped some of them.
        """
        count = len(self.members)
        if len(inputs) % count:
            raise InputError(
                f"stacked members: expected the same number of rows for each of {count} members, got {len(inputs)} "
                "rows; use an attack that takes every point through all steps"
            )
        here = slice(self.members.start, self.members.stop)
        if count == 1:
            return _alone(self.ensemble, inputs, self.members.start)
        return _vectorised(self.ensemble, inputs.unflatten(0, (count, -1)), here).flatten(0, 1)


def _alone(ensemble: SymmetryEnsemble, inputs: Tensor, member: int) -> Tensor:
    program = ensemble.program
    own = [
        (_ordered(weight[member]), None if bias is None else bias[member])
        for weight, bias in chosen(program.layers, slice(None))
    ]
    traced = program.traced
    values = traced.run([traced.output], {traced.input: _ordered(inputs)}, program.override(own))
    return logits_of(values, traced.output)


def _ordered(values: Tensor) -> Tensor:
    """Return images, and filters of images, in the memory order that convolutions run through fastest."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def _vectorised(ensemble: SymmetryEnsemble, inputs: Tensor, members: slice) -> Tensor:
    program = ensemble.program
    stacked = chosen(program.layers, members)
    biases = [bias for _, bias in stacked if bias is not None]
    output = program.traced.output

    def one(weights: Sequence[Tensor], present: Sequence[Tensor], x: Tensor) -> Tensor:
        rest = iter(present)
        own = [
            (weight, None if bias is None else next(rest)) for weight, (_, bias) in zip(weights, stacked, strict=True)
        ]
        return logits_of(program.traced.run([output], {program.traced.input: x}, program.override(own)), output)

    result: Tensor = torch.func.vmap(one)([weight for weight, _ in stacked], biases, inputs)
    return result


def stacked_members(model: EnsembleModel, members: range) -> NetworkModel:
    """Return a foolbox model of some members, each on rows of its own.

    Args:
        model: the ensemble; its network must be a `SymmetryEnsemble`.
        members: consecutive indices.

    Returns:
        A model for inputs `[member*batch ...]`, with the ensemble's bounds and device and a count of its own.
    """
    network = model.network
    if not isinstance(network, SymmetryEnsemble):
        raise InputError(
            f"transfer between members: expected a SymmetryEnsemble, got {type(network).__name__}; "
            "evaluate an ensemble that was generated or loaded"
        )
    own = OwnInputs(network, members)
    return NetworkModel(own, bounds=tuple(model.bounds), classes=model.classes, coding=model.coding, role="members")
