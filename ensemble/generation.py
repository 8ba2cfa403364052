"""The record of what generation did: enough to judge every member and to say which data it saw."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ensemble.hardening.report import HardeningReport
from ensemble.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    """What was done at one site of one member.

    Attributes:
        site: the site's name.
        hidden: units the group element acts on.
        regressors: inputs of the refit per output unit.
        rows: rows of the refit (calibration inputs x positions).
        rank: numerical rank of the regressors.
        residual: relative error of the refit on all rows; 0 reproduces the base on the calibration inputs.
        condition: condition number of the ridge-stabilised Gram matrix.
        element_condition: condition number of the group element.
        blow_up: |U'||V'| / (|U||V|), spectral norms of the flattened weights: how fast errors may grow off the data.
        start_residual: residual on the probe rows before the search.
        end_residual: residual on the probe rows after it.
        coordinate: Q of the finished member at the site, summed over units: where it lies in the valley; None where
            the activation has no degree, and in records of earlier versions.
        base_coordinate: the same of the base.
    """

    site: str
    hidden: int
    regressors: int
    rows: int
    rank: int | None
    residual: float
    condition: float
    element_condition: float
    start_residual: float
    end_residual: float
    blow_up: float
    coordinate: float | None = None
    base_coordinate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redraw:
    """A member that failed a gate and was drawn again.

    Attributes:
        member: its index.
        site: where it failed.
        reason: the gate and the value.
    """

    member: int
    site: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleTrial:
    """A scale that was tried to keep the clean drop within its bound.

    Attributes:
        scale: tau.
        clean_drop: share of held-out calibration inputs on which the trial member differs from the base.
    """

    scale: float
    clean_drop: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What was done to make an ensemble.

    Attributes:
        recipe: the settings.
        seed: initial seed of the generator.
        calibration_rows: unlabelled inputs used.
        calibration_digest: their digest, for the check that evaluation inputs are others.
        base_digest: digest of the base network.
        sites: per member that was built, per site; a trunk that is itself the last member has no row.
        agreement: per member, share of calibration inputs on which its label is the base's.
        redraws: members that failed a gate and were drawn again.
        scale_trials: scales tried for `max_clean_drop`, in order; the recipe holds the one that was kept.
        candidates: members generated before the most diverse subset was kept.
        hardening: what refining the trunk did; None where the trunk is the base.
    """

    recipe: Recipe
    seed: int
    calibration_rows: int
    calibration_digest: str
    base_digest: str
    sites: tuple[tuple[SiteReport, ...], ...]
    agreement: tuple[float, ...]
    redraws: tuple[Redraw, ...] = ()
    scale_trials: tuple[ScaleTrial, ...] = ()
    candidates: int = 0
    hardening: HardeningReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Generation":
        """Return the record that `to_dict` wrote.

        Raises:
            KeyError, TypeError, InputError: the values are not such a record.
        """
        hardening = values.get("hardening")
        members = tuple(tuple(SiteReport(**report) for report in reports) for reports in values["sites"])
        return cls(
            **{
                **values,
                "recipe": Recipe.from_dict(values["recipe"]),
                "sites": members,
                "agreement": tuple(values["agreement"]),
                "redraws": tuple(Redraw(**redraw) for redraw in values["redraws"]),
                "scale_trials": tuple(ScaleTrial(**trial) for trial in values["scale_trials"]),
                "hardening": None if hardening is None else HardeningReport.from_dict(hardening),
            }
        )
