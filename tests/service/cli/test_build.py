"""`levelset build` and `levelset sites`.

Mutations seen to turn a test red: the recipe file ignored; the seed not passed on; `--calibration` not passed on.
"""

from pathlib import Path

import pytest
import torch

from service.catalogue.repository import ModelRepository
from tests.service.cli.conftest import Levelset

OWN = """
from torch import nn

def net(num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
"""


def arguments(stock: Path, data: Path, **changes: object) -> list[object]:
    """Return a valid `build` line with options replaced."""
    options: dict[str, object] = {
        "arch": "digits-cnn",
        "weights": stock / "digits.safetensors",
        "dataset": "digits",
        "name": "mine",
        "members": 2,
        "recipe": stock / "quick.json",
        "data": data,
    }
    return ["build", *(word for name, value in (options | changes).items() for word in (f"--{name}", value))]


def test_build_stores_what_was_ordered(levelset: Levelset, stock: Path, tmp_path: Path) -> None:
    """Members, recipe, seed and number of calibration images reach the stored record; the table lists the sites."""
    shown = levelset(*arguments(stock, tmp_path, seed=5, members=3, calibration=150))
    assert shown.code == 0, shown.err
    info = ModelRepository(tmp_path / "models").info("mine")
    record = info.generation
    assert (info.members, info.architecture, info.dataset) == (3, "digits-cnn", "digits")
    assert (record["seed"], record["calibration_rows"], record["recipe"]["search_steps"]) == (5, 150, 0)
    assert "conv1 -> conv2" in shown.out
    for reports in record["sites"]:  # each member's coordinate, at the first site
        assert f"{reports[0]['coordinate']:.3g}" in shown.out
    assert str(tmp_path / "models" / "mine" / "1") in shown.out


def test_the_seed_decides_the_ensemble(levelset: Levelset, stock: Path, tmp_path: Path) -> None:
    """The same line gives the same digest as the next version; another seed another one."""
    for seed in (1, 1, 2):
        assert levelset(*arguments(stock, tmp_path, seed=seed)).code == 0
    repository = ModelRepository(tmp_path / "models")
    digests = [repository.info("mine", version).digest for version in ("1", "2", "3")]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "resnet21"}, "unknown architecture"),
        ({"arch": "torchvision/resnet19"}, "unknown torchvision network"),
        ({"arch": "resnet20"}, "name the architecture the weights belong to"),
        ({"arch": "absent.py:net"}, "expected a Python file"),
        ({"weights": "absent.safetensors"}, "expected a file, got nothing"),
        ({"dataset": "imagenet"}, "unknown data set"),
        ({"dataset": "cifar10"}, "--download"),
        ({"dataset": "npz:absent.npz"}, "expected a file, got nothing"),
        ({"dataset": "folder:absent"}, "expected a folder, got nothing"),
        ({"recipe": "spicy"}, "unknown recipe"),
        ({"recipe": "absent.json"}, "expected a readable JSON file"),
        ({"name": "../x"}, "ensemble name"),
        ({"calibration": 100_000}, "between 1 and its 396 images"),
        ({"device": "cuda:77"}, "device: expected"),
        ({"device": "meta"}, "device: expected"),
    ],
)
def test_what_cannot_be_built_is_said_and_nothing_is_stored(
    levelset: Levelset, stock: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """Each bad option has its own message, and the repository stays as it was."""
    shown = levelset(*arguments(stock, tmp_path, **changes))
    assert shown.code == 1
    assert message in " ".join(shown.err.split())
    assert ModelRepository(tmp_path / "models").names() == []


@pytest.mark.parametrize("text", ["{", "[]", '{"spice": 1}', '{"scale": -1}'])
def test_a_bad_recipe_file_is_refused(levelset: Levelset, stock: Path, tmp_path: Path, text: str) -> None:
    """JSON that is no recipe is a domain error about the recipe."""
    (tmp_path / "r.json").write_text(text)
    shown = levelset(*arguments(stock, tmp_path, recipe=tmp_path / "r.json"))
    assert shown.code == 1
    assert "recipe" in shown.err


def test_a_users_own_network_is_built_and_evaluated_here_only(levelset: Levelset, stock: Path, tmp_path: Path) -> None:
    """From FILE.py:FACTORY to a stored ensemble, whose record names no architecture; evaluating it needs the file."""
    (tmp_path / "own.py").write_text(OWN)
    namespace: dict[str, object] = {}
    exec(compile(OWN, "own", "exec"), namespace)
    torch.manual_seed(0)
    torch.save(namespace["net"]().state_dict(), tmp_path / "own.pt")  # type: ignore[operator]
    reference = f"{tmp_path / 'own.py'}:net"
    built = levelset(*arguments(stock, tmp_path, arch=reference, weights=tmp_path / "own.pt"))
    assert built.code == 0, built.err
    assert ModelRepository(tmp_path / "models").info("mine").architecture is None
    refused = levelset("evaluate", "mine", "-n", 40, "--data", tmp_path)
    assert (refused.code, "--arch" in refused.err) == (1, True)
    allowed = levelset("evaluate", "mine", "-n", 40, "--epsilon", 0.1, "--data", tmp_path, "--arch", reference)
    assert allowed.code in (0, 3), allowed.err


def test_sites_lists_where_a_group_can_act(levelset: Levelset) -> None:
    """The table names lower and upper layers; a wrong shape is wrong usage."""
    shown = levelset("sites", "--arch", "digits-cnn", "--shape", "1,8,8")
    assert shown.code == 0
    assert all(name in shown.out for name in ("conv1", "conv2", "linear1", "linear2", "relu"))
    for shape in ("8,8", "a,b,c", "0,8,8", "1,8,99999", ""):
        assert levelset("sites", "--arch", "digits-cnn", "--shape", shape).code == 2
    assert levelset("sites", "--arch", "digits-cnn", "--shape", "3,8,8").code == 1
