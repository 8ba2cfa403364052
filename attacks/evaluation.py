"""The heavy context of an evaluation: networks, points, threat models, suite. Built once per process, only read."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.building import BUILDERS
from attacks.canonical import seed_from
from attacks.controls import baselines
from attacks.data import DataDescription, LabelledData, check_beside, check_inputs, check_labels, check_like
from attacks.draws import GroupDraws, group_draws
from attacks.jury import BASE, Jury, assemble
from attacks.kinds import KINDS
from attacks.modes import SERVING_MODES
from attacks.overrides import Overrides, with_overrides
from attacks.rows import AttackRow, Suite
from attacks.store import Shelf
from attacks.suites import AUDIT, suite_named
from attacks.surrogates import Surrogate, check_own_sample, independent
from attacks.targets import Coding, coding_named, wrap
from attacks.threat import ThreatModel, check_bounds
from attacks.workshop import Workshop
from ensemble.digests import network_digest, tensor_digest
from ensemble.errors import InputError, UnknownName

#: Raised by hand when the meaning of a shard's result changes.
SHARD_VERSION = "3"
#: Crafting runs held ready for the cascades of the same block.
SHELF = 24


def levelset_version() -> str:
    """Return the installed version of the distribution, part of every shard's key."""
    try:
        return version("levelset")
    except PackageNotFoundError:
        return "not installed"


