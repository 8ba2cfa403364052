"""The wheel holds the three packages with their templates, static files, migrations and schemas, and nothing else.

Seen to fail with: a package left out of the build, a template excluded, the tests packed along.
"""

import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("ensemble", "attacks", "service")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of the files in a wheel built from this tree."""
    if find_spec("build") is None or find_spec("hatchling") is None:
        pytest.skip("build and hatchling are not installed: the wheel cannot be built without a network")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_packages_is_in_the_wheel(names: set[str]) -> None:
    """Code, templates, static files, migrations, schemas and type markers are packed."""
    kept = {path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    expected = {path.relative_to(ROOT).as_posix() for path in kept if "__pycache__" not in path.parts}
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    assert expected <= names


def test_nothing_else_is_in_the_wheel(names: set[str]) -> None:
    """Neither tests nor benchmarks nor documentation are installed."""
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
