r"""How far a member may leave the base away from the inputs it was fitted on, and how far it does.

For an L-Lipschitz activation, an action that is exact on {x_i} and operator norms,

.. math:: \lVert F_g(x) - F(x) \rVert \le L \, (\lVert U\pi \rVert \lVert gV \rVert + \lVert U \rVert \lVert V \rVert)
          \min_i \lVert x - x_i \rVert

(docs/mathematics.md, section 4). The bound is loose; the measured growth beside it is what a report can use.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble.action import Elementwise
from ensemble.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class TwoLayers:
    """F(x) = U sigma(V x + b) + c, as numbers.

    Attributes:
        V: `[hidden inp]`.
        b: `[hidden]`.
        U: `[out hidden]`.
        c: `[out]`.
        sigma: the activation.
    """

    V: Tensor
    b: Tensor
    U: Tensor
    c: Tensor
    sigma: Elementwise

    def __call__(self, X: Tensor) -> Tensor:
        """Return the outputs `[out samples]` for inputs `[inp samples]`."""
        return self.U @ self.sigma(self.V @ X + self.b.unsqueeze(1)) + self.c.unsqueeze(1)

    def norms(self) -> float:
        """Return the product of the operator norms of both weights."""
        return float(torch.linalg.matrix_norm(self.U, 2) * torch.linalg.matrix_norm(self.V, 2))


@dataclass(frozen=True, slots=True, eq=False)
class OffBatch:
    """What was bounded and what was measured at a set of points, one entry per point.

    Attributes:
        distance: to the nearest input of the batch.
        change: |F_g(x) - F(x)|, measured.
        bound: the extrapolation bound.
        on_batch: the largest change on the batch itself; the bound is stated for 0 and raised by this much.
        blow_up: |U pi| |gV| / (|U| |V|), the member's blow-up factor.
    """

    distance: Tensor
    change: Tensor
    bound: Tensor
    on_batch: float
    blow_up: float

    @property
    def measured_rate(self) -> float:
        """Return the largest change per distance that was seen: what the bound's constant must be at least."""
        away = self.distance > 0
        return float((self.change[away] / self.distance[away]).max()) if bool(away.any()) else 0.0


def off_batch(base: TwoLayers, member: TwoLayers, batch: Tensor, points: Tensor, *, lipschitz: float = 1.0) -> OffBatch:
    """Return bound and measurement for a member of a base at points off its batch.

    Args:
        base: F.
        member: F_g.
        batch: the inputs the action was fitted on `[inp samples]`.
        points: where to look `[inp points]`.
        lipschitz: Lipschitz constant of the activation (1 for ReLU, LeakyReLU, tanh; about 1.13 for GELU).

    Raises:
        InputError: a batch without inputs.
    """
    if batch.ndim != 2 or batch.shape[1] == 0:
        raise InputError(f"off-batch bound: expected a batch [inp samples] of at least one, got {list(batch.shape)}")
    distance = torch.cdist(points.T, batch.T).min(dim=1).values
    change = torch.linalg.vector_norm(member(points) - base(points), dim=0)
    on_batch = float(torch.linalg.vector_norm(member(batch) - base(batch), dim=0).max())
    bound = lipschitz * (member.norms() + base.norms()) * distance + on_batch
    return OffBatch(distance, change, bound, on_batch, member.norms() / base.norms())


def projector_bound(U: Tensor, S: Tensor) -> float:
    """Return |U S|, the most that an unregularised least-squares refit may change the batch's outputs.

    For more samples than hidden units the change is U S (1 - A^+ A), and 1 - A^+ A is a projector.

    Args:
        U: upper weight `[out hidden]`.
        S: the base's activations on the batch `[hidden samples]`.
    """
    return float(torch.linalg.matrix_norm(U @ S))
