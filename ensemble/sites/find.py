"""Which hidden units of a network are sites, which only admit exact actions, and which must be left alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, fx, nn

from ensemble.activations import TABLE, activation_of_node
from ensemble.errors import NoSiteError
from ensemble.graph import TracedNetwork, trace
from ensemble.groups import Trivial
from ensemble.sites.operations import ADDITIONS, called, is_identity
from ensemble.sites.refusals import LayerChecks, is_layer, only_user
from ensemble.sites.site import CoupledSite, RefusedSite, Role, Site
from ensemble.sites.space import Refused, Space, space_of

Entry = Site | CoupledSite | RefusedSite


def find_sites(network: nn.Module, example_input: Tensor) -> list[Site]:
    """Return the network's sites in the order in which they run.

    Args:
        network: a classifier in evaluation mode.
        example_input: `[batch ...]`, one row is enough.

    Raises:
        InputError: training mode, NaN weights, mixed devices or dtypes.
        TraceError: torch.fx cannot follow the forward.
        NoSiteError: no place where a group element can act; the message lists what was refused and why.

    Examples:
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
        >>> [site.name for site in find_sites(mlp, torch.zeros(1, 4))]
        ['0 -> 2']
    """
    traced = trace(network, example_input)
    return sites_of(traced)


def sites_of(traced: TracedNetwork) -> list[Site]:
    """Return the sites of a traced network; see `find_sites`."""
    found = survey(traced)
    if not found.sites:
        listed = "; ".join(f"{entry.layer}: {entry.reason}" for entry in found.refused)
        raise NoSiteError(
            f"{type(traced.graph).__name__}: expected at least one lower layer - activation - upper layer, got none "
            f"({listed or 'no Linear or Conv layer is followed by a known activation'}); known activations: "
            f"{', '.join(row.name for row in TABLE)}"
        )
    return list(found.sites)


def refused_sites(traced: TracedNetwork) -> list[RefusedSite]:
    """Return the layers that were considered and refused, with reasons."""
    return list(survey(traced).refused)


def coupled_sites(traced: TracedNetwork) -> list[CoupledSite]:
    """Return the hidden units with several writers or readers on which an exact element can act: streams."""
    return list(survey(traced).coupled)


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything there is to say about a network's hidden units, each list in the order in which the layers run."""

    sites: tuple[Site, ...]
    coupled: tuple[CoupledSite, ...]
    refused: tuple[RefusedSite, ...]


def survey(traced: TracedNetwork) -> Survey:
    """Return the sites, the units that only admit exact actions, and the refused layers with reasons."""
    found = list(_Surveyor(traced).entries())
    coupled = tuple(entry for entry in found if isinstance(entry, CoupledSite))
    refused = [entry for entry in found if isinstance(entry, RefusedSite)]
    return Survey(tuple(entry for entry in found if isinstance(entry, Site)), coupled, tuple(refused))


