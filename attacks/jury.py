"""The networks that judge an example: base, target, its members, the controls.

No-query examples are made once and judged by all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from attacks.draws import PREFIX, GroupDraws
from attacks.targets import FLOAT32, Coding, EnsembleModel, NetworkModel, check_gradient, wrap
from ensemble.digests import network_digest

BASE = "base"
SCRAMBLED = "scrambled_control"
NOISE = "weight_noise_equal_norm"
EQUAL_ACCURACY = "weight_noise_equal_accuracy"
INDEPENDENT = "independent_ensemble"
#: Baselines that are attacked white-box like the target, besides the base.
ATTACKED = (NOISE, EQUAL_ACCURACY, SCRAMBLED)


@dataclass(frozen=True, slots=True, eq=False)
class Jury:
    """Named judges with their digests.

    Attributes:
        models: name -> model; the members of the target are answered by the target's own model.
        digests: name -> SHA-256 of weights and buffers.
        target: the name of the network the evaluation is about.
        members: the names of its members, in order; empty for a plain network.
        absent: (name, why) of each baseline that could not be built.
        notes: name -> what is known about the making of a baseline.
        late: name -> what returns a judge that is made on first use: other draws of the group.
    """

    models: Mapping[str, NetworkModel]
    digests: Mapping[str, str]
    target: str
    members: tuple[str, ...]
    absent: tuple[tuple[str, str], ...]
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    late: Mapping[str, Callable[[], NetworkModel]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Every judge in the order reports list them: base, target, members, controls."""
        controls = tuple(name for name in self.models if name not in (BASE, self.target))
        return (BASE, self.target, *self.members, *controls, *self.late)

    @property
    def ensembles(self) -> tuple[str, ...]:
        """The judges that have members."""
        return tuple(name for name, model in self.models.items() if isinstance(model, EnsembleModel))

    @property
    def attacked(self) -> tuple[str, ...]:
        """The judges that face white-box attacks: base, target, weight noise, scrambled control."""
        return (BASE, self.target, *(name for name in ATTACKED if name in self.models))

    @property
    def draws(self) -> tuple[str, ...]:
        """The judges that are other draws of the group."""
        return (*(name for name in self.models if name.startswith(PREFIX)), *self.late)

    def members_of(self, judge: str) -> tuple[str, ...]:
        """Return the names of a judge's members: the target's only; those of baselines are not judged one by one."""
        return self.members if judge == self.target else ()

    def _model(self, name: str) -> NetworkModel:
        return self.models[name] if name in self.models else self.late[name]()

    def held(self, examples: Tensor, labels: Tensor, *, only: str | None = None) -> dict[str, Tensor]:
        """Return, for each judge, which examples it still answers right.

        Args:
            examples: `[batch channel height width]`.
            labels: `[batch]` int64 on the CPU.
            only: the name of the only judge to ask; members are asked beside it where its answer is drawn from them.

        Returns:
            name -> `[batch]` bool on the CPU.
        """
        names = (*self.models, *self.late) if only is None else (only,)
        verdicts = {name: self._model(name).held(examples, labels) for name in names}
        model = self.models[self.target]
        if isinstance(model, EnsembleModel) and (only is None or (only == self.target and model.serving.random)):
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
    mode: str = "prob",
    coding: Coding = FLOAT32,
    draws: Sequence[nn.Module] = (),
    absent: Mapping[str, str] = MappingProxyType({}),
    notes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    drawn: GroupDraws | None = None,
) -> Jury:
    """Return the jury of an evaluation.

    Args:
        target: the network or ensemble evaluated.
        base: the network an attacker may have stolen.
        bounds: of the threat models.
        example: inputs every judge must accept.
        controls: name -> network that the target is compared with.
        mode: how the target and every control with members is served.
        coding: what happens to inputs before any judge sees them.
        draws: other draws of the group, judged beside the target.
        absent: name -> why, of baselines that could not be built.
        notes: name -> what is known about the making of a baseline.
        drawn: other draws that are made on first use.

    Returns:
        The wrapped and checked judges.

    Raises:
        InputError: a judge breaks the logits contract, or one that is attacked has no gradient.
    """
    settings: dict[str, Any] = {"bounds": bounds, "example": example, "mode": mode, "coding": coding}
    wrapped = wrap(target, role="target", **settings)
    is_ensemble = isinstance(wrapped, EnsembleModel)
    name = "ensemble" if is_ensemble else "network"
    models = {BASE: wrap(base, role="base", **settings), name: wrapped}
    for attacked in models.values():
        check_gradient(attacked, example[:2])
    others = {**controls, **{f"{PREFIX}{k}": network for k, network in enumerate(draws, start=1)}}
    for other, network in others.items():
        models[other] = wrap(network, role=other, **settings)
    members = _member_names(wrapped, example) if is_ensemble else ()
    digests = {judge: network_digest(model.network) for judge, model in models.items()}
    late = GroupDraws() if drawn is None else drawn
    return Jury(models, digests | late.digests, name, members, tuple(absent.items()), notes, late.judges)


def _member_names(model: NetworkModel, example: Tensor) -> tuple[str, ...]:
    with torch.no_grad():
        size = model.network.member_logits(example[:1].to(model.device)).shape[0]  # type: ignore[operator]
    return tuple(f"member-{k}" for k in range(size))
