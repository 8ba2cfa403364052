"""Charts of a report with the numbers behind them: what the report holds, as values that `plots` can draw."""

from typing import TYPE_CHECKING, Final

from service.web import words
from service.web.bracket import certified_series
from service.web.charts import CurveChart, HeatMap, Point, Role, Series
from service.web.tables import Table, table
from service.web.view import Figure

if TYPE_CHECKING:
    from attacks.report import EvaluationReport
    from attacks.schema import Curve, ThreatModelResult, Transfer

WORST: Final = "worst case"


def role_of(target: str) -> Role:
    """Return how the line of a network is drawn; an unknown network gets a line of its own kind."""
    if target.startswith("member"):
        return Role.MEMBER
    if target == "network":
        return Role.ENSEMBLE
    return {role.value: role for role in Role}.get(target, Role.OTHER)


def curve_chart(report: "EvaluationReport", threat: "ThreatModelResult") -> CurveChart:
    """Return accuracy against epsilon under one threat model.

    Args:
        report: the evaluation.
        threat: one of its threat models.
    """
    worst, raw = _curves(report, threat)
    members = sum(role_of(curve.target) is Role.MEMBER for curve in worst)
    certified = certified_series(report, threat)
    return CurveChart(
        title=words.threat_title(threat.name),
        norm=threat.norm,
        series=(*(_series(curve, members) for curve in worst), *([certified] if certified else [])),
        raw=tuple(_series(curve, members) for curve in raw),
        chance=report.data.chance_accuracy,
    )


def curve_figure(report: "EvaluationReport", threat: "ThreatModelResult") -> Figure:
    """Return the chart of `curve_chart` with its caption and the table of its numbers.

    Args:
        report: the evaluation.
        threat: one of its threat models.
    """
    chart = curve_chart(report, threat)
    target = words.target_label(report.headline.target)
    caption = (
        f"{chart.title}: accuracy against the radius in {words.norm_label(threat.norm)}, n = {report.data.n}. "
        f"Lines are the worst case over all attacks; short dashes are single attacks on the {target}."
    )
    worst, raw = _curves(report, threat)
    return Figure(chart, caption, _description(chart), _curve_table([*worst, *raw], threat, report.data.n))


def _curves(report: "EvaluationReport", threat: "ThreatModelResult") -> "tuple[list[Curve], list[Curve]]":
    """Worst cases of every network, and single attacks on the served one."""
    curves = [curve for curve in report.curves if (curve.model, curve.norm) == (threat.name, threat.norm)]
    worst = [curve for curve in curves if curve.attack == WORST]
    served = report.headline.target
    return worst, [curve for curve in curves if curve.attack != WORST and curve.target == served]


def transfer_figures(report: "EvaluationReport") -> tuple[Figure, ...]:
    """Return the transfer rates as a heat map, and the gradient cosines where they were measured.

    Args:
        report: the evaluation.
    """
    transfer = report.transfer
    if transfer is None or not transfer.sources or not transfer.members:
        return ()
    rows = tuple(words.target_short(name) for name in transfer.sources)
    columns = tuple(words.target_short(name) for name in transfer.members)
    radius = f"{words.norm_label(transfer.norm)} ≤ {words.epsilon(transfer.epsilon)}"
    caption = (
        f"Transfer rate of {transfer.attack} at {radius}, in percent: "
        "of the images that both networks answer correctly "
        "and that fool the one they were made on, the share that fools the other. "
        "A dash is a rate of fewer than 30 cases."
    ) + _spread(report)
    alt = f"Heat map of transfer rates at {radius}, {len(rows)} by {len(columns)}; the numbers are in the table below."
    chart = HeatMap("Transfer rate", rows, columns, tuple(tuple(row) for row in transfer.rate))
    figures = [Figure(chart, caption, alt, _transfer_table(transfer))]
    if transfer.gradient_cosine:
        names = tuple(words.target_short(f"member-{k}") for k in range(len(transfer.gradient_cosine)))
        values = tuple(tuple(row) for row in transfer.gradient_cosine)
        cosine = HeatMap("Gradient cosine", names, names, values, across="gradient of", down="gradient of")
        numbers = ((name, *(f"{x:.2f}" for x in row)) for name, row in zip(names, cosine.values, strict=True))
        data = table("Mean cosine of the members' input gradients", ("<Network", *names), numbers)
        figures.append(
            Figure(cosine, "Mean cosine of the input gradients of two networks, times 100.", data.caption, data)
        )
    return tuple(figures)


def _spread(report: "EvaluationReport") -> str:
    """What the check of the matrix says of the rates between different members."""
    numbers = next((check.numbers for check in report.checks if check.id == "E3"), {})
    mean, least, largest = (numbers.get(name) for name in ("mean", "least", "largest"))
    if not isinstance(mean, float) or not isinstance(least, dict) or not isinstance(largest, dict):
        return ""
    between = f"{words.percent(least.get('value'))} and {words.percent(largest.get('value'))}"
    interval = words.interval(numbers.get("low"), numbers.get("high"))
    return f" Between different members: mean {words.percent(mean)} {interval}, each between {between}."


def _series(curve: "Curve", members: int) -> Series:
    role = role_of(curve.target)
    label = f"members ({members})" if role is Role.MEMBER else words.target_label(curve.target)
    points = tuple(
        Point(point.epsilon, point.value, point.low or 0.0, point.value if point.high is None else point.high)
        for point in curve.points
        if point.value is not None
    )
    return Series(curve.target, label, role, points)


def _description(chart: CurveChart) -> str:
    said = []
    for series in chart.series:
        if series.role is not Role.MEMBER and series.points:
            last = series.points[-1]
            values = f"{words.percent(series.points[0].value)} clean, {words.percent(last.value)}"
            said.append(f"{series.label} {values} at {words.epsilon(last.epsilon)}")
    chance = f"; chance {words.percent(chart.chance)}" if chart.chance is not None else ""
    listed = "; ".join(said) + chance
    return f"Accuracy against radius, {chart.title.lower()}: {listed}. All numbers are in the table below."


def _curve_table(curves: "list[Curve]", threat: "ThreatModelResult", n: int) -> Table:
    epsilons = sorted({point.epsilon for curve in curves for point in curve.points})
    headings = (
        "<Network",
        "<Attack",
        *("clean" if value == 0 else f"ε = {words.epsilon(value)}" for value in epsilons),
    )
    rows = []
    for curve in curves:
        at = {point.epsilon: point for point in curve.points}
        cells = [
            f"{words.percent(at[e].value)} {words.interval(at[e].low, at[e].high)}" if e in at else words.DASH
            for e in epsilons
        ]
        rows.append((words.target_label(curve.target), curve.attack, *cells))
    model = f"{words.threat_title(threat.name)}, {words.norm_label(threat.norm)}"
    return table(f"{model}: accuracy with Wilson 95 % intervals, n = {n}", headings, rows)


def _transfer_table(transfer: "Transfer") -> Table:
    rows = [
        (
            words.target_label(source),
            words.target_label(judge),
            words.percent(transfer.rate[i][j]),
            words.number(transfer.denominators[i][j]),
            words.percent(transfer.rate_all_right[i][j]),
        )
        for i, source in enumerate(transfer.sources)
        for j, judge in enumerate(transfer.members)
    ]
    titles = ("<Crafted on", "<Judged on", "Transfer rate", "of", "Rate where all are right")
    return table(f"Transfer of {transfer.attack}", titles, rows)
