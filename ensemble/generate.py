"""From one trained network to many: base + calibration inputs + recipe + rng -> `SymmetryEnsemble`, site by site.

Each member is built in the order of its sites, with the member's own activations going in and the base's clean
activations as target, so that what one site misses the next one corrects (docs/mathematics.md, section 6). No label is
used: crafted calibration inputs are made against the base's own prediction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemble.crafting import craft
from ensemble.digests import network_digest, tensor_digest
from ensemble.errors import InputError
from ensemble.generation import Generation, SiteReport
from ensemble.graph import TracedNetwork, trace
from ensemble.groups import GeneralLinear
from ensemble.layers import FoldedLayer, LayerRef, fold
from ensemble.members import MemberLayers, SymmetryEnsemble
from ensemble.recipe import Recipe
from ensemble.search import SearchResult, SiteProblem, search
from ensemble.sites import Site, sites_of
from ensemble.stream import Stream


@dataclass(frozen=True, slots=True)
class Progress:
    """How far generation has come.

    Attributes:
        done: steps finished.
        total: steps in all.
        message: what was finished last.
    """

    done: int
    total: int
    message: str


ProgressCallback = Callable[[Progress], None]


def generate(
    network: nn.Module,
    calibration: Tensor,
    *,
    members: int = 8,
    recipe: Recipe | None = None,
    rng: torch.Generator,
    progress: ProgressCallback | None = None,
) -> SymmetryEnsemble:
    """Return an ensemble of `members` networks on (almost) the base's level set.

    Args:
        network: trained classifier in evaluation mode, inputs `[batch channel height width]` (or `[batch features]`) to
            logits `[batch classes]`; it is copied, never changed or moved.
        calibration: unlabelled inputs `[n ...]` on the network's device, inside the recipe's bounds.
        members: how many members.
        recipe: settings; None for the preset `balanced`.
        rng: CPU generator; the same seed on the same device gives the same bytes.
        progress: called after every finished step.

    Raises:
        InputError: wrong shapes, non-finite or constant calibration inputs, values outside the bounds, members < 1,
            training mode, NaN weights, mixed devices or dtypes.
        TraceError: torch.fx cannot follow the forward.
        NoSiteError: the network has no site.
        CalibrationError: a refit cannot be trusted, for example with fewer rows than it has regressors.
    """
    settings = Recipe() if recipe is None else recipe
    _check(calibration, members, settings)
    traced = trace(network, calibration)
    sites = sites_of(traced)
    report = _Reporter(progress, total=1 + members * len(sites))
    seed = rng.initial_seed()
    inputs = _with_crafted(network, calibration, settings, rng)
    report.step(f"crafted {inputs.shape[0] - calibration.shape[0]} calibration inputs on the base")
    built: list[MemberLayers] = []
    site_reports: list[list[SiteReport]] = []
    for k in range(members):
        # One generator per member: member k does not depend on how many come after it.
        own = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=rng)))
        layers, reports = _build_member(traced, sites, calibration, inputs, settings, own, k, report)
        built.append(layers)
        site_reports.append(reports)
    ensemble = SymmetryEnsemble.from_members(network, calibration, built)
    return ensemble.with_generation(
        Generation(
            recipe=settings,
            seed=seed,
            calibration_rows=calibration.shape[0],
            calibration_digest=tensor_digest(calibration),
            base_digest=network_digest(network),
            sites=tuple(tuple(reports) for reports in site_reports),
            agreement=_agreement(network, ensemble, calibration),
        )
    )


def _build_member(
    traced: TracedNetwork,
    sites: Sequence[Site],
    clean: Tensor,
    inputs: Tensor,
    recipe: Recipe,
    rng: torch.Generator,
    index: int,
    report: "_Reporter",
) -> tuple[MemberLayers, list[SiteReport]]:
    base, member = Stream(traced, clean), Stream(traced, inputs)
    layers: MemberLayers = {}
    reports: list[SiteReport] = []
    for position, site in enumerate(sites):
        lower, upper = (_current(traced, layers, ref) for ref in (site.lower, site.upper))
        result = _act_on_site(site, upper, base, member, recipe, rng)
        layers[site.lower] = lower.mix_output(result.element.matrix)
        layers[site.upper] = result.upper
        member.replace({ref: layers[ref] for ref in (site.lower, site.upper)})
        later = [_read_names(site_) for site_ in sites[position + 1 :]]
        member.keep_for([name for names in later for name in names.member])
        base.keep_for([names.base for names in later])
        reports.append(_site_report(site, result))
        report.step(f"member {index}: {site.name}, residual {result.fit.residual:.3f}")
    return layers, reports


def _act_on_site(
    site: Site, upper: FoldedLayer, base: Stream, member: Stream, recipe: Recipe, rng: torch.Generator
) -> SearchResult:
    names = _read_names(site)
    (wanted,) = base.read([names.base])
    values = member.read(names.member)
    preactivation = values[0]
    target = wanted.repeat(member.rows // base.rows, *[1] * (wanted.ndim - 1))
    if site.shortcut is not None:
        target = target - values[1]
    traced = member.traced
    activation_input, upper_input = traced.node(site.preactivation), traced.node(site.upper_input)
    override = dict(member.override)

    def through(z: Tensor) -> Tensor:
        value = traced.run([upper_input], {activation_input: z}, override)[upper_input]
        assert isinstance(value, Tensor)
        return value

    problem = SiteProblem(preactivation, target, through, upper, site.channel_axis, site.affine)
    start = GeneralLinear(recipe.max_condition).sample(site.hidden, scale=recipe.scale, rng=rng)
    return search(problem, start, recipe, rng)


@dataclass(frozen=True, slots=True)
class _ReadNames:
    base: str
    member: tuple[str, ...]


def _read_names(site: Site) -> _ReadNames:
    """Return the nodes a site reads from either stream."""
    base = site.upper_output if site.addition is None else site.addition
    shortcut = () if site.shortcut is None else (site.shortcut,)
    return _ReadNames(base, (site.preactivation, *shortcut, site.lower_input))


def _current(traced: TracedNetwork, layers: MemberLayers, ref: LayerRef) -> FoldedLayer:
    return layers[ref] if ref in layers else fold(traced.graph, ref)


def _site_report(site: Site, result: SearchResult) -> SiteReport:
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
    )


def _with_crafted(network: nn.Module, clean: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    copies = [
        craft(network, clean, radius=radius, steps=recipe.crafting_steps, bounds=recipe.bounds, rng=rng)
        for radius in recipe.crafting_radii
    ]
    return torch.cat([clean, *copies])


def _agreement(network: nn.Module, ensemble: SymmetryEnsemble, inputs: Tensor, chunk: int = 128) -> tuple[float, ...]:
    """Return, per member, the share of calibration inputs on which its label is the base's."""
    with torch.no_grad():
        base = torch.cat([network(part).argmax(1) for part in inputs.split(chunk)])
        labels = torch.cat([ensemble.member_logits(part).argmax(2) for part in inputs.split(chunk)], dim=1)
    return tuple(float(share) for share in (labels == base).float().mean(1))


