"""Finished work is found again by its content, judged again, and never lost.

Seen to fail with: the key of a stored result not compared; stored verdicts believed without asking the network; a
half-written file that ends the run; the temporary file of a failed write left behind; results not written one by one.
"""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks import ThreatModel
from attacks.data import LabelledData
from attacks.evaluate import run_all
from attacks.evaluation import Evaluation
from attacks.shards import plan
from ensemble.errors import ArtifactError, LevelsetError
from tests.attacks.conftest import Points


def small(members: nn.Module, network: nn.Module, digits: Points, folder: Path, **changes: Any) -> Evaluation:
    """An evaluation of 24 points in two blocks, its examples kept."""
    fields: dict[str, Any] = {
        "target": members,
        "base": network,
        "inputs": digits.inputs[1500:1524],
        "labels": digits.labels[1500:1524],
        "threat": ThreatModel("linf", (0.1,)),
        "seed": 1,
        "block": 12,
        "attacker": LabelledData(digits.inputs[1600:], digits.labels[1600:]),
        "examples_folder": folder / "examples",
    }
    return Evaluation(**(fields | changes))


def test_an_interrupted_run_goes_on(members: nn.Module, network: nn.Module, digits: Points, tmp_path: Path) -> None:
    """What was done before an interruption is read, not done again, and the report is the one of a single go."""
    evaluation = small(members, network, digits, tmp_path)
    seen: list[str] = []

    def stop(step: Any) -> None:
        seen.append(step.message)
        if len(seen) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(evaluation, cache=tmp_path, progress=stop)
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    assert len(stored) == 9
    again = run_all(small(members, network, digits, tmp_path), cache=tmp_path)
    assert again.digest == run_all(small(members, network, digits, tmp_path / "other")).digest
    assert all(path.stat().st_mtime_ns == when for path, when in stored.items())


@pytest.mark.parametrize("damage", ["flip", "cut", "foreign"])
def test_a_result_that_is_not_true_any_more_is_made_again(
    members: nn.Module, network: nn.Module, digits: Points, tmp_path: Path, damage: str
) -> None:
    """Flipped verdicts, half a file, another shard's result: the report is the same as without a cache."""
    evaluation = small(members, network, digits, tmp_path)
    expected = run_all(evaluation, cache=tmp_path).digest
    shard = next(shard for shard in plan(evaluation) if shard.attack == "fgsm@stolen_base")
    path = tmp_path / "results" / f"{shard.key}.json"
    result = json.loads(path.read_text())
    if damage == "flip":
        (run,) = result["runs"]
        run["held"]["base"] = ["".join("10"[int(bit)] for bit in bits) for bits in run["held"]["base"]]
        path.write_text(json.dumps(result))
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.write_text(json.dumps(result | {"key": "0" * 64}))
    assert run_all(small(members, network, digits, tmp_path), cache=tmp_path).digest == expected


def test_a_report_depends_on_the_call_not_on_what_was_cached(
    members: nn.Module, network: nn.Module, digits: Points, tmp_path: Path
) -> None:
    """Examples that were never kept, or are gone, are made again where they are wanted."""
    without = run_all(small(members, network, digits, tmp_path, examples_folder=None), cache=tmp_path)
    assert not any(record.path_relative for record in without.artifacts)
    first = run_all(small(members, network, digits, tmp_path), cache=tmp_path)
    assert all((tmp_path / "examples" / str(record.path_relative)).exists() for record in first.artifacts)
    for path in sorted((tmp_path / "examples").glob("*.safetensors"))[::2]:
        path.unlink()
    again = run_all(small(members, network, digits, tmp_path), cache=tmp_path)
    assert all((tmp_path / "examples" / str(record.path_relative)).exists() for record in again.artifacts)
    assert again.digest == first.digest
    last = run_all(small(members, network, digits, tmp_path, examples_folder=None), cache=tmp_path)
    assert last.digest == without.digest


def test_a_full_disk_is_said_and_loses_nothing(
    members: nn.Module, network: nn.Module, digits: Points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to do, no half-written file is left, and the next run goes on."""
    from attacks import examples

    written = 0
    real = examples.os.fsync

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(examples.os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"No space left on device; free space .* finished shards are not lost"):
        run_all(small(members, network, digits, tmp_path), cache=tmp_path)
    monkeypatch.setattr(examples.os, "fsync", real)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    before = len(list((tmp_path / "results").iterdir()))
    assert before > 0
    run_all(small(members, network, digits, tmp_path), cache=tmp_path)
    assert len(list((tmp_path / "results").iterdir())) > before


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """Threads of one process, or containers whose processes have one number: all finish, and the file is whole."""
    from concurrent.futures import ThreadPoolExecutor

    from attacks.examples import write_whole

    data = bytes(200_000)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(write_whole, tmp_path / "same", data) for _ in range(40)]:
            done.result()
    assert [path.name for path in tmp_path.iterdir()] == ["same"]
    assert (tmp_path / "same").read_bytes() == data


class _Failing(nn.Module):
    """Answers like its network until a batch has too few points in it: in the middle of an evaluation."""

    def __init__(self, network: nn.Module, how: str) -> None:
        super().__init__()
        self.network = network
        self.how = how
        self.calls = 0
        self.train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.network(inputs)
        if self.calls < 12:
            return logits
        if self.how == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if self.how == "nan":
            return logits * torch.nan
        raise IndexError("index 7 is out of bounds")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("memory", r"expected a block of \d+ points to fit .* run again with block=\d+"),
        ("nan", "expected finite logits, got NaN or infinity"),
        ("error", r"got IndexError: index 7 is out of bounds; .*finished shards are kept"),
    ],
)
def test_a_network_that_fails_midway_is_named(
    network: nn.Module, digits: Points, tmp_path: Path, how: str, message: str
) -> None:
    """The error says what happened and what to do, finished shards are kept, and the mended network goes on."""
    target = _Failing(network, how)
    evaluation = small(target, network, digits, tmp_path)
    with pytest.raises(LevelsetError, match=message):
        run_all(evaluation, cache=tmp_path)
    assert list((tmp_path / "results").iterdir())
