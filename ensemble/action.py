r"""How a group element acts on a site: exactly, or through data.

`exact_action` changes no output for any input. The data-dependent forms return the output action `pi` with
`pi sigma(g z) = sigma(z)` on the data they are given; the upper weight becomes `U pi` (docs/mathematics.md, 2 to 4).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ensemble.activations import Activation
from ensemble.errors import CalibrationError, InputError
from ensemble.groups import GroupElement
from ensemble.layers import FoldedLayer

Elementwise = Callable[[Tensor], Tensor]


def exact_action(
    lower: FoldedLayer, upper: FoldedLayer, element: GroupElement, activation: Activation
) -> tuple[FoldedLayer, FoldedLayer]:
    """Return the two layers after an exact symmetry: V' = g V, b' = g b, U' = U pi(g)^-1.

    Args:
        lower: the layer below the activation, hidden units on axis 0.
        upper: the layer above it.
        element: an element of the activation's exact group on those hidden units.
        activation: the table row.

    Raises:
        InputError: the element's group is not the row's exact group, or its size is not the number of hidden units.
    """
    hidden = lower.weight.shape[0]
    if element.hidden != hidden:
        raise InputError(f"group element: expected {hidden} hidden units, got {element.hidden}")
    member, reason = activation.group.explain(element.matrix)
    if not member:
        raise InputError(f"{activation.name}: expected an element of {activation.group.name}: {reason}")
    inverse = torch.linalg.inv(activation.output_action(element))
    return lower.mix_output(element.matrix), upper.mix_input(inverse)


def reflect(s: Tensor, x: Tensor) -> Tensor:
    r"""Return R_s x, with R_s e1 = s, in O(hidden) per column and without forming R_s.

    .. math:: t = \mathrm{sign}(s_1), \quad q = s/\lVert s\rVert + t e_1, \quad
              R_s = -t \lVert s\rVert (1 - 2 q q^T / q^T q)

    Source: derived; the Householder form replaces the official code's spherical coordinates, which lose a sign and are
    undefined at e1 (docs/mathematics.md, 3 and 16).

    Args:
        s: `[hidden]`, not zero.
        x: `[hidden]` or `[hidden columns]`.

    Raises:
        InputError: s is zero: no invertible matrix sends e1 to it.
    """
    norm, t, q = _householder(s)
    return -t * norm * _mirror(q, x)


def unreflect(s: Tensor, x: Tensor) -> Tensor:
    """Return R_s^-1 x = R_sᵀ x / |s|²; arguments and errors as in `reflect`."""
    norm, t, q = _householder(s)
    return -t / norm * _mirror(q, x)


def sample_action(g: Tensor, z: Tensor, sigma: Elementwise) -> Tensor:
    """Return pi(g, z) = R_sigma(z) R_sigma(gz)^-1 `[hidden hidden]`: exact on one sample, a true group action.

    `pi(e, z) = 1` and the cocycle `pi(g1 g2, z) = pi(g2, z) pi(g1, g2 z)` hold identically.

    Args:
        g: `[hidden hidden]`.
        z: pre-activation of the sample `[hidden]`.
        sigma: the activation function.

    Raises:
        InputError: sigma(z) or sigma(g z) is zero.
    """
    eye = torch.eye(z.shape[0], dtype=z.dtype, device=z.device)
    return reflect(sigma(z), unreflect(sigma(g @ z), eye))


def completed_basis_action(g: Tensor, Z: Tensor, sigma: Elementwise) -> Tensor:
    """Return pi(g, Z) = R_S R_A^-1 `[hidden hidden]` for a batch: one sample's action, generalised.

    R_A completes A = sigma(g Z) to a basis through its full QR factorisation. Identity and cocycle hold; pi is
    invertible.

    Args:
        g: `[hidden hidden]`.
        Z: pre-activations, one sample per column `[hidden samples]`, samples <= hidden.
        sigma: the activation function.

    Raises:
        CalibrationError: more samples than hidden units, or linearly dependent activations.
    """
    inverse: Tensor = torch.linalg.inv(_completed_basis(sigma(g @ Z)))
    return _completed_basis(sigma(Z)) @ inverse


def minimum_norm_action(g: Tensor, Z: Tensor, sigma: Elementwise) -> Tensor:
    """Return pi = sigma(Z) sigma(g Z)^+ `[hidden hidden]`, the official code's choice.

    For fewer samples than hidden units it is exact on the batch but no invertible matrix, and pi(e, Z) is a projector.

    Args:
        g: `[hidden hidden]`.
        Z: pre-activations, one sample per column `[hidden samples]`.
        sigma: the activation function.
    """
    pseudo_inverse: Tensor = torch.linalg.pinv(sigma(g @ Z))
    return sigma(Z) @ pseudo_inverse


def _householder(s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    norm = torch.linalg.vector_norm(s)
    if s.ndim != 1 or not bool(norm > 0):
        raise InputError(f"expected a non-zero vector [hidden], got shape {tuple(s.shape)} and norm {float(norm):g}")
    t = torch.where(s[0] < 0, -torch.ones_like(norm), torch.ones_like(norm))
    q = s / norm
    q = torch.cat([q[:1] + t, q[1:]])
    return norm, t, q


def _mirror(q: Tensor, x: Tensor) -> Tensor:
    projection = (q @ x) * (2 / (q @ q))
    return x - (torch.outer(q, projection) if x.ndim == 2 else q * projection)


def _completed_basis(A: Tensor) -> Tensor:
    hidden, samples = A.shape
    if samples > hidden:
        raise CalibrationError(
            f"expected at most {hidden} samples (one per hidden unit), got {samples}; fit by least squares"
        )
    rank = int(torch.linalg.matrix_rank(A))
    if rank < samples:
        raise CalibrationError(f"expected independent activations, got rank {rank} of {samples} samples; drop some")
    frame, upper = torch.linalg.qr(A, mode="complete")
    fill = float(torch.linalg.matrix_norm(A)) / samples**0.5
    completed = fill * torch.eye(hidden, dtype=A.dtype, device=A.device)
    completed[:samples, :samples] = upper[:samples]
    basis: Tensor = frame @ completed
    return basis
