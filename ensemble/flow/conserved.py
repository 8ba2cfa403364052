r"""What gradient flow keeps constant on a two-layer network `U sigma(V x + b)`: one normalisation for all activations.

Upper minus lower, factor 1/2 always. A symmetric generator M acts by `M.(U, V, b) = (alpha U M, -M V, -M b)` for an
activation of degree alpha, and conserves `Q_M = 1/2 Tr M (alpha U^T U - V V^T - b b^T)` for every input and every loss.
An elementwise activation without a degree conserves per hidden unit

.. math:: Q_i = \tfrac12 \lVert u_i \rVert^2 - \sum_j \int_0^{Z_{ij}} \frac{\sigma(x)}{\sigma'(x)} dx,

with Z = V for inputs X = 1 and Z = V X for inputs with X^T X = 1; whitened inputs (X X^T = 1) are not enough. Source:
Zhao et al. (2023), arXiv:2210.17216; docs/mathematics.md, section 12. Differs: the official code leaves out the factor
1/2 for all activations but the sigmoid.
"""

import torch
from torch import Tensor

from ensemble.activations import Activation
from ensemble.errors import InputError
from ensemble.flow.generators import separates_units, symmetric_projection
from ensemble.groups import Orthogonal, Product, UniformScaling


def conserved_quantity(
    U: Tensor, V: Tensor, activation: Activation, *, bias: Tensor | None = None, inputs: Tensor | None = None
) -> Tensor:
    r"""Return the total Q: for linear, `1/2 |U|^2 - 1/2 |V|^2`; the sum over hidden units.

    Args:
        U: upper weights `[... out hidden]`; leading axes are runs.
        V: lower weights `[... hidden inp]`, same dtype and device.
        activation: table row with a degree (any inputs) or an antiderivative (orthonormal inputs).
        bias: lower bias `[... hidden]`; only with a degree.
        inputs: X^T `[batch inp]`, orthonormal rows, where they are not the unit vectors; only without a degree.

    Returns:
        Q `[...]` in squared weight units; without a degree only differences matter, since the lower limit is free.

    Raises:
        InputError: shapes that do not fit, or an activation that conserves nothing of this kind.

    Examples:
        >>> from ensemble.activations import IDENTITY
        >>> conserved_quantity(torch.eye(2), 3 * torch.eye(2), IDENTITY).item()  # (2 - 18) / 2
        -8.0
    """
    return _per_unit(U, V, activation, bias, inputs).sum(-1)


def unit_quantities(
    U: Tensor, V: Tensor, activation: Activation, *, bias: Tensor | None = None, inputs: Tensor | None = None
) -> Tensor:
    """Return Q of every hidden unit `[... hidden]`; arguments as in `conserved_quantity`.

    Raises:
        InputError: as there, and where units have no law of their own (radial activations: only the total is kept).
    """
    if activation.degree is not None and not separates_units(activation.group):
        raise InputError(
            f"{activation.name}: expected an activation that acts on every unit alone, got the group "
            f"{activation.group.name}; use conserved_quantity, the total"
        )
    return _per_unit(U, V, activation, bias, inputs)


def conserved_matrix(U: Tensor, V: Tensor, activation: Activation, *, bias: Tensor | None = None) -> Tensor:
    """Return J `[... hidden hidden]` with Q_M = <M, J> for every symmetric generator M of the activation's group.

    All of `1/2 (U^T U - V V^T - b b^T)` for linear, its diagonal for elementwise activations, its mean for radial
    ones with a degree. The trace is `conserved_quantity`.

    Raises:
        InputError: as for `conserved_quantity`.
    """
    alpha = activation.degree
    if alpha is None:
        return torch.diag_embed(_per_unit(U, V, activation, bias, None))
    _check(U, V, bias)
    lower = V @ V.mT if bias is None else V @ V.mT + bias[..., :, None] * bias[..., None, :]
    return symmetric_projection(activation.group, (alpha * U.mT @ U - lower) / 2)


def conserved_gradient(
    U: Tensor, V: Tensor, activation: Activation, *, bias: Tensor | None = None, inputs: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return the gradient of the total Q by U, V and, where there is one, the bias; shapes as theirs."""
    with torch.enable_grad():
        free = [value.detach().requires_grad_() for value in (U, V, bias) if value is not None]
        total = conserved_quantity(
            free[0], free[1], activation, bias=free[2] if bias is not None else None, inputs=inputs
        )
        return torch.autograd.grad(total.sum(), free)


def attention_quantities(
    queries: Tensor, keys: Tensor, values: Tensor, output: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    """Return what every head conserves: 1/2 (W_Q W_Q^T - W_K W_K^T) and 1/2 (W_O^T W_O - W_V W_V^T).

    Args:
        queries: W_Q `[heads*size inp]`, with the bias as a further column where there is one; `keys`, `values` alike.
        keys: W_K.
        values: W_V.
        output: W_O `[out heads*size]`.
        heads: number of heads.

    Returns:
        Two tensors `[heads size size]`.
    """
    q, k, v = (weight.unflatten(0, (heads, -1)) for weight in (queries, keys, values))
    o = output.unflatten(1, (heads, -1)).movedim(1, 0)
    return (q @ q.mT - k @ k.mT) / 2, (o.mT @ o - v @ v.mT) / 2


def softmax_quantities(weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return what a softmax keeps of the last layer: its weights `[out inp]` and biases `[out]` summed over classes.

    Conserved under every loss of the softmax's probabilities, because they do not change when a vector is added to all
    rows. Returns `[inp]`, or `[inp + 1]` with a bias.
    """
    rows = weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)
    return rows.sum(0)


def radial_power(degree: float) -> Activation:
    """Return the row of v -> |v|^(degree - 1) v along the hidden axis (the last one): rotations and one common factor.

    Degree -1 is v/|v|^2 of the paper's radial network.
    """
    return Activation(
        name=f"radial power {degree:g}",
        function=lambda z: z * torch.linalg.vector_norm(z, dim=-1, keepdim=True) ** (degree - 1),
        group=Product(Orthogonal(), UniformScaling()),
        degree=degree,
    )


def _per_unit(U: Tensor, V: Tensor, activation: Activation, bias: Tensor | None, inputs: Tensor | None) -> Tensor:
    _check(U, V, bias)
    upper = U.square().sum(-2) / 2
    if activation.degree is not None:
        lower = V.square().sum(-1) if bias is None else V.square().sum(-1) + bias.square()
        return activation.degree * upper - lower / 2
    if activation.antiderivative is None:
        raise InputError(
            f"{activation.name}: expected a degree or an antiderivative of sigma/sigma', got neither: its group "
            f"({activation.group.name}) has no symmetric generator; rotations leave angular_momentum only"
        )
    if bias is not None:
        raise InputError(f"{activation.name}: expected no trainable bias, got one of {tuple(bias.shape)}; freeze it")
    return upper - activation.antiderivative(V if inputs is None else V @ inputs.mT).sum(-1)


def _check(U: Tensor, V: Tensor, bias: Tensor | None) -> None:
    if U.ndim < 2 or V.ndim < 2 or U.shape[-1] != V.shape[-2]:
        raise InputError(
            f"expected U [... out hidden] and V [... hidden inp], got {tuple(U.shape)} and {tuple(V.shape)}; "
            "use a network's laws for convolutions"
        )
    if bias is not None and bias.shape[-1:] != U.shape[-1:]:
        raise InputError(f"bias: expected [... {U.shape[-1]}], got {tuple(bias.shape)}")
