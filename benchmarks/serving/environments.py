"""One virtual environment for each peer; what they depend on never meets our own dependencies."""

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).parent / "peers"


def python_of(folder: Path, peer: str) -> Path:
    """Return the interpreter of a peer's environment below `folder`; made and filled where it is missing."""
    place = folder / peer
    python = place / "bin" / "python"
    if not python.exists():
        print(f"installing {peer} into {place}", flush=True)
        venv.create(place, with_pip=True)
        wanted = REQUIREMENTS / f"{peer}.txt"
        command = [python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", "-r", wanted]
        subprocess.run(command, check=True)
    return python


def versions_of(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of installed packages as that interpreter sees them."""
    if str(python) == sys.executable:
        return {name: version(name) for name in packages}
    code = "import sys; from importlib.metadata import version; print(*(version(name) for name in sys.argv[1:]))"
    found = subprocess.run([python, "-c", code, *packages], check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(packages, found, strict=True))
