"""What importing the routes loads: neither torch nor the attack library nor the job engine.

Seen to fail: `service.errors` deriving from `ensemble.errors`.
"""

import subprocess
import sys

import pytest

ROUTES = "app supervisor routes.capabilities routes.events routes.infer routes.jobs routes.pages routes.reports"


@pytest.mark.parametrize("name", ROUTES.split())
def test_light_imports(name: str) -> None:
    """Each module comes without the heavy ones."""
    check = f"import service.{name}, sys; print({{'torch', 'foolbox', 'dbos', 'matplotlib'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
