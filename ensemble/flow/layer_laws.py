"""The laws of single layers: weights under a BatchNorm, attention heads, and a first layer without a degree."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.flow.conserved import attention_quantities
from ensemble.flow.law import ANY_DATA, ORTHONORMAL_INPUTS, Parameters
from ensemble.flow.scaling import Term


@dataclass(frozen=True, slots=True)
class NormLaw:
    """Half the squared norm of every unit's weights, where a BatchNorm makes their length irrelevant.

    Attributes:
        name: the layer and what normalises it.
        parameter: the weight, units first.
        condition: what it depends on.
    """

    name: str
    parameter: str
    condition: str
    quadratic: bool = True

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the weight's name."""
        return (self.parameter,)

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return 1/2 |w_i|^2 `[units]`."""
        return parameters[self.parameter].flatten(1).square().sum(1) / 2

    def size(self, parameters: Parameters) -> Tensor:
        """Return the same: nothing is subtracted."""
        return self.quantity(parameters)


@dataclass(frozen=True, slots=True)
class AttentionLaw:
    """Two symmetric matrices per head of an attention layer: queries against keys, output against values.

    Attributes:
        name: the layer.
        module: its prefix in the state dictionary, with the dot.
        heads: number of heads.
        parameters: names of its parameters: one packed input weight or three, then the output weight, then the bias.
        condition: what it depends on.
    """

    name: str
    module: str
    heads: int
    parameters: tuple[str, ...]
    condition: str = ANY_DATA
    quadratic: bool = True

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return `[2 heads size size]`."""
        return torch.stack(attention_quantities(*self._projections(parameters), self.heads))

    def size(self, parameters: Parameters) -> Tensor:
        """Return the mean squared norm over 2 of a head's four projections `[]`."""
        return torch.stack([part.square().sum() for part in self._projections(parameters)]).mean() / (2 * self.heads)

    def _projections(self, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        *inputs, output = (parameters[name] for name in self.parameters if not name.endswith("in_proj_bias"))
        parts = list(inputs[0].chunk(3)) if len(inputs) == 1 else inputs
        bias = f"{self.module}in_proj_bias"
        if bias in self.parameters:
            parts = [
                torch.cat([part, column[:, None]], dim=1)
                for part, column in zip(parts, parameters[bias].chunk(3), strict=True)
            ]
        return parts[0], parts[1], parts[2], output


@dataclass(frozen=True, slots=True, eq=False)
class ElementwiseLaw:
    """One quantity per hidden unit of a first layer without a degree (tanh, sigmoid), for orthonormal inputs only.

    Attributes:
        name: the site's name.
        lower: name of the lower weight.
        bias: name of the lower bias, which must not be trained, or None.
        upper: the upper weight.
        hidden: number of units.
        integral: antiderivative of sigma/sigma'.
        inputs: the training inputs `[batch inp]`.
        condition: what it depends on.
    """

    name: str
    lower: str
    bias: str | None
    upper: Term
    hidden: int
    integral: Callable[[Tensor], Tensor]
    inputs: Tensor
    condition: str = ORTHONORMAL_INPUTS
    quadratic: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the two weights."""
        return (self.lower, self.upper.parameter)

    def quantity(self, parameters: Parameters) -> Tensor:
        """Return Q of every hidden unit `[hidden]`."""
        return self._upper(parameters) - self._lower(parameters).sum(1)

    def size(self, parameters: Parameters) -> Tensor:
        """Return the sum in place of the difference `[hidden]`."""
        return self._upper(parameters) + self._lower(parameters).abs().sum(1)

    def _upper(self, parameters: Parameters) -> Tensor:
        return self.upper.rows(parameters[self.upper.parameter], self.hidden).square().sum(1) / 2

    def _lower(self, parameters: Parameters) -> Tensor:
        z = parameters[self.lower] @ self.inputs.T.to(parameters[self.lower])
        return self.integral(z if self.bias is None else z + parameters[self.bias][:, None])
