"""Crafting on one network to judge another: foolbox has no transfer of its own."""

from typing import Any

from foolbox.attacks.base import FixedEpsilonAttack


class Transfer(FixedEpsilonAttack):  # type: ignore[misc]
    """An attack that crafts on a surrogate and never reads the model it is called with.

    foolbox's public call then scores the examples on that model, so plain foolbox code keeps working.

    Args:
        surrogate: the model the attacker holds.
        attack: a fixed-epsilon attack that keeps its best iterate by surrogate loss, or a single-step attack.
    """

    def __init__(self, surrogate: Any, attack: Any) -> None:
        self.surrogate = surrogate
        self.attack = attack

    @property
    def distance(self) -> Any:
        """The distance of the wrapped attack."""
        return self.attack.distance

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """Return examples that depend on the surrogate, the inputs and the seed only.

        Args:
            model: the model that will be judged; only its bounds are read.
            inputs: `[batch channel height width]`.
            criterion: the true labels.
            epsilon: the radius.
            kwargs: passed on to the wrapped attack.

        Returns:
            Perturbed inputs.

        Raises:
            ValueError: surrogate and target have different bounds.
        """
        if tuple(model.bounds) != tuple(self.surrogate.bounds):
            raise ValueError(
                f"transfer: expected equal bounds, got {tuple(self.surrogate.bounds)} for the surrogate and "
                f"{tuple(model.bounds)} for the target; wrap both with the same bounds"
            )
        restart = getattr(self.surrogate, "restart", None)
        if restart is not None:  # a surrogate that changes its weights begins each run with the same ones
            restart()
        return self.attack.run(self.surrogate, inputs, criterion, epsilon=epsilon, **kwargs)
