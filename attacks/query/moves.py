"""The random changes of the square attack, one row per norm: stripes and squares in Linf, moved mass in L2.

Andriushchenko et al. (2020), sections 3.2 to 3.4. A whole batch moves at once, each point at a place of its own:
windows are masks, so that nothing loops over points.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from attacks.gradient.ball import BALLS, Ball

#: Keeps a direction finite where a window holds no perturbation.
TINY = 1e-12
#: The L2 search starts from this many tiles in each direction.
TILES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """The random numbers of one step.

    Attributes:
        places: `[batch 4]` in [0, 1): row and column of two windows.
        turn: `[batch]` bool: whether the pattern lies on its side.
        signs: `[batch channel]`, -1 or 1.
    """

    places: Tensor
    turn: Tensor
    signs: Tensor

    @classmethod
    def of(cls, origin: Tensor) -> "Draw":
        """Return fresh numbers for a batch of images, from torch's CPU generator on every device."""
        uniform = torch.rand(len(origin), 5 + origin.shape[1]).to(origin.device)
        return cls(uniform[:, :4], uniform[:, 4] < 0.5, torch.where(uniform[:, 5:] < 0.5, -1.0, 1.0))

    def __getitem__(self, points: Tensor) -> "Draw":
        """Return the numbers of some points."""
        return Draw(self.places[points], self.turn[points], self.signs[points])


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A square in each image.

    Attributes:
        mask: `[batch 1 height width]` bool.
        rows: `[batch height]` int64, row inside the square, clamped to it.
        columns: `[batch width]` int64, column inside the square, clamped to it.
    """

    mask: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def at(cls, places: Tensor, side: int, like: Tensor) -> "Window":
        """Return the squares of a side at places `[batch 2]` in [0, 1)."""
        height, width = like.shape[2:]
        top = (places[:, :1] * (height - side + 1)).long()
        left = (places[:, 1:] * (width - side + 1)).long()
        rows = torch.arange(height, device=like.device) - top
        columns = torch.arange(width, device=like.device) - left
        inside_rows, inside_columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
        mask = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
        return cls(mask, rows.clamp(0, side - 1), columns.clamp(0, side - 1))

    def paste(self, pattern: Tensor) -> Tensor:
        """Return patterns `[batch side side]` put into the squares, zero elsewhere, `[batch 1 height width]`."""
        points = torch.arange(len(pattern), device=pattern.device)[:, None, None]
        return pattern[points, self.rows[:, :, None], self.columns[:, None, :]][:, None] * self.mask


@dataclass(frozen=True, slots=True)
class Moves:
    """How the square attack moves in one norm.

    Attributes:
        ball: of the norm.
        begin: (inputs, epsilon, bounds) -> a random first iterate `[batch channel height width]`.
        propose: (draw, perturbation, inputs, area, epsilon, bounds) -> the next proposal, inside ball and box.
    """

    ball: Ball
    begin: Callable[[Tensor, float, tuple[float, float]], Tensor]
    propose: Callable[[Draw, Tensor, Tensor, float, float, tuple[float, float]], Tensor]


def _signs(*shape: int) -> Tensor:
    return torch.where(torch.rand(shape) < 0.5, -1.0, 1.0)


def _stripes(origin: Tensor, epsilon: float, bounds: tuple[float, float]) -> Tensor:
    """Return vertical stripes of full strength, the paper's initialisation in Linf."""
    batch, channels, _, width = origin.shape
    return (origin + epsilon * _signs(batch, channels, 1, width).to(origin)).clamp(*bounds)


def _square_linf(
    draw: Draw, delta: Tensor, origin: Tensor, area: float, epsilon: float, bounds: tuple[float, float]
) -> Tensor:
    """Return the iterate with one square set to full strength, one sign per channel."""
    window = Window.at(draw.places[:, :2], side_of(area, origin), origin)
    changed = torch.where(window.mask, epsilon * draw.signs[:, :, None, None], delta)
    return (origin + changed).clamp(*bounds)


def side_of(area: float, like: Tensor) -> int:
    """Return the side of a square that covers a share of the image: at least 1, at most the image's shorter side.

    Args:
        area: the share.
        like: `[batch channel height width]`.
    """
    height, width = like.shape[2:]
    side: int = min(max(round(math.sqrt(area * height * width)), 1), height, width)
    return side


