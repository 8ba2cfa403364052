r"""The action on several layers at once, computed from one forward pass of the base.

.. math:: W_i \to g_i W_i \pi_{i-1}, \qquad b_i \to g_i b_i, \qquad g_L = 1, \; \pi_0 = 1

with pi_i from the base's own pre-activations of layer i: what happens upstream does not change a pre-activation on the
batch, because every pi_i restores sigma(Z_i) exactly there (docs/mathematics.md, sections 2 and 6). With least squares
instead of an exact pi this is false, and members are built site by site.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.action import Elementwise, completed_basis_action
from ensemble.errors import InputError

OutputAction = Callable[[Tensor, Tensor, Elementwise], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A multilayer perceptron as numbers: affine maps with one activation between any two.

    Attributes:
        weights: per layer `[out inp]`.
        biases: per layer `[out]`.
        sigma: the activation between layers.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    sigma: Elementwise

    def __call__(self, X: Tensor) -> Tensor:
        """Return the outputs `[out samples]` for inputs `[inp samples]`, one sample per column."""
        return self.preactivations(X)[-1]

    def preactivations(self, X: Tensor) -> list[Tensor]:
        """Return Z_1 ... Z_L, one sample per column; the last is the output."""
        found: list[Tensor] = []
        value = X
        for weight, bias in zip(self.weights, self.biases, strict=True):
            found.append(weight @ value + bias.unsqueeze(1))
            value = self.sigma(found[-1])
        return found


def act_on_chain(
    chain: Chain, elements: Sequence[Tensor], X: Tensor, action: OutputAction = completed_basis_action
) -> Chain:
    """Return the chain after the elements have acted on all hidden layers: the same outputs on the batch X.

    Args:
        chain: the base.
        elements: g_1 ... g_{L-1}, one per hidden layer `[hidden hidden]`.
        X: the batch `[inp samples]`, at most as many samples as the narrowest hidden layer has units.
        action: which data-dependent output action; the default is a true group action.

    Raises:
        InputError: another number of elements than hidden layers.
        CalibrationError: more samples than hidden units somewhere, or linearly dependent activations.
    """
    hidden = len(chain.weights) - 1
    if len(elements) != hidden:
        raise InputError(f"expected {hidden} group elements (one per hidden layer), got {len(elements)}")
    pre = chain.preactivations(X)
    weights, biases = list(chain.weights), list(chain.biases)
    for index, g in enumerate(elements):
        weights[index] = g @ weights[index]
        biases[index] = g @ biases[index]
        weights[index + 1] = weights[index + 1] @ action(g, pre[index], chain.sigma)
    return Chain(tuple(weights), tuple(biases), chain.sigma)


def exact_chain(chain: Chain, elements: Sequence[Tensor], output_actions: Sequence[Tensor]) -> Chain:
    """Return the chain after exact symmetries: W_i -> g_i W_i pi(g_{i-1})^-1, for every input.

    Args:
        chain: the base.
        elements: g_1 ... g_{L-1}.
        output_actions: the factors pi(g_i) of sigma(g_i z) = pi(g_i) sigma(z); see `Activation.output_action`.
    """
    weights, biases = list(chain.weights), list(chain.biases)
    for index, (g, pi) in enumerate(zip(elements, output_actions, strict=True)):
        weights[index] = g @ weights[index]
        biases[index] = g @ biases[index]
        weights[index + 1] = weights[index + 1] @ torch.linalg.inv(pi)
    return Chain(tuple(weights), tuple(biases), chain.sigma)