class _Surveyor:
    def __init__(self, traced: TracedNetwork) -> None:
        self.traced, self.checks = traced, LayerChecks(traced)
        self.known: set[fx.Node] = set()

    def entries(self) -> Iterator[Entry]:
        for node in self.traced.nodes:
            if node.op == "call_module" and is_layer(self.traced.graph.get_submodule(str(node.target))):
                yield from self.at(node)

    def at(self, lower: fx.Node) -> Iterator[Entry]:
        """Return what is to be said about the units that one layer writes; nothing if they were met before."""
        output = self.checks.folded_output(lower)
        if output in self.known:
            return
        name = str(lower.target)
        try:
            space = space_of(output, self.traced, self.checks)
        except Refused as refusal:
            yield RefusedSite(name, str(refusal))
            return
        self.known |= set(space.carries)
        site = self.site(lower, output, space)
        if isinstance(site, Site):
            yield site
            return
        yield RefusedSite(name, site)
        if not isinstance(space.group, Trivial):
            yield CoupledSite(tuple(space.parts.values()), space.hidden, space.group, site)

    def site(self, lower: fx.Node, output: fx.Node, space: Space) -> Site | str:
        """Return the site, or why no single upper layer can be refitted for these units."""
        if (lower, Role.WRITER) not in space.parts:
            return "a depthwise convolution mixes no channels"
        activation = only_user(output)
        if activation is None:
            return f"the output of {output.name} is {_readers(output)}; a group element needs a single reader"
        row = activation_of_node(activation, self.traced.graph)
        if row is None:
            return f"no known activation follows: {activation.name} reads it"
        if space.joins:
            return "its units join a residual stream, which several layers write or read"
        upper = self.upper(output, space)
        if isinstance(upper, str):
            return upper
        if not any(node.op == "placeholder" for node in self.traced.between([output], [])):
            return "its values do not depend on the input, so there is nothing to fit"
        return self.built(lower, output, upper, space)

    def upper(self, preactivation: fx.Node, space: Space) -> fx.Node | str:
        """Return the one layer through which the units reach the output."""
        last = [node for node in space.layers(Role.READER) if not self.leads_back(node, space)]
        if len(last) != 1:
            split = next((node for node in space.carries if len(node.users) > 1), preactivation)
            return f"the output of {split.name} is {_readers(split)}; a group element needs a single reader"
        if getattr(self.checks.module(last[0]), "groups", 1) > 1:
            return f"{last[0].target} is a grouped convolution: its refit would have to be solved group by group"
        source = last[0].all_input_nodes[0]
        if any(node.op == "placeholder" for node in self.traced.between([source], [preactivation])):
            return f"{source.name} also depends on values from outside the site"
        return last[0]

    def leads_back(self, reader: fx.Node, space: Space) -> bool:
        """Return whether what a reader computes comes back to the units: it is part of a gate on them."""
        return any(node in space.carries for node in self.traced.downstream([reader]))

    def built(self, lower: fx.Node, output: fx.Node, upper: fx.Node, space: Space) -> Site:
        activation = only_user(output)
        row = None if activation is None else activation_of_node(activation, self.traced.graph)
        assert row is not None
        below, above = self.checks.module(lower), self.checks.module(upper)
        ends = {(lower, Role.WRITER), (upper, Role.READER)}
        addition, shortcut = self.addition(self.checks.folded_output(upper))
        return Site(
            lower=self.checks.ref(lower),
            upper=self.checks.ref(upper),
            activation=row,
            hidden=space.hidden,
            channel_axis=-1 if isinstance(below, nn.Linear) else 1,
            regressors=above.weight[0].numel(),
            affine=self.checks.ref(upper).norm is not None or above.bias is not None,
            lower_input=lower.all_input_nodes[0].name,
            preactivation=output.name,
            upper_input=upper.all_input_nodes[0].name,
            upper_output=self.checks.folded_output(upper).name,
            addition=addition,
            shortcut=shortcut,
            exact_group=space.group,
            blocks=getattr(below, "groups", 1),
            riders=tuple(part for key, part in space.parts.items() if key not in ends),
            upper_degree=space.parts[upper, Role.READER].degree,
        )

    def addition(self, output: fx.Node) -> tuple[str | None, str | None]:
        """Return the addition that alone reads `output` and the other summand; dropout in between does not count."""
        own, shapes = output, self.traced.shapes
        reader = only_user(own)
        while reader is not None and is_identity(reader, self.traced):
            own, reader = reader, only_user(reader)
        # A subtraction is no shortcut: the target is the sum minus the other summand.
        sums = [what for what in ADDITIONS if "sub" not in getattr(what, "__name__", str(what))]
        if reader is None or reader.op == "call_module" or called(reader, self.traced) not in sums:
            return None, None
        others = [node for node in reader.all_input_nodes if node is not own]
        # A broadcast summand (a learned bias, say) is no shortcut of the block.
        if len(others) != 1 or reader.kwargs or shapes.get(others[0].name) != shapes.get(own.name):
            return None, None
        return reader.name, others[0].name


def _readers(node: fx.Node) -> str:
    names = ", ".join(reader.name for reader in node.users)
    return f"read by {len(node.users)} places ({names})"
