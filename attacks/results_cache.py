"""Results of shards in a folder, by content key. A hit is judged again; verdicts are never taken on trust."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from attacks.canonical import canonical_json
from attacks.evaluation import Evaluation
from attacks.examples import recall, write_whole
from attacks.verdicts import to_bits

if TYPE_CHECKING:
    from attacks.shards import Shard

Result = dict[str, Any]


class ResultsCache:
    """What was found before, by the key of its shard.

    Args:
        folder: where results lie; None finds nothing and keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder / "results"

    def get(self, shard: "Shard", evaluation: Evaluation) -> Result | None:
        """Return the stored result of a shard, or None: absent, damaged, its examples gone, or judged otherwise today.

        Args:
            shard: of the evaluation's plan.
            evaluation: the context.
        """
        if self._folder is None:
            return None
        try:
            result: Result = json.loads(self._path(shard).read_bytes())
        except (OSError, ValueError):
            return None
        own = isinstance(result, dict) and result.get("key") == shard.key
        found = own and _kept(result, evaluation.examples_folder) and same_verdicts(shard, result, evaluation)
        return result if found else None

    def put(self, shard: "Shard", result: Mapping[str, Any]) -> None:
        """Keep the result of a shard: whole or not at all.

        Args:
            shard: of the plan.
            result: of `run_shard`.

        Raises:
            ArtifactError: the folder cannot be written, e.g. because the disk is full; nothing else is lost.
        """
        if self._folder is not None:
            write_whole(self._path(shard), canonical_json(result).encode())

    def _path(self, shard: "Shard") -> Path:
        assert self._folder is not None
        return self._folder / f"{shard.key}.json"


def _kept(result: Mapping[str, Any], folder: Path | None) -> bool:
    """Return whether the examples of a result lie where the evaluation keeps them: a report says so of each."""
    records = [record for run in result.get("runs", ()) for record in run["examples"]]
    if folder is None:
        return all(record["path_relative"] is None for record in records)
    return all(recall(record, folder) is not None for record in records)


def same_verdicts(shard: "Shard", result: Mapping[str, Any], evaluation: Evaluation) -> bool:
    """Return whether the kept examples of a result get today the verdicts that were stored: check A4 of a cache.

    Examples that were not kept cannot be asked again; then the stored verdicts stand.

    Args:
        shard: the result's own.
        result: of `run_shard`.
        evaluation: the context.
    """
    for record in result.get("runs", ()):
        if len(record["examples"]) != 1 or record.get("source") is not None:
            continue
        examples = recall(record["examples"][0], evaluation.examples_folder)
        if examples is not None and not _agrees(shard, record, examples, evaluation):
            return False
    return True


def _agrees(shard: "Shard", record: Mapping[str, Any], examples: Tensor, evaluation: Evaluation) -> bool:
    index = record.get("points", range(shard.start, shard.stop))
    labels = evaluation.labels[list(index)]
    model = evaluation.jury.models[record["judge"]]
    bits = [to_bits(model.held(rung, labels)) for rung in examples]
    if "broken" not in record:
        return bits == list(record["held"][record["judge"]])
    # A cascade keeps one example per point and radius: lost where it or an example made elsewhere broke it.
    return all(
        answer == "0"
        for rung, lost in zip(bits, record["broken"], strict=True)
        for answer, flag in zip(rung, lost, strict=True)
        if flag == "1"
    )
