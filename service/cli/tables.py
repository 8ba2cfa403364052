"""Tables on the terminal, at most 80 columns wide."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from service.catalogue.model_info import ModelInfo
from service.web.words import epsilon as radius

if TYPE_CHECKING:
    from attacks import EvaluationReport
    from attacks.schema import Proportion

BASE = "base"
SHOWN_MEMBERS = 16  # whose coordinates are listed one by one
SHOWN = {"stolen_base": "stolen base", "fresh_members": "members of its own", "white_box": "white box"}


def generation_table(info: ModelInfo) -> Table:
    """Return what was done at each site, averaged over the members."""
    agreement = info.generation.get("agreement") or ()
    mean = sum(agreement) / len(agreement) if agreement else float("nan")
    table = Table(
        title=f"{info.name} version {info.version}: {info.members} members",
        caption=f"members answer like the base on {100 * mean:.1f} % of the calibration images",
    )
    for title in ("site", "units", "residual", "condition", "rank"):
        table.add_column(title, justify="left" if title == "site" else "right")
    members = info.generation.get("sites") or ()
    for reports in zip(*members, strict=True):
        first = reports[0]
        table.add_row(
            first["site"],
            str(first["hidden"]),
            f"{_mean(report['residual'] for report in reports):.3f}",
            f"{max(report['element_condition'] for report in reports):.0f}",
            f"{min(report['rank'] for report in reports)}/{first['regressors']}",
        )
    return table


def coordinates_table(info: ModelInfo) -> Table | None:
    """Return where base and members lie in the valley, one row per site; None where no site has a coordinate."""
    sites = list(zip(*(info.generation.get("sites") or ()), strict=True))
    located = [reports for reports in sites if reports[0].get("base_coordinate") is not None]
    if not located:
        return None
    table = Table(title="coordinates in the valley: Q of each site, summed over its units")
    table.add_column("site", overflow="fold")
    table.add_column("base", justify="right", no_wrap=True)
    table.add_column("members, in their order")
    for reports in located:
        values = [report["coordinate"] for report in reports]
        table.add_row(reports[0]["site"], f"{reports[0]['base_coordinate']:.3g}", _coordinates(values))
    return table


def _coordinates(values: Sequence[float]) -> str:
    """Return every member's Q; of many members, the lowest and the highest."""
    if len(values) > SHOWN_MEMBERS:
        return f"{min(values):.3g} to {max(values):.3g} ({len(values)} members)"
    return "  ".join(f"{value:.3g}" for value in values)


def report_table(report: "EvaluationReport") -> Table:
    """Return the accuracies of base and target, one row per kind of attacker and radius, with 95 % Wilson intervals."""
    head = report.headline
    table = Table(
        title=f"accuracy on {report.data.n} {report.data.name} images ({report.data.split}), {report.status.label}",
        caption="worst case of the listed attacks, 95 % Wilson intervals; a better attack can only lower it",
    )
    for title in ("attacker", "epsilon", "base", head.target):
        table.add_column(title, justify="left" if title == "attacker" else "right")
    table.add_row("none (clean)", "0", _share(head.base_clean_accuracy), _share(head.clean_accuracy), end_section=True)
    for model in report.threat_models:
        cells = {(found.epsilon, found.target): found.robust_accuracy for found in model.results}
        name = SHOWN.get(model.name, model.name.replace("_", " "))
        for position, epsilon in enumerate(model.epsilons):
            table.add_row(
                f"{name} ({model.norm})" if position == 0 else "",
                radius(epsilon),
                _share(cells.get((epsilon, BASE))),
                _share(cells.get((epsilon, head.target))),
                end_section=position == len(model.epsilons) - 1,
            )
    return table


def _share(proportion: "Proportion | None") -> str:
    """Return `81.0 % (75.0 to 85.8)`; counts where there are too few to state a rate."""
    if proportion is None:
        return "-"
    if proportion.value is None or proportion.low is None or proportion.high is None:
        return f"{proportion.k} of {proportion.n}"
    return f"{100 * proportion.value:.1f} % ({100 * proportion.low:.1f} to {100 * proportion.high:.1f})"


def _mean(values: "Iterable[float]") -> float:
    listed = list(values)
    return sum(listed) / len(listed)
