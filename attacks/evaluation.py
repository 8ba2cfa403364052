"""The heavy context of an evaluation: networks, points, threat models, suite. Built once per process, only read."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

from attacks.canonical import seed_from
from attacks.controls import control_networks
from attacks.data import DataDescription, check_inputs, check_labels
from attacks.jury import BASE, Jury, assemble
from attacks.modes import MODES
from attacks.suites import AttackRow, Suite, suite_named
from attacks.surrogates import Surrogate, stolen_base, target_itself
from attacks.threat import ThreatModel, check_bounds
from ensemble.digests import tensor_digest
from ensemble.errors import InputError, UnknownName

#: The audit subset: the points of the probes.
AUDIT = 128


def levelset_version() -> str:
    """Return the installed version of the distribution, part of every shard's key."""
    try:
        return version("levelset")
    except PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """Everything a shard needs. Bad input is refused here, before any work.

    Attributes:
        target: the network or ensemble evaluated, in eval mode.
        base: the network an attacker may have stolen; the target's own base where it is left out.
        inputs: `[n channel height width]` float32 inside the bounds.
        labels: `[n]` integer classes.
        threat: one threat model or several with equal bounds; the first one carries the headline.
        suite: the name of a suite.
        mode: how the target is served.
        seed: root of every shard's seed.
        calibration_digests: `ensemble.tensor_digest` of calibration or training points, one by one or as a whole set.
        data: where the points come from.
        block: points per shard, the mini-batch of every attack.
        device: where copies of the networks are put; None leaves the networks where they are.
        threads: torch threads while a shard runs; part of every reproducibility claim.
        examples_folder: where examples are kept for re-scoring; None keeps their digests only.
        threats: the threat models as a tuple (derived).
        rows: the suite itself (derived).
        jury: the judges (derived).
        point_digests: one digest per point (derived).
    """

    target: nn.Module
    base: nn.Module | None = None
    inputs: Tensor
    labels: Tensor
    threat: ThreatModel | Sequence[ThreatModel]
    suite: str = "quick"
    mode: str = "prob"
    seed: int = 0
    calibration_digests: Sequence[str] = ()
    data: DataDescription = field(default_factory=DataDescription)
    block: int = 64
    device: str | torch.device | None = None
    threads: int = 1
    examples_folder: Path | None = None
    threats: tuple[ThreatModel, ...] = field(init=False)
    rows: Suite = field(init=False)
    jury: Jury = field(init=False)
    point_digests: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Check every field, wrap the networks and build the controls."""
        if self.mode not in MODES:
            raise UnknownName("serving mode", str(self.mode), MODES)
        self._set("rows", suite_named(self.suite))
        self._set("threats", _checked_threats(self.threat))
        for name, least in (("block", 1), ("threads", 1), ("seed", 0)):
            _check_whole(name, getattr(self, name), least)
        self._check_points()
        self._set("calibration_digests", tuple(self.calibration_digests))
        self._set("jury", self._assemble())
        check_labels(self.labels, len(self.inputs), classes=self._common_classes())
        self._set("point_digests", tuple(tensor_digest(point) for point in self.inputs))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_points(self) -> None:
        check_inputs(self.inputs)
        check_bounds(self.inputs, self.threats[0].bounds)
        check_labels(self.labels, len(self.inputs))
        if self.data.ids is not None and len(self.data.ids) != len(self.inputs):
            raise InputError(
                f"ids of the data: expected one per point ({len(self.inputs)}), got {len(self.data.ids)}; "
                "pass all of them or None"
            )
        self._set("inputs", self.inputs.detach().cpu().contiguous())
        self._set("labels", self.labels.detach().cpu().long())

    def _assemble(self) -> Jury:
        base = self.base if self.base is not None else getattr(self.target, "base", None)
        if base is None:
            raise InputError("base: expected the network an attacker may have stolen, got None; pass base=network")
        target = self.target
        if self.device is not None:
            base, target = (copy.deepcopy(network).to(self.device) for network in (base, target))
        example = self.inputs[:8]
        controls = control_networks(target, seed=self.seed)
        return assemble(target, base, bounds=self.threats[0].bounds, example=example, controls=controls)

    def _common_classes(self) -> int:
        classes = {name: model.classes for name, model in self.jury.models.items()}
        if len(set(classes.values())) > 1:
            raise InputError(
                f"target and base: expected the same number of classes, got {classes}; pass the matching base"
            )
        return classes[BASE]

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of every mini-batch, in order."""
        n = len(self.inputs)
        return tuple((start, min(start + self.block, n)) for start in range(0, n, self.block))

    @property
    def audit(self) -> Tensor:
        """Indices of the audit subset, ascending: min(n, `AUDIT`) points chosen by the seed."""
        rng = torch.Generator().manual_seed(seed_from(self.seed, "audit"))
        return torch.randperm(len(self.inputs), generator=rng)[:AUDIT].sort().values

    def surrogate(self, row: AttackRow) -> Surrogate:
        """Return what an attack of the suite is crafted on.

        Args:
            row: the attack.

        Returns:
            The target itself for white-box rows, the stolen base for all others.
        """
        if row.knowledge == "white_box":
            return target_itself(self.jury.models[self.jury.target], self.jury.digests[self.jury.target])
        return stolen_base(self.jury.models[BASE], self.jury.digests[BASE])

    @property
    def device_name(self) -> str:
        """The device type of the target, and the name of the accelerator if it is one."""
        device = self.jury.models[self.jury.target].device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name}: expected a whole number >= {least}, got {value!r}; pass e.g. {name}={max(least, 1)}")


def _checked_threats(threat: ThreatModel | Sequence[ThreatModel]) -> tuple[ThreatModel, ...]:
    threats = (threat,) if isinstance(threat, ThreatModel) else tuple(threat)
    if not threats or not all(isinstance(item, ThreatModel) for item in threats):
        raise InputError(f"threat: expected a ThreatModel or several, got {threat!r}; build one with ThreatModel(...)")
    if len({item.bounds for item in threats}) > 1:
        raise InputError(
            f"threat: expected equal bounds in all threat models, got {[item.bounds for item in threats]}; "
            "run one evaluation per range of inputs"
        )
    if len({item.norm for item in threats}) < len(threats):
        raise InputError(
            f"threat: expected one threat model per norm, got {[item.norm for item in threats]}; put all radii in one"
        )
    return threats
