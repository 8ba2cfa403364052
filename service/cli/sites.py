"""`levelset sites`: where a group element can act in a network."""

from typing import Annotated

import typer

from service.cli.console import notices, results
from service.cli.options import ArchitectureKey

NAME = "sites"
EXAMPLE = "Example: `levelset sites --arch torchvision/resnet18 --shape 3,224,224`"


def command(
    arch: ArchitectureKey,
    shape: Annotated[str, typer.Option("--shape", help="One input as C,H,W, for example 1,8,8 or 3,32,32.")],
    classes: Annotated[int, typer.Option("--classes", min=2, help="Number of classes.")] = 10,
) -> None:
    """List the sites of a network: pairs of layers with an activation between them on which a group can act.

    Members differ from the base at these places and nowhere else. Weights are not needed.
    """
    import torch

    import ensemble
    from service.catalogue import architectures, user_network
    from service.cli.tables import sites_table

    example = torch.zeros(2, *_shape(shape))
    with notices().status("tracing the network"):
        build = user_network.build_from_file if user_network.is_file_reference(arch) else architectures.build
        found = ensemble.find_sites(build(arch, num_classes=classes), example)
    results().print(sites_table(found))


def _shape(text: str) -> tuple[int, int, int]:
    words = text.split(",")
    if len(words) != 3 or not all(word.strip().isdecimal() and 0 < int(word) < 10_000 for word in words):
        raise typer.BadParameter(f"expected three numbers C,H,W such as 3,32,32, got {text!r}", param_hint="--shape")
    channels, height, width = (int(word) for word in words)
    return (channels, height, width)