def code_version() -> list[str]:
    """Return the versions that a result depends on."""
    return [SHARD_VERSION, levelset_version(), torch.__version__]


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
        overrides: rows of it that are changed, left out or added.
        mode: how the target is served.
        datatype: how inputs are sent, "FP32" or "UINT8" (tensors and image files); UINT8 is rounded before any network.
        seed: root of every shard's seed.
        calibration_digests: `ensemble.tensor_digest` of calibration or training points, one by one or as a whole set.
        data: where the points come from.
        block: points per shard, the mini-batch of every attack.
        device: where copies of the networks are put; None leaves the networks where they are.
        threads: torch threads while a shard runs; part of every reproducibility claim.
        examples_folder: where examples and the attacker's own networks are kept; None keeps their digests only.
        attacker: the attacker's own sample, disjoint from every other; without it some attackers are NOT-RUN.
        validation: points that equal-accuracy noise may be fitted on.
        independents: networks trained independently of the base: the upper reference, and what an attacker crafts on
            that trained its own.
        other_draws: further ensembles of the same recipe and other seeds, judged on the no-query examples.
        draws: draws of the group in all, the target and the given ones included; what is missing is made from
            `calibration`. None takes the suite's number where there are calibration inputs.
        calibration: the inputs the target was generated from; needed for more draws.
        certify: points that interval bounds are computed for, 200 at most; 0 leaves certificates out.
        undefended: whether the base is known to have been trained without any defence; it must fall then.
        threats: the threat models as a tuple (derived).
        rows: the suite's rows for this mode (derived).
        jury: the judges (derived).
        workshop: what attackers craft on (derived).
        drawn: draws of the group that are made here (derived).
        shelf: crafting runs held ready (derived).
        point_digests: one digest per point (derived).
    """

    target: nn.Module
    base: nn.Module | None = None
    inputs: Tensor
    labels: Tensor
    threat: ThreatModel | Sequence[ThreatModel]
    suite: str = "quick"
    overrides: Overrides = field(default_factory=Overrides)
    mode: str = "prob"
    datatype: str = "FP32"
    seed: int = 0
    calibration_digests: Sequence[str] = ()
    data: DataDescription = field(default_factory=DataDescription)
    block: int = 64
    device: str | torch.device | None = None
    threads: int = 1
    examples_folder: Path | None = None
    attacker: LabelledData | None = None
    validation: LabelledData | None = None
    independents: Sequence[nn.Module] = ()
    other_draws: Sequence[nn.Module] = ()
    draws: int | None = None
    calibration: Tensor | None = None
    certify: int = 0
    undefended: bool = False
    threats: tuple[ThreatModel, ...] = field(init=False)
    rows: Suite = field(init=False)
    jury: Jury = field(init=False)
    workshop: Workshop = field(init=False)
    drawn: GroupDraws = field(init=False)
    shelf: Shelf[Any] = field(init=False)
    point_digests: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Check every field, wrap the networks and build the controls."""
        if self.mode not in SERVING_MODES:
            raise UnknownName("serving mode", str(self.mode), SERVING_MODES)
        self._set("rows", with_overrides(suite_named(self.suite), self.overrides).served_as(self.mode))
        self._set("threats", _checked_threats(self.threat))
        if self.draws is None:
            self._set("draws", 1 if self.calibration is None else self.rows.draws)
        coding_named(self.datatype, self.threats[0].bounds)
        for name, least in (("block", 1), ("threads", 1), ("seed", 0), ("certify", 0), ("draws", 1)):
            _check_whole(name, getattr(self, name), least)
        self._check_points()
        self._check_others()
        self._set("calibration_digests", self._used())
        self._set("point_digests", tuple(tensor_digest(point) for point in self.inputs))
        if self.attacker is not None:
            check_own_sample(self.attacker.inputs, evaluated=self.point_digests, used=self._defenders())
        self._set("jury", self._assemble())
        self._check_classes()
        self._set("shelf", Shelf(SHELF))
        self._set("workshop", self._furnish())

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

    def _check_others(self) -> None:
        bounds = self.threats[0].bounds
        check_beside("attacker", self.attacker, self.inputs, bounds)
        check_beside("validation", self.validation, self.inputs, bounds)
        if self.calibration is not None:
            check_like("calibration", self.calibration, self.inputs, bounds)
        if isinstance(self.calibration_digests, str):
            raise InputError("calibration_digests: expected a sequence of digests, got a single text; pass (digest,)")

    def _check_classes(self) -> None:
        """Check every label against the networks, which are known by now."""
        classes = self._common_classes()
        check_labels(self.labels, len(self.inputs), classes=classes)
        for data in (self.attacker, self.validation):
            if data is not None:
                check_labels(data.labels, len(data), classes=classes)

    def _used(self) -> tuple[str, ...]:
        """Return the digests of calibration and training points: those given, and each calibration input's own."""
        own = () if self.calibration is None else (tensor_digest(point.cpu()) for point in self.calibration)
        return (*self.calibration_digests, *own)

    def _defenders(self) -> tuple[str, ...]:
        """Return the digests of the points the defender used: no attacker has them."""
        recorded = getattr(getattr(self.target, "generation", None), "calibration_digest", None)
        return (*self.calibration_digests, *(() if recorded is None else (recorded,)))

    def _assemble(self) -> Jury:
        base = self.base if self.base is not None else getattr(self.target, "base", None)
        if base is None:
            raise InputError("base: expected the network an attacker may have stolen, got None; pass base=network")
        target = self.target
        if self.device is not None:
            base, target = (copy.deepcopy(network).to(self.device) for network in (base, target))
        found = baselines(
            target,
            seed=self.seed,
            mode=self.mode,
            validation=self.validation,
            independents=[self._placed(network) for network in self.independents],
            example=self._example,
            points=LabelledData(self.inputs, self.labels),
            folder=self.examples_folder,
        )
        self._set(
            "drawn",
            group_draws(
                target,
                base,
                network_digest(base),
                calibration=self.calibration,
                count=self.draws or 1,
                given=len(self.other_draws),
                seed=self.seed,
                bounds=self.threats[0].bounds,
                example=self._example,
                mode=self.mode,
                coding=self.coding,
                folder=self.examples_folder,
            ),
        )
        return assemble(
            target,
            base,
            bounds=self.threats[0].bounds,
            example=self._example,
            controls=found.networks,
            mode=self.mode,
            coding=self.coding,
            draws=[self._placed(network) for network in self.other_draws],
            absent=found.absent,
            notes=found.notes,
            drawn=self.drawn,
        )

    def _placed(self, network: nn.Module) -> nn.Module:
        return network if self.device is None else copy.deepcopy(network).to(self.device)

    def _furnish(self) -> Workshop:
        return Workshop(
            base=self.jury.models[BASE],
            digest=self.jury.digests[BASE],
            target=self.jury.models[self.jury.target].network,
            suite=self.rows,
            attacker=self.attacker,
            seed=self.seed,
            folder=self.examples_folder,
            independents=self._retrained(),
        )

    def _retrained(self) -> list[Surrogate]:
        settings: dict[str, Any] = {"bounds": self.threats[0].bounds, "example": self._example, "coding": self.coding}
        placed = [self._placed(network) for network in self.independents]
        return [
            independent(wrap(network, role=f"independents[{k}]", **settings), network_digest(network), index=k)
            for k, network in enumerate(placed)
        ]

    def _common_classes(self) -> int:
        classes = {name: model.classes for name, model in self.jury.models.items()}
        if len(set(classes.values())) > 1:
            raise InputError(
                f"target and base: expected the same number of classes, got {classes}; pass the matching base"
            )
        return classes[BASE]

    @property
    def coding(self) -> Coding:
        """What happens to inputs before a network sees them."""
        return coding_named(self.datatype, self.threats[0].bounds)

    @property
    def _example(self) -> Tensor:
        """A few points, no more than a block, that every network must accept."""
        return self.inputs[: min(8, self.block)]

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of every mini-batch, in order."""
        n = len(self.inputs)
        return tuple((start, min(start + self.block, n)) for start in range(0, n, self.block))

    @property
    def prepared(self) -> tuple[str, ...]:
        """What is made before the attacks, by name: other draws of the group, and what attackers craft on."""
        return (*self.drawn.sources, *self.workshop.materials)

    def identity_of(self, name: str) -> Any:
        """Return what one of `prepared` depends on, as JSON values."""
        source = self.drawn.sources.get(name)
        return self.workshop.identity(name) if source is None else {"kind": source.name, "source": source.digest}

    @property
    def audit(self) -> Tensor:
        """Indices of the audit subset, ascending: min(n, `AUDIT`) points chosen by the seed."""
        return self.subset(AUDIT)

    def subset(self, points: int | None) -> Tensor:
        """Return the indices of so many points, ascending, chosen by the seed; a smaller subset lies in a larger one.

        Args:
            points: how many at most; None means all.
        """
        rng = torch.Generator().manual_seed(seed_from(self.seed, "audit"))
        return torch.randperm(len(self.inputs), generator=rng)[:points].sort().values

    def block_of(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return the inputs `[batch channel height width]` and labels `[batch]` of a block."""
        return self.inputs[start:stop], self.labels[start:stop]

    def reason_against(self, row: AttackRow, threat: int) -> str:
        """Return why a row cannot be run under a threat model; nothing where it can.

        Args:
            row: of the suite.
            threat: index of the threat model.
        """
        norm = self.threats[threat].norm
        if row.kind not in BUILDERS:
            return "not implemented"
        if norm not in KINDS[row.kind].norms:
            return f"not defined in {norm}"
        if row.kind in NEEDS_SKIPS and self.workshop.reason_against_skips:
            return self.workshop.reason_against_skips
        if row.kind in NEEDS_UNIT_BOX and tuple(self.threats[threat].bounds) != (0.0, 1.0):
            return "foolbox's decision attacks need inputs in [0, 1]"
        if row.surrogate == "members":
            return "" if self.jury.members else "the target is a single network: there is no member to leak"
        if row.kind in NEEDS_MEMBERS and not self.jury.members:
            return "the target is a single network: there are no members to tell apart"
        return self.workshop.reason_against(row.surrogate)

    def runnable(self, threat: int) -> list[AttackRow]:
        """Return the rows of the suite that can be run under a threat model, in their order."""
        return [row for row in self.wanted(self.rows.rows, threat) if not self.reason_against(row, threat)]

    def wanted(self, rows: Sequence[AttackRow], threat: int) -> list[AttackRow]:
        """Return those of some rows that the suite wants in the norm of a threat model."""
        norm = self.threats[threat].norm
        return [row for row in rows if not row.norms or norm in row.norms]

    def cascade_rows(self, threat: int, judge: str) -> list[AttackRow]:
        """Return the white-box attacks on one network, cheapest first.

        Args:
            threat: index of the threat model.
            judge: the network attacked; what needs members is left out for a single network.
        """
        alone = judge not in self.jury.ensembles
        return [
            row
            for row in self.runnable(threat)
            if row.knowledge == "white_box" and not (alone and (row.through or row.kind in NEEDS_MEMBERS))
        ]

    def start_rows(self, threat: int) -> list[AttackRow]:
        """Return the rows whose examples a white-box attacker tries before any attack of its own."""
        return [row for row in self.runnable(threat) if crafted_elsewhere(row) and row.gradient and row.radii == "all"]

    def surrogate_digest(self, run: Any) -> str | None:
        """Return the digest of what a run was crafted on; None where it needs no network."""
        if not run.row.gradient:
            return None
        if run.row.surrogate == "target":
            return self.jury.digests[run.judge]
        if run.row.surrogate == "members":
            return None
        return self.workshop.digest(run.row.surrogate)

    @property
    def device_name(self) -> str:
        """The device type of the target, and the name of the accelerator if it is one."""
        device = self.jury.models[self.jury.target].device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


#: Kinds that ask members one by one.
NEEDS_MEMBERS = frozenset({"reweighted", "greedy_members", "eot"})
#: Kinds that need residual branches in the base.
NEEDS_SKIPS = frozenset({"sgm"})
#: Kinds of foolbox that clip to [0, 1] whatever the bounds.
NEEDS_UNIT_BOX = frozenset({"hopskipjump", "boundary"})


def crafted_elsewhere(row: AttackRow) -> bool:
    """Return whether a row's examples are made without the target, once for all judges."""
    return row.surrogate not in ("target", "members")


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
