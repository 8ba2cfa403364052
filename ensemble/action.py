r"""How a group element acts on a site: exactly, or through data.

`exact_action` changes no output for any input. The data-dependent forms return the output action `pi` with
`pi sigma(g z) = sigma(z)` on the data they are given; the upper weight becomes `U pi` (docs/mathematics.md, 2 to 4).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ensemble.activations import Activation
from ensemble.errors import CalibrationError, InputError
from ensemble.groups import Group, GroupElement, entrywise_power, inverse
from ensemble.layers import FoldedLayer, LayerRef
from ensemble.sites.site import CoupledSite, Role, Site

Elementwise = Callable[[Tensor], Tensor]


def exact_action(
    lower: FoldedLayer, upper: FoldedLayer, element: GroupElement, activation: Activation
) -> tuple[FoldedLayer, FoldedLayer]:
    """Return the two layers after an exact symmetry: V' = g V, b' = g b, U' = U pi(g)^-1.

    For two layers with nothing but the activation between them; `exact_layers` acts on any site of a network.

    Args:
        lower: the layer below the activation, hidden units on axis 0.
        upper: the layer above it.
        element: an element of the activation's exact group on those hidden units.
        activation: the table row.

    Raises:
        InputError: the element's group is not the row's exact group, or its size is not the number of hidden units.
    """
    _check_element(element, lower.weight.shape[0], activation.group, activation.name)
    pi = activation.output_action(element)
    return lower.mix_output(element.matrix), upper.mix_input(inverse(pi))


def exact_layers(
    site: Site | CoupledSite, layers: Mapping[LayerRef, FoldedLayer], element: GroupElement
) -> dict[LayerRef, FoldedLayer]:
    """Return every layer that an exact symmetry of a site changes: writers, readers and what rides between them.

    A writer becomes g W, a reader U g^-1, a depthwise rider is relabelled; behind an activation of degree alpha the
    entries of g are raised to alpha, in a gate to 0 (docs/mathematics.md, section 2).

    Args:
        site: a site or a set of coupled layers of one network.
        layers: at least the site's layers as they stand, BatchNorm folded in.
        element: a member of `site.exact_group` on `site.hidden` units.

    Raises:
        InputError: the element is not a member of the site's exact group, or of another size.
    """
    _check_element(element, site.hidden, site.exact_group, site.name)
    changed: dict[LayerRef, FoldedLayer] = {}
    for part in site.parts:
        layer = changed.get(part.ref, layers[part.ref])
        pi = entrywise_power(element.matrix, part.degree)
        if part.role is Role.WRITER:
            changed[part.ref] = layer.mix_output(pi)
        elif part.role is Role.READER:
            changed[part.ref] = layer.mix_input(inverse(pi))
        else:
            changed[part.ref] = layer.relabel(pi)
    return changed


def _check_element(element: GroupElement, hidden: int, group: Group, where: str) -> None:
    if element.hidden != hidden:
        raise InputError(f"group element: expected {hidden} hidden units, got {element.hidden}")
    if element.group == group:
        return  # checked when it was built
    member, reason = group.explain(element.matrix)
    if not member:
        raise InputError(f"{where}: expected an element of {group.name}: {reason}")


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
    return _completed_basis(sigma(Z)) @ inverse(_completed_basis(sigma(g @ Z)))


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


def prior_shifted(prior: Tensor, A: Tensor, S: Tensor) -> Tensor:
    """Return prior + (S - prior A) A^+, the solution of `pi A = S` nearest to a prior; exact for full column rank.

    With prior = U and S = the wanted outputs it is the full refit of an upper weight from few samples; with
    prior = g^-1 the output action that keeps an exact symmetry where there is one. It is invertible in general, but it
    satisfies no cocycle (docs/mathematics.md, section 4).

    Args:
        prior: `[out hidden]`.
        A: sigma(g Z), one sample per column `[hidden samples]`, samples <= hidden.
        S: what A must be sent to `[out samples]`.

    Raises:
        CalibrationError: more samples than hidden units, or linearly dependent activations.
    """
    _check_rank(A)
    frame, upper = torch.linalg.qr(A)
    missing: Tensor = torch.linalg.solve_triangular(upper, S - prior @ A, upper=True, left=False)
    shifted: Tensor = prior + missing @ frame.T
    return shifted


def infinitesimal_action(T: Tensor, Z: Tensor, sigma: Elementwise) -> Tensor:
    r"""Return Delta `[hidden hidden]`: the output action of g = exp(tau T) is pi = 1 - tau Delta + O(tau^2).

    .. math:: \Delta = [\sigma'(Z) \odot TZ] \, \sigma(Z)^+

    for the prior 1 and samples <= hidden (docs/mathematics.md, section 4). For an exact generator and as many samples
    as hidden units, U (sigma'(z) . Tz - Delta sigma(z)) vanishes for every z, on the batch and off it.

    Args:
        T: algebra element `[hidden hidden]`.
        Z: pre-activations, one sample per column `[hidden samples]`.
        sigma: the activation function, differentiable at Z.

    Raises:
        CalibrationError: more samples than hidden units, or linearly dependent activations.
    """
    S = sigma(Z)
    _check_rank(S)
    pseudo_inverse: Tensor = torch.linalg.pinv(S)
    return _tangent(sigma, Z, T @ Z) @ pseudo_inverse


def first_order_change(U: Tensor, T: Tensor, Z: Tensor, z: Tensor, sigma: Elementwise) -> Tensor:
    """Return dF/dtau `[out samples]` at tau = 0 for any pre-activations z: U (sigma'(z) . Tz - Delta sigma(z)).

    It is zero for z among the columns of Z: the action is exact on its batch. Elsewhere it is how fast a member leaves
    the base along T.

    Args:
        U: upper weight `[out hidden]`.
        T: algebra element `[hidden hidden]`.
        Z: the batch the action is exact on `[hidden samples]`.
        z: where the change is asked for `[hidden points]`.
        sigma: the activation function.
    """
    delta = infinitesimal_action(T, Z, sigma)
    return U @ (_tangent(sigma, z, T @ z) - delta @ sigma(z))


def _tangent(sigma: Elementwise, z: Tensor, direction: Tensor) -> Tensor:
    """Return sigma'(z) . direction for an elementwise sigma: the gradient of a sum is the derivative everywhere."""
    with torch.enable_grad():
        free = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(sigma(free).sum(), free)
    return slope * direction


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


def _check_rank(A: Tensor) -> None:
    hidden, samples = A.shape
    if samples > hidden:
        raise CalibrationError(
            f"expected at most {hidden} samples (one per hidden unit), got {samples}; fit by least squares"
        )
    rank = int(torch.linalg.matrix_rank(A))
    if rank < samples:
        raise CalibrationError(f"expected independent activations, got rank {rank} of {samples} samples; drop some")


def _completed_basis(A: Tensor) -> Tensor:
    _check_rank(A)
    hidden, samples = A.shape
    frame, upper = torch.linalg.qr(A, mode="complete")
    fill = float(torch.linalg.matrix_norm(A)) / samples**0.5
    completed = fill * torch.eye(hidden, dtype=A.dtype, device=A.device)
    completed[:samples, :samples] = upper[:samples]
    basis: Tensor = frame @ completed
    return basis
