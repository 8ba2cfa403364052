r"""Streaming least squares for the upper weights of a site.

Solves, over all outputs at once,

.. math:: \min_{U', c'} \sum_p \lVert U' \varphi_p + c' - t_p \rVert^2 + r \lVert U' - U_0 \rVert^2,
          \qquad r = \rho \cdot \mathrm{mean\ diag}\, \sum_p \varphi_p \varphi_p^T

with the (q+1)² Gram matrix accumulated in float64 over chunks, so memory does not grow with the number of rows. The
constant regressor is never penalised. A convolution's regressors are its unfolded (im2col) patches with the layer's
own padding, stride and dilation: each tap gets its own coefficients (docs/mathematics.md, section 4).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.errors import CalibrationError
from ensemble.layers import FoldedLayer

# Below this the ridge only guards against rounding: it does not stand in for missing rows.
REGULARISING_RIDGE = 1e-4
# The full spectrum costs more than the solve beyond this many regressors.
FULL_SPECTRUM = 1536
# Rows of the Gram matrix accumulated together: the entries left of each strip are known by symmetry.
STRIP = 512


@dataclass(frozen=True, slots=True)
class Fit:
    """A solved refit with what is needed to judge it.

    Attributes:
        weight: U' `[out regressors]`, float64.
        bias: c' `[out]`, float64; None without the affine term.
        residual: sqrt(squared error / squared targets) on the rows that were added; 0 is exact.
        rank: numerical rank of the regressors; None where they are too many for the full spectrum.
        condition: condition number of the ridge-stabilised Gram matrix.
        rows: rows that were added.
    """

    weight: Tensor
    bias: Tensor | None
    residual: float
    rank: int | None
    condition: float
    rows: int


class NormalEquations:
    """Accumulates rows, then solves; one instance per fit.

    Args:
        regressors: q, columns of a row.
        outputs: m, targets of a row.
        affine: whether a constant regressor is appended.
        device: where the sums live.
    """

    def __init__(self, regressors: int, outputs: int, *, affine: bool, device: torch.device) -> None:
        self.regressors = regressors
        self.affine = affine
        size = regressors + int(affine)
        self._gram = torch.zeros(size, size, dtype=torch.float64, device=device)
        self._moment = torch.zeros(outputs, size, dtype=torch.float64, device=device)
        self._energy = 0.0
        self.rows = 0

    def add(self, phi: Tensor, target: Tensor) -> None:
        """Add rows.

        Args:
            phi: regressors `[rows regressors]`, any floating dtype.
            target: targets `[rows out]`.
        """
        wide = phi.double()
        if self.affine:
            wide = F.pad(wide, (0, 1), value=1.0)
        t = target.double()
        for top in range(0, len(self._gram), STRIP):
            self._gram[top : top + STRIP, top:].addmm_(wide[:, top : top + STRIP].T, wide[:, top:])
        self._moment.addmm_(t.T, wide)
        self._energy += float(t.square().sum())
        self.rows += phi.shape[0]

    def solve(self, *, ridge: float, prior: Tensor | None = None) -> Fit:
        """Return the ridge solution.

        Args:
            ridge: rho, dimensionless.
            prior: U0 `[out regressors]` that the ridge shrinks to; None for 0.

        Raises:
            CalibrationError: fewer rows than regressors without a regularising ridge, regressors that are all zero,
                or a Gram matrix that cannot be factorised.
        """
        q = self.regressors
        if self.rows < q and ridge < REGULARISING_RIDGE:
            raise CalibrationError(
                f"the refit needs rank {q}: expected at least {q} rows, got {self.rows}; "
                f"add calibration inputs or set ridge >= {REGULARISING_RIDGE:g}"
            )
        mean_diagonal = float(self._gram.diagonal()[:q].mean())
        if not mean_diagonal > 0 or mean_diagonal == float("inf"):
            raise CalibrationError(
                f"the refit's regressors: expected finite activations, not all 0, got mean square {mean_diagonal:g}; "
                "every unit of this site is dead (or blew up) on the calibration inputs: use others or a smaller scale"
            )
        shift = ridge * mean_diagonal
        plain = self._gram.triu() + self._gram.triu(1).T
        gram = plain.clone()
        gram.diagonal()[:q] += shift
        moment = self._moment.clone()
        if prior is not None:
            moment[:, :q] += shift * prior.double()
        factor = _factorise(gram)
        solution = torch.cholesky_solve(moment.T, factor).T
        # The constant is the last regressor: the leading block of the factor is the factor of the others' block.
        rank, condition = _spectrum(plain[:q, :q], shift, factor[:q, :q])
        error = self._energy - 2 * float((solution * self._moment).sum()) + float(((solution @ plain) * solution).sum())
        residual = (max(error, 0.0) / max(self._energy, 1e-300)) ** 0.5
        bias = solution[:, q] if self.affine else None
        return Fit(solution[:, :q], bias, residual, rank, condition, self.rows)


def minimum_norm(phi: Tensor, target: Tensor) -> Fit:
    """Return the minimum-norm least-squares solution without affine term, the official code's choice (k = h).

    Args:
        phi: regressors `[rows regressors]`.
        target: `[rows out]`.
    """
    wide, t = phi.double(), target.double()
    singular = torch.linalg.svdvals(wide)
    rank = int((singular > float(singular[0]) * max(wide.shape) * torch.finfo(torch.float64).eps).sum())
    pseudo_inverse: Tensor = torch.linalg.pinv(wide)
    weight = (pseudo_inverse @ t).T
    residual = float((wide @ weight.T - t).norm()) / max(float(t.norm()), 1e-300)
    return Fit(weight, None, residual, rank, float(singular[0] / singular[rank - 1]) ** 2, len(wide))


def _spectrum(gram: Tensor, shift: float, factor: Tensor) -> tuple[int | None, float]:
    """Return rank and ridge-stabilised condition number; above FULL_SPECTRUM the extremes only, by power iteration."""
    q = gram.shape[0]
    if q > FULL_SPECTRUM:
        return None, _extreme_ratio(factor)
    eigenvalues = torch.linalg.eigvalsh(gram)
    largest = float(eigenvalues[-1])
    rank = int((eigenvalues > largest * q * torch.finfo(torch.float64).eps).sum())
    smallest = max(float(eigenvalues[0]), 0.0) + shift
    return rank, (largest + shift) / smallest if smallest > 0 else float("inf")


def _extreme_ratio(factor: Tensor, iterations: int = 30) -> float:
    """Return the ratio of the extreme eigenvalues of L L^T by power iteration on both ends."""
    up = down = torch.ones(len(factor), 1, dtype=factor.dtype, device=factor.device) / len(factor) ** 0.5
    largest = smallest = 0.0
    for _ in range(iterations):
        grown = factor @ (factor.T @ up)
        shrunk = torch.linalg.solve_triangular(factor, down, upper=False)
        shrunk = torch.linalg.solve_triangular(factor.T, shrunk, upper=True)
        largest, smallest = float(grown.norm()), float(shrunk.norm())
        up, down = grown / largest, shrunk / smallest
    return largest * smallest


def _factorise(gram: Tensor) -> Tensor:
    factor: Tensor
    factor, status = torch.linalg.cholesky_ex(gram)
    if int(status) != 0:
        raise CalibrationError(
            f"the Gram matrix of size {gram.shape[0]} is singular in float64 (no Cholesky factor, row {int(status)}): "
            "the regressors are dependent; set ridge >= 1e-6 or add calibration inputs"
        )
    return factor


def regressor_rows(layer: FoldedLayer, x: Tensor) -> Tensor:
    """Return the rows `[rows regressors]` that a layer's weight (flattened per output) multiplies.

    Args:
        layer: the upper layer; its template gives padding, stride and dilation.
        x: the layer's input, `[batch inp ...]` for convolutions, `[... inp]` for Linear.
    """
    template = layer.template
    if isinstance(template, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    padding = template._reversed_padding_repeated_twice
    mode = template.padding_mode if template.padding_mode != "zeros" else "constant"
    padded = F.pad(x, padding, mode=mode) if any(padding) else x
    # Conv1d as a convolution of height one: torch unfolds images only.
    flat = isinstance(template, nn.Conv1d)
    image = padded.unsqueeze(2) if flat else padded
    lead = (1,) if flat else ()
    columns = F.unfold(image, (*lead, *template.kernel_size), (*lead, *template.dilation), 0, (*lead, *template.stride))
    return columns.transpose(1, 2).reshape(-1, columns.shape[1])


def target_rows(layer: FoldedLayer, y: Tensor) -> Tensor:
    """Return a layer's output as rows `[rows out]`, in the order of `regressor_rows`."""
    if isinstance(layer.template, nn.Linear):
        return y.reshape(-1, y.shape[-1])
    return y.flatten(2).transpose(1, 2).reshape(-1, y.shape[1])
