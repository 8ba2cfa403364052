"""A user's own network from a Python file.

Mutations seen to turn a test red: `num_classes` not passed on; the result not checked for being a network.
"""

from pathlib import Path

import pytest
from torch import nn

from ensemble.errors import InputError
from service.catalogue.user_network import build_from_file, is_file_reference

GOOD = """
from torch import nn

def factory(num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, num_classes))
"""


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("net.py:factory", True),
        ("/a/b/net.py:make", True),
        ("resnet20", False),
        ("torchvision/resnet18", False),
        ("net.py", False),
        ("os:system", False),
        ("net.py:a b", False),
    ],
)
def test_only_a_python_file_with_a_name_is_a_file_reference(key: str, expected: bool) -> None:
    """Catalogue keys are never mistaken for files, and the other way round."""
    assert is_file_reference(key) is expected


def test_the_factory_gets_the_number_of_classes(tmp_path: Path) -> None:
    """The network comes back in eval mode with the asked number of logits."""
    (tmp_path / "net.py").write_text(GOOD)
    network = build_from_file(f"{tmp_path / 'net.py'}:factory", num_classes=3)
    assert isinstance(network, nn.Sequential)
    assert not network.training
    assert network[-1].out_features == 3
    assert build_from_file(f"{tmp_path / 'net.py'}:factory")[-1].out_features == 10  # type: ignore[index]


@pytest.mark.parametrize(("parameters", "classes"), [("", 10), ("**options", 3), ("num_classes", 3)])
def test_a_factory_may_leave_the_number_of_classes_out(tmp_path: Path, parameters: str, classes: int) -> None:
    """It is passed to a factory that takes it, and to no other."""
    body = "return nn.Linear(2, num_classes)" if parameters == "num_classes" else "return nn.Linear(2, 10)"
    if parameters == "**options":
        body = "return nn.Linear(2, options['num_classes'])"
    (tmp_path / "net.py").write_text(f"from torch import nn\n\ndef factory({parameters}):\n    {body}\n")
    network = build_from_file(f"{tmp_path / 'net.py'}:factory", num_classes=3)
    assert isinstance(network, nn.Linear)
    assert network.out_features == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def factory(:", "SyntaxError"),
        ("raise RuntimeError('no')", "RuntimeError: no"),
        ("x = 1", "expected a callable 'factory'"),
        ("def factory(num_classes): return 7", "got int"),
        ("def factory(size): pass", "TypeError"),
    ],
)
def test_a_broken_file_is_answered_with_its_own_fault(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file and what went wrong in it."""
    (tmp_path / "net.py").write_text(text)
    with pytest.raises(InputError, match=message):
        build_from_file(f"{tmp_path / 'net.py'}:factory", num_classes=3)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(InputError, match="got nothing at"):
        build_from_file(f"{tmp_path / 'absent.py'}:factory")
