"""`levelset sites ARCH`: the table of sites, what admits exact actions only, and what is refused and why.

Seen to fail: the riders left out; refused layers not printed; a coupled layer listed as refused.
"""

from pathlib import Path

from tests.service.cli.conftest import Levelset


def test_every_part_of_a_network_is_accounted_for(levelset: Levelset, tmp_path: Path) -> None:
    """Sites with riders, streams and refused layers with reasons are all in the output."""
    source = tmp_path / "own.py"
    source.write_text(
        "from tests.ensemble.networks import GroupedNet, Transformer, inverted_block\n"
        "def block(num_classes): return inverted_block().eval()\n"
        "def grouped(num_classes): return GroupedNet().eval()\n"
        "def transformer(num_classes): return Transformer().eval()\n"
    )
    block = levelset("sites", f"{source}:block", "--shape", "1,8,8")
    assert block.code == 0, block.err
    assert "+ 3" in block.out
    assert "its units are the network's output" in block.out
    grouped = levelset("sites", "--arch", f"{source}:grouped", "--shape", "1,8,8")
    assert all(word in grouped.out for word in ("8 in 4 blocks", "coupled", "stem (+1)", "grouped convolution"))
    transformer = levelset("sites", f"{source}:transformer", "--shape", "1,8,8")
    assert all(word in transformer.out for word in ("attention", "heads", "LayerNorm"))


def test_shapes_of_the_catalogue_are_known(levelset: Levelset) -> None:
    """A network of the catalogue needs no shape; an unknown one does, and two architectures are too many."""
    assert levelset("sites", "resnet20").code == 0
    assert levelset("sites", "digits-cnn").code == 0
    assert levelset("sites", "nonsense").code == 2
    assert levelset("sites").code == 2
    assert levelset("sites", "resnet20", "--arch", "resnet20").code == 2
