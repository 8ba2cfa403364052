"""The attacks of figure 11 on the small networks: with the official defects, and as one attack in true bounds.

Images are in [-.5, .5]; gradients are those of each network's own loss, all networks in one program.
"""

from collections.abc import Callable

import torch
from torch import Tensor

#: Bounds of the data, and the bounds that the official attacks clamp to.
BOUNDS = (-0.5, 0.5)
WRONG_BOUNDS = (0.0, 1.0)
#: The defaults that the official PGD is left at.
UNSET_EPSILON = 0.3
UNSET_STEP = 0.01
#: Loss per network `[net]` of adversarial images `[net batch channel height width]`.
Objective = Callable[[Tensor], Tensor]


def gradient(objective: Objective, pixels: Tensor) -> Tensor:
    """Return the gradient of each network's loss at its own images `[net batch channel height width]`."""
    inputs = pixels.detach().requires_grad_()
    (found,) = torch.autograd.grad(objective(inputs).sum(), inputs)
    return found


def fgsm_as_published(objective: Objective, pixels: Tensor, epsilon: float) -> Tensor:
    """Return images attacked by FGSM twice, each time clamped to [0, 1]; at epsilon 0 there is no attack.

    Args:
        objective: what is maximised.
        pixels: `[net batch channel height width]` in [-.5, .5].
        epsilon: the step, in input units.
    """
    attacked = pixels
    if epsilon > 0:
        for _ in range(2):
            attacked = (attacked + epsilon * gradient(objective, attacked).sign()).clamp(*WRONG_BOUNDS)
    return attacked


def pgd_as_published(objective: Objective, pixels: Tensor, iterations: int, seed: int) -> Tensor:
    """Return images attacked by PGD twice at its unset defaults, clamped to [0, 1]; at 0 iterations no attack.

    Args:
        objective: what is maximised.
        pixels: `[net batch channel height width]` in [-.5, .5].
        iterations: steps of .01 in the ball of .3, from a random start.
        seed: of the random starts.
    """
    rng = torch.Generator().manual_seed(seed)
    attacked = pixels
    if iterations > 0:
        for _ in range(2):
            ball = Ball(attacked, UNSET_EPSILON, WRONG_BOUNDS)
            attacked = ball.descend(objective, ball.random(rng), iterations, UNSET_STEP)
    return attacked


class Ball:
    """The images within epsilon of some centres and within bounds, and steps in it."""

    def __init__(self, centre: Tensor, epsilon: float, bounds: tuple[float, float]) -> None:
        self.centre = centre
        self.epsilon = epsilon
        self.bounds = bounds

    def project(self, pixels: Tensor) -> Tensor:
        """Return the nearest image in the ball, then in the bounds."""
        nearest = torch.clamp(pixels, self.centre - self.epsilon, self.centre + self.epsilon)
        return nearest.clamp(*self.bounds)

    def random(self, rng: torch.Generator) -> Tensor:
        """Return uniform points of the ball."""
        noise = 2 * torch.rand(self.centre.shape, generator=rng) - 1
        return self.project(self.centre + self.epsilon * noise)

    def descend(self, objective: Objective, start: Tensor, steps: int, size: float) -> Tensor:
        """Return the last of some sign-gradient steps that raise the objective."""
        pixels = start
        for _ in range(steps):
            pixels = self.project(pixels + size * gradient(objective, pixels).sign())
        return pixels

    def corners(self, rng: torch.Generator) -> Tensor:
        """Return the control of equal size: every pixel moved by ± epsilon at random."""
        signs = torch.randint(2, self.centre.shape, generator=rng) * 2 - 1
        return self.project(self.centre + self.epsilon * signs)


def pgd(objective: Objective, pixels: Tensor, epsilon: float, steps: int, seed: int) -> Tensor:
    """Return images attacked by PGD within the data's own bounds: random start, step epsilon/4.

    Args:
        objective: what is maximised.
        pixels: `[net batch channel height width]` in [-.5, .5].
        epsilon: radius, in input units.
        steps: number of steps.
        seed: of the random start.
    """
    ball = Ball(pixels, epsilon, BOUNDS)
    return ball.descend(objective, ball.random(torch.Generator().manual_seed(seed)), steps, epsilon / 4)
