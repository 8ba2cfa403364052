"""`levelset sites`: where a group element can act in a network, and where it must not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from service.cli.console import notices, results

if TYPE_CHECKING:
    from ensemble.attention import AttentionSite
    from ensemble.sites import CoupledSite, RefusedSite, Site

NAME = "sites"
EXAMPLE = "Example: `levelset sites torchvision/resnet18` or `levelset sites my.py:build --shape 3,64,64`"
#: What the networks of the catalogue read; beginnings of their names.
SHAPES: Mapping[str, str] = MappingProxyType(
    {"digits-": "1,8,8", "mnist-": "1,28,28", "resnet": "3,32,32", "torchvision/inception": "3,299,299",
     "torchvision/": "3,224,224"}
)  # fmt: skip


def command(
    architecture: Annotated[
        str | None,
        typer.Argument(
            metavar="ARCH",
            help="digits-cnn, mnist-cnn, resnet20/32/44/56, torchvision/NAME, an installed entry point, or your own "
            "FILE.py:FACTORY (runs that file).",
        ),
    ] = None,
    arch: Annotated[str | None, typer.Option("--arch", help="The same as ARCH.")] = None,
    shape: Annotated[
        str | None, typer.Option("--shape", help="One input as C,H,W, for example 3,32,32; known for the catalogue's.")
    ] = None,
    classes: Annotated[int, typer.Option("--classes", min=2, help="Number of classes.")] = 10,
) -> None:
    """List the sites of a network: pairs of layers with an activation between them on which a group can act.

    Members differ from the base at these places and nowhere else. Streams and attention admit exact actions only.
    Every other layer is listed with the reason why it is left alone. Weights are not needed.
    """
    key = _one(architecture, arch)
    size = _shape(_known_shape(key) if shape is None else shape)
    import torch

    from ensemble.attention import attention_sites, refused_attention
    from ensemble.graph import trace
    from ensemble.sites import survey
    from service.catalogue import architectures, user_network

    with notices().status("tracing the network"):
        build = user_network.build_from_file if user_network.is_file_reference(key) else architectures.build
        network = build(key, num_classes=classes)
        found = survey(trace(network, torch.zeros(2, *size)))
    out = results()
    out.print(_sites(found.sites) if found.sites else "no sites: no refit is possible in this network")
    if found.coupled:
        out.print(_coupled(found.coupled))
    attention = attention_sites(network)
    if attention:
        out.print(_attention(attention))
    coupled = {str(part.ref) for site in found.coupled for part in site.parts}
    left_alone = [entry for entry in found.refused if entry.layer not in coupled] + refused_attention(network)
    if left_alone:
        out.print(_refused(left_alone))


def _sites(sites: "tuple[Site, ...]") -> Table:
    table = _table("sites: refits and exact actions", "lower", "activation", "upper", "units", "exact group")
    for site in sites:
        units = str(site.hidden) if site.blocks == 1 else f"{site.hidden} in {site.blocks} blocks"
        upper = str(site.upper) + "".join(f"\n+ {part.ref}" for part in site.riders)
        table.add_row(str(site.lower), site.activation.name, upper, units, site.exact_group.name)
    if any(site.riders for site in sites):
        table.caption = "+ layers in between that an exact element also changes"
    return table


def _coupled(sites: "tuple[CoupledSite, ...]") -> Table:
    table = _table("coupled layers: exact actions only", "layers", "units", "exact group", "why no refit")
    for site in sites:
        table.add_row(site.name, str(site.hidden), site.exact_group.name, site.reason)
    return table


def _attention(sites: "list[AttentionSite]") -> Table:
    table = _table("attention: exact actions only", "layer", "heads", "units a head")
    for site in sites:
        table.add_row(site.name, str(site.heads), str(site.size))
    return table


def _refused(sites: "list[RefusedSite]") -> Table:
    table = _table("layers whose units are left alone", "layer", "why")
    for site in sites:
        table.add_row(site.layer, site.reason)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right" if column in ("units", "heads", "units a head") else "left",
                         overflow="fold")  # fmt: skip
    return table


def _one(architecture: str | None, arch: str | None) -> str:
    given = [key for key in (architecture, arch) if key is not None]
    if len(given) != 1:
        raise typer.BadParameter(f"expected one architecture, got {len(given)}", param_hint="ARCH")
    return given[0]


def _known_shape(key: str) -> str:
    # The longest beginning decides.
    for beginning in sorted(SHAPES, key=len, reverse=True):
        if key.startswith(beginning):
            return SHAPES[beginning]
    raise typer.BadParameter(f"the input shape of {key} is not known; give it as C,H,W", param_hint="--shape")


def _shape(text: str) -> tuple[int, int, int]:
    words = text.split(",")
    if len(words) != 3 or not all(word.strip().isdecimal() and 0 < int(word) < 10_000 for word in words):
        raise typer.BadParameter(f"expected three numbers C,H,W such as 3,32,32, got {text!r}", param_hint="--shape")
    channels, height, width = (int(word) for word in words)
    return (channels, height, width)
