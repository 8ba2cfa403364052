"""Builds one member, site by site, and judges every site as it goes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ensemble.errors import CalibrationError
from ensemble.flow.coordinates import site_quantity
from ensemble.generation import Redraw, SiteReport
from ensemble.graph import TracedNetwork
from ensemble.layers import FoldedLayer, LayerRef, fold
from ensemble.members import MemberLayers
from ensemble.recipe import Recipe
from ensemble.sampling import problem_of, reads_of_base, reads_of_member
from ensemble.search import SearchResult, search
from ensemble.sites import Site
from ensemble.stream import Stream


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A finished member.

    Attributes:
        layers: its changed layers, BatchNorm folded in.
        sites: what was done at each site.
        redraws: earlier draws that failed a gate.
    """

    layers: MemberLayers
    sites: tuple[SiteReport, ...]
    redraws: tuple[Redraw, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Builder:
    """What all members of one ensemble are built from.

    Attributes:
        traced: the base's graph.
        sites: where group elements act, in order.
        clean: calibration inputs `[n ...]`.
        inputs: clean inputs and their crafted copies `[n*(1 + copies) ...]`.
        recipe: the settings.
        step: told of every finished site.
    """

    traced: TracedNetwork
    sites: Sequence[Site]
    clean: Tensor
    inputs: Tensor
    recipe: Recipe
    step: Callable[[str], None]

    def member(self, index: int, rng: torch.Generator) -> Member:
        """Return member `index`, drawn again while it fails a gate.

        Raises:
            CalibrationError: every draw failed; the message lists why.
        """
        redraws: list[Redraw] = []
        for _ in range(self.recipe.redraws + 1):
            result = self._draw(index, rng)
            if isinstance(result, Redraw):
                redraws.append(result)
                continue
            layers, reports = result
            return Member(layers, self._located(layers, reports), tuple(redraws))
        reasons = "; ".join(f"{redraw.site}: {redraw.reason}" for redraw in redraws)
        raise CalibrationError(
            f"member {index} failed its gates in {len(redraws)} draws ({reasons}); lower the scale, add calibration "
            "inputs, or widen max_blow_up and max_residual"
        )

    def _draw(self, index: int, rng: torch.Generator) -> tuple[MemberLayers, list[SiteReport]] | Redraw:
        base, member = Stream(self.traced, self.clean), Stream(self.traced, self.inputs)
        layers: MemberLayers = {}
        reports: list[SiteReport] = []
        for position, site in enumerate(self.sites):
            lower, upper = (self._current(layers, ref) for ref in (site.lower, site.upper))
            result = self._act(site, upper, base, member, rng)
            layers[site.lower] = lower.mix_output(result.element.matrix)
            layers[site.upper] = result.upper
            blow_up = _norm(result.upper) * _norm(layers[site.lower]) / (_norm(upper) * _norm(lower))
            report = _report(site, result, blow_up)
            failed = self._failed(index, report)
            if failed is not None:
                self.step(f"member {index}: drawn again, {failed.site}: {failed.reason}")
                return failed
            member.replace({ref: layers[ref] for ref in (site.lower, site.upper)})
            later = self.sites[position + 1 :]
            member.keep_for([name for site_ in later for name in reads_of_member(site_)])
            base.keep_for([reads_of_base(site_) for site_ in later])
            reports.append(report)
            self.step(f"member {index}: {site.name}, residual {result.fit.residual:.3f}")
        return layers, reports

    def _act(self, site: Site, upper: FoldedLayer, base: Stream, member: Stream, rng: torch.Generator) -> SearchResult:
        problem = problem_of(site, upper, base, member, self.recipe, rng)
        group = site.bounded_group(self.recipe.max_condition)
        return search(problem, group.sample(site.hidden, scale=self.recipe.scale, rng=rng), self.recipe, rng)

    def _located(self, layers: MemberLayers, reports: Sequence[SiteReport]) -> tuple[SiteReport, ...]:
        """Return the reports with the member's coordinates; a site's are final when its neighbours are."""
        located = []
        for site, report in zip(self.sites, reports, strict=True):
            base, member = (
                site_quantity(site, *(self._current(own, ref) for ref in (site.lower, site.upper)))
                for own in ({}, layers)
            )
            located.append(replace(report, coordinate=member, base_coordinate=base))
        return tuple(located)

    def _current(self, layers: MemberLayers, ref: LayerRef) -> FoldedLayer:
        return layers[ref] if ref in layers else fold(self.traced.graph, ref)

    def _failed(self, index: int, report: SiteReport) -> Redraw | None:
        gates = (
            ("blow-up", report.blow_up, self.recipe.max_blow_up),
            ("residual", report.residual, self.recipe.max_residual),
        )
        for name, value, bound in gates:
            if not value <= bound:
                return Redraw(member=index, site=report.site, reason=f"{name} {value:.3g} above {bound:.3g}")
        return None


def _report(site: Site, result: SearchResult, blow_up: float) -> SiteReport:
    return SiteReport(
        site=site.name,
        hidden=site.hidden,
        regressors=site.regressors,
        rows=result.fit.rows,
        rank=result.fit.rank,
        residual=result.fit.residual,
        condition=result.fit.condition,
        element_condition=result.element.condition(),
        start_residual=result.start_residual,
        end_residual=result.end_residual,
        blow_up=blow_up,
    )


def _norm(layer: FoldedLayer) -> float:
    return float(torch.linalg.matrix_norm(layer.weight.flatten(1).double(), 2))
