"""One stored ensemble as a reader sees it: its members, their places in the valley, their agreement, their cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.web import words
from service.web.records import Moment, Record, moment, plain

LEFT: Final = 8.0  # of a strip, in its own units
RIGHT: Final = 312.0
SHOWN: Final = 64  # members whose coordinates are drawn and listed; a thousand columns help nobody


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member in words; the share of calibration inputs on which it answers like the base, also as a number."""

    index: int
    agreement: float | None
    residual: str
    worst_site: str
    condition: str
    blow_up: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The coordinates of one site: the base's, and every member's.

    Attributes:
        site: its name.
        base: Q of the base, in words.
        values: Q of every member, in words.
        low: least value, in words.
        high: largest value, in words.
        base_at: place of the base on the strip.
        marks: place of every member on the strip.
    """

    site: str
    base: str
    values: tuple[str, ...]
    low: str
    high: str
    base_at: float
    marks: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CostRow:
    """What an execution of so many rows costs one view, and that as a multiple of the base network."""

    view: str
    seconds: str
    ratio: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """Everything the page of an ensemble shows, in order."""

    name: str
    version: str
    versions: tuple[str, ...]
    lede: str
    created: Moment | None
    facts: tuple[tuple[str, str, bool], ...]
    members: tuple[MemberRow, ...]
    strips: tuple[Strip, ...]
    costs: tuple[CostRow, ...]
    cost_note: str
    hidden: int


def model_view(record: Record, *, costs: Mapping[str, float] | None = None) -> ModelView:
    """Return what the page of a stored ensemble shows.

    Args:
        record: its description in the model repository, with `versions` where they are known.
        costs: measured seconds of the view `base`, one `member` and the `ensemble` for `rows` rows; None where the
            version does not answer.
    """
    model = plain(record)
    generation = model.get("generation") or {}
    sites: Sequence[Sequence[Mapping[str, Any]]] = generation.get("sites") or []
    count = int(model.get("members") or 0)
    return ModelView(
        name=str(model.get("name", words.DASH)),
        version=str(model.get("version", words.DASH)),
        versions=tuple(str(version) for version in model.get("versions") or ()),
        lede=_lede(model, count),
        created=moment(model.get("created_at")),
        facts=tuple(_facts(model, generation)),
        members=tuple(_members(generation.get("agreement") or [], sites[:SHOWN], min(count, SHOWN))),
        strips=tuple(_strips(sites[:SHOWN])),
        costs=tuple(_costs(costs or {}, count)),
        cost_note=_cost_note(costs or {}, count),
        hidden=max(0, count - SHOWN),
    )


def cost_share(costs: Mapping[str, float], members: int) -> float | None:
    """Return the seconds of the whole ensemble over those of as many base networks; None where nothing is measured."""
    whole, base = costs.get("ensemble", 0.0), costs.get("base", 0.0)
    return whole / (members * base) if whole > 0 and base > 0 and members > 0 else None


def _lede(model: Mapping[str, Any], count: int) -> str:
    shape = " × ".join(str(size) for size in model.get("input_shape") or ())
    noun = "member" if count == 1 else "members"
    text = f"{count} {noun} from one {model.get('architecture') or 'network of its own code'}"
    if model.get("dataset"):
        text += f", calibrated on {model['dataset']}"
    return f"{text}; takes {shape}, answers {model.get('num_classes', words.DASH)} classes."


def _facts(model: Mapping[str, Any], generation: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    recipe = generation.get("recipe") or {}
    rows: list[tuple[str, object, bool]] = [
        ("Digest", model.get("digest"), True),
        ("Base digest", model.get("base_digest"), True),
        ("Calibration", _calibration(generation), False),
        ("Calibration digest", model.get("calibration_digest"), True),
        ("Seed", generation.get("seed"), False),
        (
            "Recipe",
            "; ".join(
                f"{name.replace('_', ' ')} {_value(value)}" for name, value in recipe.items() if value is not None
            ),
            False,
        ),
        ("Drawn again", len(generation.get("redraws") or ()) or None, False),
        ("Candidates", generation.get("candidates") or None, False),
        ("Class names", ", ".join(map(str, model.get("class_names") or ())), False),
    ]
    return [(term, str(value), code) for term, value, code in rows if value not in (None, "")]


def _calibration(generation: Mapping[str, Any]) -> str:
    rows = generation.get("calibration_rows")
    return f"{rows} unlabelled inputs" if rows else ""


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_value(item)}" for name, item in value.items() if item is not None)
    return ", ".join(_value(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _members(agreement: Sequence[float], sites: Sequence[Sequence[Mapping[str, Any]]], count: int) -> list[MemberRow]:
    found = []
    for index in range(count):
        reports = sites[index] if index < len(sites) else []
        worst = max(reports, key=lambda report: float(report.get("residual", 0.0)), default={})
        found.append(
            MemberRow(
                index=index,
                agreement=float(agreement[index]) if index < len(agreement) else None,
                residual=_figure(worst.get("residual")),
                worst_site=str(worst.get("site", words.DASH)),
                condition=_figure(_largest(reports, "element_condition")),
                blow_up=_figure(_largest(reports, "blow_up")),
            )
        )
    return found


def _largest(reports: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return max((float(report[name]) for report in reports if report.get(name) is not None), default=None)


def _strips(sites: Sequence[Sequence[Mapping[str, Any]]]) -> list[Strip]:
    found = []
    for reports in zip(*sites, strict=False):
        base, values = reports[0].get("base_coordinate"), [report.get("coordinate") for report in reports]
        known = [float(value) for value in values if value is not None]
        if base is None or len(known) < len(values):
            continue
        low, high = min(*known, float(base)), max(*known, float(base))
        places = [_place(value, low, high) for value in (float(base), *known)]
        found.append(
            Strip(
                site=str(reports[0].get("site", words.DASH)),
                base=_figure(base),
                values=tuple(_figure(value) for value in known),
                low=_figure(low),
                high=_figure(high),
                base_at=places[0],
                marks=tuple(places[1:]),
            )
        )
    return found


def _place(value: float, low: float, high: float) -> float:
    return LEFT + (RIGHT - LEFT) * ((value - low) / (high - low) if high > low else 0.5)


def _costs(costs: Mapping[str, float], count: int) -> list[CostRow]:
    base = costs.get("base", 0.0)
    if base <= 0:
        return []
    rows = (("Base network", "base"), ("One member", "member"), (f"Ensemble, {count} members", "ensemble"))
    found = [CostRow(label, _milliseconds(costs[key]), f"{costs[key] / base:.2f}") for label, key in rows]
    per_member = costs["ensemble"] / max(count, 1)
    return [*found, CostRow("Ensemble, per member", _milliseconds(per_member), f"{per_member / base:.2f}")]


def _cost_note(costs: Mapping[str, float], count: int) -> str:
    share = cost_share(costs, count)
    if share is None:
        return "Nothing is measured: this version does not answer here."
    return (
        f"Predicted from the executions so far, for {costs['rows']:.0f} rows. The ensemble costs {share:.2f} times "
        f"what {count} base network{'s' * (count != 1)} would."
    )


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f}{words.NARROW}ms"


def _figure(value: object) -> str:
    if not isinstance(value, int | float):
        return words.DASH
    return f"{value:.3g}".replace("-", words.MINUS)
