"""The networks that judge an example: base, target, its members, the controls.

No-query examples are made once and judged by all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.targets import EnsembleModel, NetworkModel, wrap
from ensemble.digests import network_digest

BASE = "base"
SCRAMBLED = "scrambled_control"
NOISE = "weight_noise_equal_norm"


@dataclass(frozen=True, slots=True, eq=False)
class Jury:
    """Named judges with their digests.

    Attributes:
        models: name -> model; the members of the target are answered by the target's own model.
        digests: name -> SHA-256 of weights and buffers.
        target: the name of the network the evaluation is about.
        members: the names of its members, in order; empty for a plain network.
        absent: (name, why) of each control that could not be built.
    """

    models: Mapping[str, NetworkModel]
    digests: Mapping[str, str]
    target: str
    members: tuple[str, ...]
    absent: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every judge in the order reports list them: base, target, members, controls."""
        controls = tuple(name for name in self.models if name not in (BASE, self.target))
        return (BASE, self.target, *self.members, *controls)

    def held(self, examples: Tensor, labels: Tensor, *, only: str | None = None) -> dict[str, Tensor]:
        """Return, for each judge, which examples it still answers right.

        Args:
            examples: `[batch channel height width]`.
            labels: `[batch]` int64 on the CPU.
            only: the name of the only judge to ask; its members are not asked then.

        Returns:
            name -> `[batch]` bool on the CPU.
        """
        names = self.models if only is None else (only,)
        verdicts = {name: self.models[name].answers(examples) == labels for name in names}
        model = self.models[self.target]
        if only is None and isinstance(model, EnsembleModel):
            answers = model.member_answers(examples)
            verdicts |= {name: answer == labels for name, answer in zip(self.members, answers, strict=True)}
        return verdicts


def assemble(
    target: nn.Module,
    base: nn.Module,
    *,
    bounds: tuple[float, float],
    example: Tensor,
    controls: Mapping[str, nn.Module],
) -> Jury:
    """Return the jury of an evaluation.

    Args:
        target: the network or ensemble evaluated.
        base: the network an attacker may have stolen.
        bounds: of the threat models.
        example: inputs every judge must accept.
        controls: name -> control network; what is missing from it is listed as absent.

    Returns:
        The wrapped and checked judges.

    Raises:
        InputError: a judge breaks the logits contract.
    """
    wrapped = wrap(target, bounds=bounds, example=example, role="target")
    is_ensemble = isinstance(wrapped, EnsembleModel)
    name = "ensemble" if is_ensemble else "network"
    models = {BASE: wrap(base, bounds=bounds, example=example, role="base"), name: wrapped}
    for control, network in controls.items():
        models[control] = wrap(network, bounds=bounds, example=example, role=control)
    members = _member_names(wrapped, example) if is_ensemble else ()
    digests = {judge: network_digest(model.network) for judge, model in models.items()}
    missing = tuple((judge, _why_absent(is_ensemble)) for judge in (SCRAMBLED, NOISE) if judge not in controls)
    return Jury(models, digests, name, members, missing)


def _member_names(model: NetworkModel, example: Tensor) -> tuple[str, ...]:
    with torch.no_grad():
        size = model.network.member_logits(example[:1].to(model.device)).shape[0]  # type: ignore[operator]
    return tuple(f"member-{k}" for k in range(size))


def _why_absent(is_ensemble: bool) -> str:
    if is_ensemble:
        return "the target has members, but no sites that a control could act on"
    return "the target is a single network: there are no members to scramble or to match in norm"