def _check(calibration: Tensor, members: int, recipe: Recipe) -> None:
    if not isinstance(members, int) or isinstance(members, bool) or members < 1:
        raise InputError(f"members: expected an integer >= 1, got {members!r}")
    if not isinstance(calibration, Tensor) or calibration.ndim < 2 or calibration.shape[0] < 2:
        shape = tuple(calibration.shape) if isinstance(calibration, Tensor) else type(calibration).__name__
        raise InputError(f"calibration: expected a tensor [n ...] of at least 2 inputs, got {shape}")
    if not calibration.is_floating_point():
        raise InputError(f"calibration: expected a floating dtype (the network's), got {calibration.dtype}")
    if not bool(torch.isfinite(calibration).all()):
        raise InputError("calibration: expected finite values, got NaN or infinity; drop the damaged inputs")
    low, high = float(calibration.min()), float(calibration.max())
    if low < recipe.bounds[0] or high > recipe.bounds[1]:
        raise InputError(
            f"calibration: expected values in {list(recipe.bounds)}, got [{low:g}, {high:g}]; "
            "scale the inputs (normalisation belongs to the network) or set the recipe's bounds"
        )
    if bool((calibration == calibration[:1]).all()):
        raise InputError(
            "calibration: expected different inputs, got one input repeated; use inputs drawn from the data"
        )


class _Reporter:
    def __init__(self, callback: ProgressCallback | None, total: int) -> None:
        self._callback, self._total, self._done = callback, total, 0

    def step(self, message: str) -> None:
        self._done += 1
        if self._callback is not None:
            self._callback(Progress(self._done, self._total, message))
