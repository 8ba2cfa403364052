"""Certificates beside what attacks leave: certified, then accuracy under attack, then clean."""

from typing import TYPE_CHECKING, Any, Final

from service.web import words
from service.web.charts import Point, Role, Series
from service.web.tables import Table, table

if TYPE_CHECKING:
    from attacks.report import EvaluationReport
    from attacks.schema import Proportion, ThreatModelResult

#: The method whose line stands under the curves.
DRAWN: Final = "IBP"


def bracket(report: "EvaluationReport") -> Table | None:
    """Return one row per certificate, with the accuracy under attack above it; None where nothing was certified.

    Args:
        report: the evaluation.
    """
    if not report.certificates:
        return None
    titles = ("<Network", "<Method", "Radius", "Certified", "Interval", "Under attack", "Clean", "Time")
    caption = (
        "Certified: the share of images whose answer no change within the radius can turn, proved by bounds on every "
        "layer, with Wilson 95 % intervals. It stands below the accuracy under attack by definition; the gap is what "
        "neither attacks nor proofs have settled. The images certified are a part of those attacked."
    )
    return table(caption, titles, [_row(report, item) for item in report.certificates])


def _row(report: "EvaluationReport", item: dict[str, Any]) -> tuple[str, ...]:
    of = item.get("certified") or {}
    count, n = of.get("k"), of.get("n")
    target, norm, epsilon = str(item.get("target", "")), str(item.get("norm", "")), float(item["epsilon"])
    radius = words.epsilon(epsilon)
    attacked = _under_attack(report, target, norm, epsilon)
    clean = next((one.clean_accuracy for one in report.clean if one.target == target), None)
    return (
        _network(target, str(item.get("method"))),
        str(item.get("method")),
        f"{words.norm_label(norm)} ≤ {radius}" if norm else radius,
        f"{count if count is not None else words.DASH} of {n if n is not None else words.DASH}",
        words.interval(of.get("low"), of.get("high")),
        words.percent(attacked.value) if attacked else words.DASH,
        words.percent(clean.value) if clean else words.DASH,
        words.seconds(item.get("seconds")),
    )


def _network(target: str, method: str) -> str:
    """What an exact symmetry inherits belongs to the ensembles of the null test, not to a judge of this report."""
    if "inherited" in method:
        return "exact-symmetry ensembles"
    return words.target_label(target) if target else words.DASH


def _under_attack(report: "EvaluationReport", target: str, norm: str, epsilon: float) -> "Proportion | None":
    for model in report.threat_models:
        if (model.name, model.norm) == ("white_box", norm):
            for result in model.results:
                if (result.target, result.epsilon) == (target, epsilon):
                    return result.robust_accuracy
    return None


def certified_series(report: "EvaluationReport", threat: "ThreatModelResult") -> Series | None:
    """Return the line of certified shares of the served network, for the white-box chart of its norm.

    Args:
        report: the evaluation.
        threat: one of its threat models.
    """
    if threat.name != "white_box":
        return None
    own = (report.headline.target, threat.norm, DRAWN)
    points = []
    for item in report.certificates:
        of = item.get("certified") or {}
        if (item.get("target"), item.get("norm"), item.get("method")) == own and of.get("n"):
            k, n = of["k"], of["n"]
            share = k / n
            points.append(Point(float(item["epsilon"]), share, of.get("low", share), of.get("high", share), k, n))
    if not points:
        return None
    return Series("certified", "certified (interval bounds)", Role.CERTIFIED, tuple(points))
