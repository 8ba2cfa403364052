"""What the attacks package may load.

Seen to fail with: `import fastapi` in `attacks/report.py`; attacks built by the suites' table itself.
"""

import subprocess
import sys


def test_attacks_loads_no_web_stack_and_no_engine() -> None:
    """A fresh process that imports the package has neither the server nor the job engine in memory."""
    code = "import sys, attacks, attacks.shards; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "foolbox" in loaded
    assert not loaded & {"fastapi", "starlette", "uvicorn", "dbos", "sqlalchemy", "service"}


def test_importing_ensemble_alone_leaves_foolbox_out() -> None:
    """The lower room does not know this one."""
    code = "import sys, ensemble; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"foolbox", "attacks"}


def test_reading_reports_and_suites_leaves_foolbox_out() -> None:
    """Who only reads a report, or a suite's table, loads neither foolbox nor the rooms that use it."""
    code = "import sys, attacks, attacks.report, attacks.suites, attacks.modes; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "attacks.report" in loaded
    assert not loaded & {"foolbox", "eagerpy", "attacks.shards", "attacks.gradient", "attacks.targets"}
