"""What a power cut may not take: bytes are on the disk before the name is, and both before the step returns.

Seen with strace, so that the order of the real calls counts. Seen to fail when: the file is renamed before it is
flushed; the folder is not flushed; a new folder's own parent is not flushed.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STORE = """
import os, sys
from pathlib import Path
from service.store.artifacts import ArtifactStore
ArtifactStore(Path(sys.argv[1])).put_result("ab" + "0" * 62, b"result")
os.write(1, b"returned")
"""
CALLS = "openat,mkdir,mkdirat,fsync,rename,renameat,renameat2,write"


def test_a_result_is_on_the_disk_before_the_step_returns(tmp_path: Path) -> None:
    """Flush of the bytes, rename, flush of the folder, then the return; each new folder is flushed into its parent."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    target, log = tmp_path / "artifacts", tmp_path / "calls"
    command = [strace, "-f", "-y", "-o", str(log), "-e", f"trace={CALLS}", sys.executable, "-c", STORE, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"strace may not trace here: {done.stderr[-200:]}")
    lines = [line for line in log.read_text().splitlines() if str(target) in line or '"returned"' in line]
    # What matters of each line, in order: call and the place it touches, the random part of the draft left out.
    found = [step for line in lines if (step := _step(line, target)) is not None]
    assert found == [
        "mkdir .", "mkdir shards", "fsync .", "mkdir shards/ab", "fsync shards",
        "write draft", "fsync draft", "rename", "fsync shards/ab", "returned",
    ]  # fmt: skip


def _step(line: str, target: Path) -> str | None:
    call = re.search(r"^\d+\s+(\w+)\(", line)
    assert call, line
    if '"returned"' in line:
        return "returned"
    place = line.partition(str(target))[2].partition(">")[0].partition('"')[0].lstrip("/") or "."
    place = "draft" if ".new-" in place else place
    name = call[1].replace("mkdirat", "mkdir")
    if name.startswith("rename"):
        return "rename"
    return None if name == "openat" else f"{name} {place}"
