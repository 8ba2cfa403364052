"""Square attack of Andriushchenko et al. (2020): random search with square changes, forward passes only."""

from typing import Any

import eagerpy as ep
import torch
from foolbox.attacks.base import FixedEpsilonAttack, raise_if_kwargs, verify_input_bounds
from torch import Tensor

from attacks.gradient.climb import Found
from attacks.gradient.goal import Goal, goal_of
from attacks.gradient.keeping import KEEP_SERVED_MARGIN, KeepRule
from attacks.norm_table import row_of_norm
from attacks.query.moves import MOVES, Draw, Moves
from ensemble.errors import InputError

#: After these shares of ten thousand queries the area of the square is halved (their section 3.2).
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def area(query: int, queries: int, first: float) -> float:
    """Return the share of the image that the square of a query covers.

    Args:
        query: number of the query, from 0.
        queries: of the whole attack; the published schedule is stretched to it.
        first: the share at the start.
    """
    position = query * 10_000 // queries
    return first / float(2 ** sum(position > halving for halving in HALVINGS))


class Square(FixedEpsilonAttack):  # type: ignore[misc]
    """Random search by squares; a point stops when it is fooled, and its queries are counted.

    What happens to a point depends on its place in the batch and on torch's seed, not on the other points.

    Args:
        moves: a row of `MOVES`.
        queries: most forward passes of a point, the first look at the input included.
        first_area: share of the image that the first square covers.
        keep: what is minimised, and when a point is finished.

    Attributes:
        used: `[batch]` int64, queries of each point in the last run.
    """

    used: Tensor

    def __init__(
        self, moves: Moves, *, queries: int = 5000, first_area: float = 0.8, keep: KeepRule = KEEP_SERVED_MARGIN
    ) -> None:
        self.moves = moves
        self.queries = queries
        self.first_area = first_area
        self.keep = keep
        self.used = torch.zeros(0, dtype=torch.int64)

    @property
    def distance(self) -> Any:
        """The distance of the norm."""
        return self.moves.ball.distance

    def run(
        self,
        model: Any,
        inputs: Any,
        criterion: Any,
        *,
        epsilon: float,
        starting_points: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the best example of each point by the keep rule; the input itself is the first candidate.

        Andriushchenko et al. (2020), algorithm 1; the moves are those of sections 3.2 (Linf) and 3.4 (L2).

        Args:
            model: a foolbox model of torch.
            inputs: `[batch channel height width]` float32, inside the model's bounds.
            criterion: true labels `[batch]` int64, or foolbox's targeted or untargeted criterion.
            epsilon: the radius, in input units, > 0.
            starting_points: `[batch channel height width]`, where the search begins instead of stripes,
                inside ball and box.
            kwargs: nothing else is accepted.

        Returns:
            Examples, same type and shape as `inputs`, inside ball and box; `used` holds the queries of each point.

        Raises:
            InputError: inputs that are no images, or a criterion of another kind.
            AssertionError: an input outside the model's bounds (foolbox's own check).
            TypeError: another keyword.
            ModelFailure: the model raised an error of its own, where it was made by `wrap`.
        """
        raise_if_kwargs(kwargs)
        wrapped, restore = ep.astensor_(inputs)
        verify_input_bounds(wrapped, model)
        goal, origin = goal_of(criterion), wrapped.raw
        if origin.ndim != 4:
            raise InputError(
                f"inputs of a square attack: expected [batch channel height width], got {tuple(origin.shape)}; "
                "squares need images"
            )
        with torch.no_grad():
            found = Found(origin.clone(), self._rank(model, origin, goal))
            self.used = torch.ones(len(origin), dtype=torch.int64)
            index = found.unfinished(self.keep)
            if len(index) and self.queries > 1:
                self._search(model, origin, goal, index, epsilon, starting_points, found)
        return restore(ep.astensor(found.x))

    def _rank(self, model: Any, x: Tensor, goal: Goal) -> Tensor:
        return goal.rank(self.keep, model(x))

    def _search(
        self, model: Any, origin: Tensor, goal: Goal, index: Tensor, epsilon: float, start: Tensor | None, found: Found
    ) -> None:
        """Search from stripes, or from the given start, on the points of `index`; keep what is better in `found`."""
        # Drawn for the whole batch, so that a point's draws do not depend on which others are left.
        first = self.moves.begin(origin, epsilon, model.bounds) if start is None else start
        search = Found(first.clone(), torch.full_like(found.rank, -torch.inf))
        search.rank[index] = self._rank(model, search.x[index], goal[index])
        self.used[index.cpu()] += 1
        for query in range(2, self.queries):
            alive = self._unfinished(search, index)
            if len(alive) == 0:
                break
            share = area(query - 2, self.queries, self.first_area)
            proposal = self.moves.propose(
                Draw.of(origin)[alive], search.x[alive] - origin[alive], origin[alive], share, epsilon, model.bounds
            )
            search.keep(alive, proposal, self._rank(model, proposal, goal[alive]))
            self.used[alive.cpu()] += 1
        found.keep(index, search.x[index], search.rank[index])

    def _unfinished(self, search: Found, index: Tensor) -> Tensor:
        if self.keep.stop_below is None:
            return index
        return index[search.rank[index] >= self.keep.stop_below]


def square(norm: str, *, queries: int = 5000, first_area: float = 0.8, keep: KeepRule = KEEP_SERVED_MARGIN) -> Square:
    """Return the square attack for a norm.

    Args:
        norm: a key of `MOVES`.
        queries: most forward passes of a point.
        first_area: share of the image that the first square covers.
        keep: what is minimised, and when a point is finished.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: the attack is not defined in this norm.
    """
    return Square(row_of_norm(MOVES, "Square", norm), queries=queries, first_area=first_area, keep=keep)
