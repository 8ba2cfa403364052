"""What an evaluation has found so far: counts over committed shards, marked as what they are."""

import json
from collections.abc import Sequence
from typing import Any, Final

from attacks.statistics import wilson
from attacks.summary import partial_summary
from service.errors import NotFound
from service.store.artifacts import ArtifactStore
from service.store.tables import Job

WORDS: Final = (
    "Provisional: counts over the shards committed so far, at the largest radius, before the worst case over attacks "
    "is taken and before any check has run. They are no result and may move either way."
)


def partial_report(artifacts: ArtifactStore, job: Job, keys: Sequence[str]) -> dict[str, Any]:
    """Return how many points each network has held against each attack so far, with Wilson intervals.

    Args:
        artifacts: where results of shards lie.
        job: an evaluation.
        keys: of its committed shards.

    Raises:
        NotFound: another kind of job.
    """
    if job.type != "evaluate":
        raise NotFound(
            f"job {job.id}: expected an evaluation, got a job of type {job.type!r}; it has no partial report"
        )
    stored = {key: artifacts.get_result(key) for key in keys}
    summary = partial_summary({key: json.loads(data) for key, data in stored.items() if data is not None})
    attacks = [
        {"attack": attack, "target": judge, **_proportion(counts["k"], counts["n"])}
        for attack, judges in summary["held"].items()
        for judge, counts in judges.items()
    ]
    return {
        "object": "partial_report",
        "provisional": True,
        "complete": False,
        "words": WORDS,
        "job_id": job.id,
        "state": job.state,
        "shards_done": summary["shards_done"],
        "shards_total": job.shards_total,
        "report_id": job.report_id,
        "attacks": attacks,
    }


def _proportion(k: int, n: int) -> dict[str, Any]:
    low, high = wilson(k, n) if n else (None, None)
    return {"held": k, "n": n, "value": k / n if n else None, "low": low, "high": high}
