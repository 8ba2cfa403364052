"""A finished report as one self-contained page and as Markdown, rendered from the report model alone.

Neither torch nor the attack library is loaded: the model is only named for the type checker.
"""

import base64
from typing import TYPE_CHECKING

from service.web import bracket, figures, gallery, plots, sections, summary, words
from service.web.charts import CurveChart, HeatMap
from service.web.markdown import render
from service.web.policy import report_meta_policy
from service.web.rendering import environment, report_style
from service.web.view import Figure, ReportView, Threat

if TYPE_CHECKING:
    from attacks.report import EvaluationReport


def render_html(report: "EvaluationReport") -> str:
    """Return the report as one offline page: no script, no outside file, the same text for the same report.

    Args:
        report: a finished evaluation; nothing else is read.
    """
    view = view_of(report)
    style = report_style()
    shown = [*(one for threat in view.threats for one in threat.figures), *view.transfer]
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            view=view,
            style=style,
            policy=report_meta_policy(style),
            wide={one.chart: _embedded(one.chart, plots.WIDE) for one in shown},
            narrow={
                one.chart: _embedded(one.chart, plots.NARROW) for one in shown if isinstance(one.chart, CurveChart)
            },
        )
    )


def render_markdown(report: "EvaluationReport") -> str:
    """Return the report as Markdown: the same sentences and tables, charts as their tables.

    Args:
        report: a finished evaluation; nothing else is read.
    """
    return render(view_of(report))


def view_of(report: "EvaluationReport") -> ReportView:
    """Return what a reader sees of a report, in order."""
    return ReportView(
        title=summary.title(report),
        byline=summary.byline(report),
        verdict=summary.verdict(report),
        ranges=summary.ranges(report),
        chance=report.data.chance_accuracy,
        threats=_threats(report),
        attacks=sections.attacks(report),
        further=sections.further_attacks(report),
        transfer=figures.transfer_figures(report),
        tally=sections.tally(report),
        families=sections.families(report),
        checks_not_run=sections.checks_not_run(report),
        certificates=bracket.bracket(report),
        gallery=gallery.exhibits(report),
        costs=sections.costs(report),
        not_run=sections.not_run(report),
        provenance=sections.provenance(report),
        limits=sections.limits(report),
        digest=report.report_digest or report.digest,
        schema=f"{report.schema_} {report.schema_version}",
    )


def _threats(report: "EvaluationReport") -> tuple[Threat, ...]:
    several = len({model.norm for model in report.threat_models}) > 1
    return tuple(
        Threat(
            anchor=f"threat-{index}",
            title=words.threat_title(model.name) + (f", {words.norm_label(model.norm)}" if several else ""),
            sentence=model.sentence,
            figures=(figures.curve_figure(report, model),),
            gains=sections.gains(model, report.headline.target),
            random=sections.random_serving(model, report.headline.target),
        )
        for index, model in enumerate(report.threat_models)
    )


def _embedded(chart: CurveChart | HeatMap, size: plots.Size) -> str:
    drawn = plots.accuracy_curve(chart, size) if isinstance(chart, CurveChart) else plots.heat_map(chart)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn).decode()}"


__all__ = ["Figure", "render_html", "render_markdown", "view_of"]
