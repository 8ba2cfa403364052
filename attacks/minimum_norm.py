"""foolbox's own minimum-norm attacks, judged at a fixed radius: DeepFool, C&W, DDN, FMN, EAD and blur.

They look for the nearest wrong answer and know no radius. Some return far-away points, zeros or NaN where they fail:
what counts is whether the point, brought back into the ball, is answered wrong.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import eagerpy as ep
import foolbox
import torch
from foolbox import attacks as own
from foolbox.attacks.base import FixedEpsilonAttack, get_criterion, raise_if_kwargs
from foolbox.criteria import Misclassification
from foolbox.devutils import atleast_kd, flatten

from attacks.norm_table import row_of_norm
from ensemble.errors import InputError


class MinimumNorm(FixedEpsilonAttack):  # type: ignore[misc]
    """A minimum-norm attack as a fixed-epsilon attack: its point where it lies in the ball, else the ball's nearest.

    The point is moved along the line to its input, never beyond it; where the attack returned NaN the input stands.

    Args:
        attack: a foolbox `MinimizationAttack`.
        targeted: whether it can be given a class to reach.
    """

    def __init__(self, attack: Any, *, targeted: bool = True) -> None:
        self.attack = attack
        self.targeted = targeted

    @property
    def distance(self) -> Any:
        """The distance of the wrapped attack."""
        return self.attack.distance

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        """Return what the attack finds, brought into the ball.

        Args:
            model: the model under attack.
            inputs: `[batch channel height width]` float32, inside the model's bounds.
            criterion: the true labels, or a foolbox criterion.
            epsilon: the radius, in input units.
            kwargs: nothing else is accepted.

        Returns:
            Perturbed inputs, same type and shape as `inputs`.

        Raises:
            InputError: a targeted criterion for an attack that has no targeted form.
        """
        raise_if_kwargs(kwargs)
        goal = get_criterion(criterion)
        if not self.targeted and not isinstance(goal, Misclassification):
            raise InputError(
                f"criterion: expected untargeted misclassification for {type(self.attack).__name__}, got "
                f"{type(goal).__name__}; pass the true labels, or use cw, ddn or fmn"
            )
        wrapped, restore = ep.astensor_(inputs)
        origin = wrapped.raw
        found = self.attack.run(model, origin, goal, early_stop=epsilon)
        finite = torch.isfinite(found).flatten(1).all(1)[(..., *[None] * (origin.ndim - 1))]
        inside = self.distance.clip_perturbation(origin, torch.where(finite, found, origin), epsilon)
        return restore(ep.astensor(inside.clamp(*model.bounds)))


class L2FMN(own.L2FMNAttack):  # type: ignore[misc]
    """FMN in L2 with a projection: foolbox's divides each norm by itself, so that no iterate is ever brought nearer."""

    def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
        """Return x moved along its line to x0 until it is at most epsilon away.

        Args:
            x: `[batch ...]`, as EagerPy tensors throughout.
            x0: `[batch ...]`.
            epsilon: `[batch]`, a radius for each point.
        """
        norms = ep.maximum(ep.norms.l2(flatten(x - x0), axis=-1), 1e-12)
        return x0 + (x - x0) * atleast_kd(ep.minimum(1, epsilon / norms), x.ndim)


#: One row per norm and attack, where foolbox has it.
DEEPFOOL: Mapping[str, Any] = MappingProxyType({"linf": own.LinfDeepFoolAttack, "l2": own.L2DeepFoolAttack})
CARLINI_WAGNER: Mapping[str, Any] = MappingProxyType({"l2": own.L2CarliniWagnerAttack})
DDN: Mapping[str, Any] = MappingProxyType({"l2": own.DDNAttack})
FMN: Mapping[str, Any] = MappingProxyType({"linf": own.LInfFMNAttack, "l2": L2FMN, "l1": own.L1FMNAttack})
ELASTIC_NET: Mapping[str, Any] = MappingProxyType({"l1": own.EADAttack})
DISTANCES: Mapping[str, Any] = MappingProxyType(
    {"linf": foolbox.distances.linf, "l2": foolbox.distances.l2, "l1": foolbox.distances.l1}
)