def odd_side_of(area: float, like: Tensor) -> int:
    """Return the side of an L2 window: odd and at least 3, so that its pattern has a middle, where the image allows.

    Args:
        area: the share.
        like: `[batch channel height width]`.
    """
    side = max(side_of(area, like), 3)
    height, width = like.shape[2:]
    return min(side + 1 - side % 2, height, width)


def hills(rows: int, columns: int) -> Tensor:
    """Return nested rectangles that fall off from the middle, `[rows columns]` of L2 length 1.

    Andriushchenko et al. (2020), section 3.4: rectangle number k, grown by one on every side, adds 1/k^2.

    Args:
        rows: at least 1.
        columns: at least 1.
    """
    height = torch.zeros(rows, columns)
    top, left = rows // 2, columns // 2
    for number in range(max(rows, columns) // 2 + 1):
        spot = (
            slice(max(top - number, 0), top + number + 1),
            slice(max(left - number, 0), left + number + 1),
        )
        height[spot] += 1 / (number + 1) ** 2
    length: Tensor = height.norm()
    return height / length


def pattern(side: int) -> Tensor:
    """Return the L2 pattern: hills of opposite sign in two halves, `[side side]` of L2 length 1.

    Args:
        side: at least 1; one row alone has a single hill.
    """
    if side == 1:
        return torch.ones(1, 1)
    upper = side // 2
    both = torch.cat([hills(upper, side), -hills(side - upper, side)])
    length: Tensor = both.norm()
    return both / length


def _patterns(turn: Tensor, side: int) -> Tensor:
    """Return one pattern per point, turned on its side where `turn` says so, `[batch side side]`."""
    one = pattern(side).to(turn.device)
    return torch.where(turn[:, None, None], one.T, one)


def _tiles(origin: Tensor, epsilon: float, bounds: tuple[float, float]) -> Tensor:
    """Return patterns side by side, one sign per tile and channel, the paper's initialisation in L2."""
    batch, channels, height, width = origin.shape
    side = max(min(height, width) // TILES, 1)
    one = _patterns(torch.rand(batch) < 0.5, side).to(origin)
    signs = _signs(batch, channels, TILES, TILES).to(origin)
    delta = torch.zeros_like(origin)
    for row in range(min(TILES, height // side)):
        for column in range(min(TILES, width // side)):
            spot = (..., slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side))
            delta[spot] = one[:, None] * signs[:, :, row, column, None, None]
    return _on_sphere(delta, origin, epsilon, bounds)


def _square_l2(
    draw: Draw, delta: Tensor, origin: Tensor, area: float, epsilon: float, bounds: tuple[float, float]
) -> Tensor:
    """Return the iterate with the mass of one window moved into another, which takes the pattern up.

    The first window gets the pattern added to what it holds, with the squared length of both windows and of whatever
    the ball has left; the second is emptied.
    """
    side = odd_side_of(area, origin)
    first, second = (Window.at(places, side, origin) for places in draw.places.split(2, dim=1))
    held = _length(delta * first.mask)
    new = first.paste(_patterns(draw.turn, side)) * draw.signs[:, :, None, None] + delta * first.mask / (held + TINY)
    spare = (epsilon**2 - delta.square().sum((1, 2, 3), keepdim=True)).clamp_min(0) / origin.shape[1]
    length = (spare + _length(delta * (first.mask | second.mask)).square()).sqrt()
    moved = torch.where(first.mask, new / (_length(new) + TINY) * length, delta * ~second.mask)
    return _on_sphere(moved, origin, epsilon, bounds)


def _length(delta: Tensor) -> Tensor:
    """Return the L2 length of each channel, `[batch channel 1 1]`."""
    return delta.square().sum((2, 3), keepdim=True).sqrt()


def _on_sphere(delta: Tensor, origin: Tensor, epsilon: float, bounds: tuple[float, float]) -> Tensor:
    """Return the inputs moved by exactly epsilon along a perturbation, then clipped to the box."""
    length = delta.square().sum((1, 2, 3), keepdim=True).sqrt()
    return (origin + delta / (length + TINY) * epsilon).clamp(*bounds)


#: One row per norm.
MOVES: Mapping[str, Moves] = MappingProxyType(
    {"linf": Moves(BALLS["linf"], _stripes, _square_linf), "l2": Moves(BALLS["l2"], _tiles, _square_l2)}
)
