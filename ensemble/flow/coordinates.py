"""Where a network lies in its valley: Q of its hidden units, and of one site of a generated member."""

from torch import Tensor, nn

from ensemble.flow.generators import separates_units
from ensemble.flow.laws import unit_laws
from ensemble.flow.scaling import ScalingLaw, Term
from ensemble.layers import FoldedLayer
from ensemble.sites import Role, Site


def coordinates(network: nn.Module, example_input: Tensor) -> dict[str, Tensor]:
    """Return Q of every hidden unit `[hidden]`, per site: where the network lies in its valley.

    Raises:
        InputError, TraceError: as `laws`.
    """
    parameters = _detached(network)
    return {law.name: law.quantity(parameters) for law in unit_laws(network, example_input)}


def site_quantity(site: Site, lower: FoldedLayer, upper: FoldedLayer) -> float | None:
    """Return Q of a site's two layers, BatchNorm folded in, summed over units; None where units cannot be scaled.

    A depthwise layer's bias between the two is left out: generation leaves it as it is.

    Args:
        site: the site.
        lower: its lower layer.
        upper: its upper layer.
    """
    if not separates_units(site.exact_group):
        return None
    terms = [Term("V", Role.WRITER, -1.0), Term("U", Role.READER, site.upper_degree, upper.groups)]
    values = {"V": lower.weight.double(), "U": upper.weight.double()}
    if lower.bias is not None:
        terms.append(Term("b", Role.WRITER, -1.0))
        values["b"] = lower.bias.double()
    return float(ScalingLaw(site.name, site.hidden, tuple(terms)).quantity(values).sum())


def _detached(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in network.named_parameters()}