def deepfool(norm: str, *, steps: int = 50, candidates: int = 10, overshoot: float = 0.02) -> MinimumNorm:
    """Return DeepFool (Moosavi-Dezfooli et al., 2016), which steps to the nearest linearised boundary.

    Args:
        norm: "linf" or "l2".
        steps: at most; one forward and backward pass per candidate class each.
        candidates: the most likely classes considered.
        overshoot: how far beyond the boundary, as a share.

    Returns:
        A foolbox attack, untargeted only.

    Raises:
        UnknownName: another norm.
    """
    attack = row_of_norm(DEEPFOOL, "deepfool", norm)(steps=steps, candidates=candidates, overshoot=overshoot)
    return MinimumNorm(attack, targeted=False)


def cw(
    norm: str,
    *,
    steps: int = 100,
    binary_search_steps: int = 6,
    stepsize: float = 0.01,
    initial_const: float = 0.01,
    confidence: float = 0.0,
) -> MinimumNorm:
    """Return the attack of Carlini & Wagner (2017), which trades the margin against the squared distance.

    Args:
        norm: "l2".
        steps: of Adam for each constant.
        binary_search_steps: constants tried.
        stepsize: of Adam.
        initial_const: the first constant.
        confidence: the margin asked for, in logit units.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: another norm.
    """
    attack = row_of_norm(CARLINI_WAGNER, "cw", norm)(
        binary_search_steps=binary_search_steps,
        steps=steps,
        stepsize=stepsize,
        confidence=confidence,
        initial_const=initial_const,
    )
    return MinimumNorm(attack)


def ddn(norm: str, *, steps: int = 100, init_epsilon: float = 1.0, gamma: float = 0.05) -> MinimumNorm:
    """Return the decoupled direction and norm attack (Rony et al., 2019).

    Args:
        norm: "l2".
        steps: gradient steps.
        init_epsilon: the first radius, in input units.
        gamma: by how much the radius grows or shrinks.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: another norm.
    """
    return MinimumNorm(row_of_norm(DDN, "ddn", norm)(init_epsilon=init_epsilon, steps=steps, gamma=gamma))


def fmn(norm: str, *, steps: int = 100, max_stepsize: float = 1.0, gamma: float = 0.05) -> MinimumNorm:
    """Return the fast minimum-norm attack (Pintor et al., 2021).

    Args:
        norm: "linf", "l2" or "l1".
        steps: gradient steps.
        max_stepsize: the first step, in input units.
        gamma: by how much the radius grows or shrinks at first.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: another norm.
    """
    return MinimumNorm(row_of_norm(FMN, "fmn", norm)(steps=steps, max_stepsize=max_stepsize, gamma=gamma))


def ead(
    norm: str,
    *,
    steps: int = 100,
    binary_search_steps: int = 6,
    initial_stepsize: float = 0.01,
    initial_const: float = 0.01,
    regularization: float = 0.01,
) -> MinimumNorm:
    """Return the elastic-net attack (Chen et al., 2018), whose sparse changes are small in L1.

    Args:
        norm: "l1".
        steps: for each constant.
        binary_search_steps: constants tried.
        initial_stepsize: the first step.
        initial_const: the first constant.
        regularization: beta, the weight of the L1 norm.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: another norm.
    """
    attack = row_of_norm(ELASTIC_NET, "ead", norm)(
        binary_search_steps=binary_search_steps,
        steps=steps,
        initial_stepsize=initial_stepsize,
        initial_const=initial_const,
        regularization=regularization,
        decision_rule="L1",
    )
    return MinimumNorm(attack)


def blur(norm: str, *, steps: int = 20, max_sigma: float | None = None) -> MinimumNorm:
    """Return Gaussian blur of growing width, the first that is answered wrong; it needs no gradient.

    Args:
        norm: "linf", "l2" or "l1": what the change is measured in.
        steps: widths tried; one forward pass each.
        max_sigma: the largest width in pixels; None takes the size of the image.

    Returns:
        A foolbox attack.

    Raises:
        UnknownName: another norm.
    """
    distance = row_of_norm(DISTANCES, "blur", norm)
    return MinimumNorm(own.GaussianBlurAttack(distance=distance, steps=steps, max_sigma=max_sigma))
