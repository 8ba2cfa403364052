"""torchvision becomes importable beside a CPU-only torch.

Mutations seen to turn a test red: defining only `nms`; dropping the kept Library object; taking a
file that does not load for loaded.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from service.catalogue import torchvision_compat


def test_torchvision_imports_in_a_fresh_interpreter_with_warnings_as_errors() -> None:
    """The fix works before anything else was imported, without a warning, and twice in a row."""
    code = (
        "import gc\n"
        "from service.catalogue.torchvision_compat import import_torchvision as fix\n"
        "fix(); gc.collect(); torchvision = fix()\n"
        "import torchvision.models.feature_extraction\n"
        "print(torchvision.models.list_models(module=torchvision.models)[0])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "alexnet"), done.stderr


def test_plain_import_fails_without_the_fix_where_the_library_cannot_load() -> None:
    """The fix is needed here: without it the import fails (skipped where the compiled library does load)."""
    if torchvision_compat.load_compiled_operators(torchvision_compat.torchvision_folder()):
        pytest.skip("torchvision's compiled operators load into this torch")
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "torchvision::nms" in done.stderr


def test_both_operator_schemas_exist_and_stay() -> None:
    """`nms` and `qnms` resolve after the import."""
    torchvision_compat.import_torchvision()
    assert str(torch.ops.torchvision.nms.default._schema).startswith("torchvision::nms(Tensor dets, Tensor scores")
    assert hasattr(torch.ops.torchvision, "qnms")


def test_a_folder_without_a_compiled_library_loads_nothing(tmp_path: Path) -> None:
    """Nothing to load is reported as nothing loaded, and a file that is no library as not loadable."""
    assert not torchvision_compat.load_compiled_operators(tmp_path)
    (tmp_path / "_C.so").write_bytes(b"not a library")
    assert not torchvision_compat.load_compiled_operators(tmp_path)
