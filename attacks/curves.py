"""Accuracy against epsilon, drawn from a report's own numbers."""

from collections.abc import Sequence

from attacks.schema import CleanResult, Curve, CurvePoint, Data, Proportion, RawResult, TargetResult, ThreatModelResult


def curves_of(models: Sequence[ThreatModelResult], clean: Sequence[CleanResult], data: Data) -> list[Curve]:
    """Return, for each threat model, every judge's worst case, each raw attack, and the chance line.

    Args:
        models: the report's threat models.
        clean: the report's clean results, the point at epsilon 0.
        data: for the best constant answer.

    Returns:
        One curve per (model, norm, target, attack), epsilons ascending.
    """
    at_zero = {item.target: item.clean_accuracy for item in clean}
    curves: list[Curve] = []
    for model in models:
        for target in dict.fromkeys(result.target for result in model.results):
            rungs = [result for result in model.results if result.target == target]
            curves += _curves_of(model, target, rungs, at_zero[target])
        curves.append(_chance_curve(model, data))
    return curves


def _curves_of(model: ThreatModelResult, target: str, rungs: list[TargetResult], clean: Proportion) -> list[Curve]:
    lines: dict[str, list[CurvePoint]] = {"worst case": [_point(0.0, clean)]}
    for rung in rungs:
        lines["worst case"].append(_point(rung.epsilon, rung.robust_accuracy))
        for raw in rung.raw:
            lines.setdefault(raw.attack, [_point(0.0, clean)]).append(_point(rung.epsilon, raw))
    return [
        Curve(model=model.name, norm=model.norm, target=target, attack=attack, points=_without_double_zero(points))
        for attack, points in lines.items()
    ]


def _point(epsilon: float, of: Proportion | RawResult) -> CurvePoint:
    return CurvePoint(epsilon=epsilon, k=of.k, n=of.n, value=of.value, low=of.low, high=of.high)


def _without_double_zero(points: list[CurvePoint]) -> list[CurvePoint]:
    """Drop the clean point where epsilon 0 was itself evaluated."""
    return points[1:] if len(points) > 1 and points[1].epsilon == 0 else points


def _chance_curve(model: ThreatModelResult, data: Data) -> Curve:
    k = round(data.chance_accuracy * data.n)
    value = data.chance_accuracy
    points = [
        CurvePoint(epsilon=epsilon, k=k, n=data.n, value=value, low=value, high=value)
        for epsilon in dict.fromkeys([0.0, *model.epsilons])
    ]
    return Curve(model=model.name, norm=model.norm, target="chance", attack="best constant answer", points=points)
