"""From two streams to the regression of one site: which rows and positions are held, and in which form.

What is held does not grow with the calibration set beyond a budget: images are sampled where whole maps would not fit.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.graph import TracedNetwork
from ensemble.layers import FoldedLayer
from ensemble.problem import MapProblem, PatchProblem, SharedProblem, SiteProblem
from ensemble.recipe import Recipe
from ensemble.sites import Site
from ensemble.stream import CHUNK, Stream

#: Bytes that the rows of one site may take.
BUDGET = 1 << 30
#: Above this many regressors the full refit is replaced by one pi for all positions.
MAX_REGRESSORS = 8192


def reads_of_base(site: Site) -> str:
    """Return the node of the base's clean output that a site's upper layer is fitted to."""
    return site.upper_output if site.addition is None else site.addition


def reads_of_member(site: Site) -> list[str]:
    """Return the nodes that a site reads from the member: z, the lower layer's input, the shortcut if there is one."""
    return [site.preactivation, site.lower_input, *([] if site.shortcut is None else [site.shortcut])]


def problem_of(
    site: Site, upper: FoldedLayer, base: Stream, member: Stream, recipe: Recipe, rng: torch.Generator
) -> SiteProblem:
    """Return the regression of a site.

    Args:
        site: where.
        upper: the upper layer as it stands in the member.
        base: clean inputs through the base.
        member: clean and crafted inputs through the member; row r belongs to the base's row r modulo the base's rows.
        recipe: how many positions per image are used.
        rng: CPU generator of the sample.
    """
    source = _Source(site, upper, base, member, _through(site, member), rng)
    if site.regressors > MAX_REGRESSORS:
        return _shared(source)
    positions = min(recipe.positions, _positions(member.traced, site.upper_output))
    if _patchable(source, positions):
        return _patches(source, positions)
    return _maps(source)


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """What every form of the regression is made from."""

    site: Site
    upper: FoldedLayer
    base: Stream
    member: Stream
    through: Callable[[Tensor], Tensor]
    rng: torch.Generator


def _through(site: Site, member: Stream) -> Callable[[Tensor], Tensor]:
    traced = member.traced
    start, end = traced.node(site.preactivation), traced.node(site.upper_input)
    override = dict(member.override)

    def through(z: Tensor) -> Tensor:
        value = traced.run([end], {start: z}, override)[end]
        assert isinstance(value, Tensor)
        return value

    return through


def _patchable(source: _Source, positions: int) -> bool:
    """Return whether patches are possible (nothing but the activation in between, zero stays zero) and cheaper."""
    site, traced, weight = source.site, source.member.traced, source.upper.weight
    template = source.upper.template
    if not isinstance(template, nn.Conv2d) or template.padding_mode != "zeros" or template.groups != 1:
        return False
    between = traced.between([traced.node(site.upper_input)], [traced.node(site.preactivation)])
    if len(between) != 1:
        return False
    zeros = torch.zeros(1, site.hidden, 1, dtype=weight.dtype, device=weight.device)
    if float(source.through(zeros).abs().max()):
        return False
    return 2 * positions <= _positions(traced, site.upper_output)


def _patches(source: _Source, positions: int) -> SiteProblem:
    upper, rng, member = source.upper, source.rng, source.member
    template = upper.template
    assert isinstance(template, nn.Conv2d)
    out_shape = member.traced.shapes[source.site.upper_output][2:]
    sampled = _sampled(member.rows, rng, _patch_bytes(upper, positions))
    patches, targets = [], []
    for chosen, z, target in _rows(source, sampled):
        order = torch.rand(len(chosen), math.prod(out_shape), generator=rng).argsort(1)
        places = order[:, :positions].to(z.device)
        patches.append(_gather_patches(template, z, places, out_shape[1]))
        flat = target.flatten(2)
        targets.append(flat.gather(2, places.unsqueeze(1).expand(-1, flat.shape[1], -1)).transpose(1, 2))
    return PatchProblem(torch.cat(patches), torch.cat(targets), source.through, upper, source.site.affine)


def _gather_patches(template: nn.Conv2d, z: Tensor, places: Tensor, width: int) -> Tensor:
    """Return z at every tap of the given output positions, `[inputs hidden taps*positions]`, taps outermost."""
    padded = F.pad(z, template._reversed_padding_repeated_twice)
    flat = padded.flatten(2)
    row, column = places // width * template.stride[0], places % width * template.stride[1]
    parts = []
    for a in range(template.kernel_size[0]):
        for b in range(template.kernel_size[1]):
            at = (row + a * template.dilation[0]) * padded.shape[3] + column + b * template.dilation[1]
            parts.append(flat.gather(2, at.unsqueeze(1).expand(-1, flat.shape[1], -1)))
    return torch.cat(parts, dim=2)


def _maps(source: _Source) -> SiteProblem:
    site, member = source.site, source.member
    size = _bytes_per_row(member.traced, site.preactivation, site.upper_output)
    parts = [(z, target) for _, z, target in _rows(source, _sampled(member.rows, source.rng, size))]
    z, target = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    return MapProblem(z, target, source.through, source.upper, site.channel_axis, site.affine)


def _shared(source: _Source) -> SiteProblem:
    site, base, member = source.site, source.base, source.member
    size = _bytes_per_row(member.traced, site.preactivation, site.upper_input)
    chosen = _sampled(member.rows, source.rng, size)
    z = torch.cat([values[0][_inside(chosen, rows)] for rows, values in member.chunks([site.preactivation])])
    clean = torch.cat([base.at(site.upper_input, part % base.rows) for part in chosen.split(CHUNK)])
    return SharedProblem(z, clean, source.through, source.upper, site.channel_axis, site.affine)


def _rows(source: _Source, chosen: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (indices, z, target) of the chosen rows per chunk; the target has the member's own shortcut taken off."""
    site, base = source.site, source.base
    wanted = reads_of_base(site)
    base.hold(wanted)
    names = reads_of_member(site)
    for rows, values in source.member.chunks(names, keep=names[1:]):
        inside = _inside(chosen, rows)
        if inside.numel() == 0:
            continue
        indices = inside + rows.start
        target = base.at(wanted, indices % base.rows)
        if site.shortcut is not None:
            target = target - values[2][inside]
        yield indices, values[0][inside], target


def _inside(chosen: Tensor, rows: slice) -> Tensor:
    mask = (chosen >= rows.start) & (chosen < rows.stop)
    return chosen[mask] - int(rows.start)


def _sampled(rows: int, rng: torch.Generator, bytes_per_row: int) -> Tensor:
    """Return row indices, ascending: all of them, or a random part that fits the budget."""
    fitting = max(BUDGET // max(bytes_per_row, 1), 1)
    if fitting >= rows:
        return torch.arange(rows)
    chosen: Tensor = torch.randperm(rows, generator=rng)[:fitting].sort().values
    return chosen


def _positions(traced: TracedNetwork, name: str) -> int:
    return math.prod(traced.shapes[name][2:])


def _patch_bytes(upper: FoldedLayer, positions: int) -> int:
    return positions * (upper.weight[0].numel() + len(upper.weight)) * upper.weight.element_size()


def _bytes_per_row(traced: TracedNetwork, *names: str) -> int:
    return 4 * sum(math.prod(traced.shapes[name][1:]) for name in names)
