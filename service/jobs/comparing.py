"""Two reports side by side: on the same points as a paired comparison, otherwise not at all."""

import json
from collections.abc import Mapping
from typing import Any, Final

from attacks.statistics import ALPHA, holm, paired_gain
from attacks.verdicts import from_bits
from service.errors import StateConflict
from service.store.artifacts import ArtifactStore
from service.store.tables import Report

WORDS: Final = (
    "Paired on the same points: b counts those that the first holds and the second loses, c the reverse; "
    f"gain = (b - c) / n with a {1 - 2 * ALPHA:.0%} interval, p one-sided (exact McNemar), p_holm adjusted over all "
    "rows. The attacks of the two reports may differ: look at `suites` before reading a gain as one of the networks."
)
Cell = tuple[str, str, float, str]


def compare_reports(artifacts: ArtifactStore, first: Report, second: Report) -> dict[str, Any]:
    """Return the gain of the first report over the second, row by row.

    Args:
        artifacts: where their files lie.
        first: a report.
        second: another.

    Raises:
        StateConflict: they judge other points, or one was written before verdicts per point were kept.
        Gone: a file is missing.
        DamagedArtifact: a file is damaged.
    """
    documents = [json.loads(artifacts.get(report.files["json"])) for report in (first, second)]
    samples = [_samples(artifacts, report) for report in (first, second)]
    data = [document["data"] for document in documents]
    if data[0]["digest"] != data[1]["digest"] or samples[0]["labels"] != samples[1]["labels"]:
        raise StateConflict(
            f"compare: expected two reports on the same points, got {_points(data[0])} and {_points(data[1])}; judge "
            "both ensembles on the same part, with the same n"
        )
    rows = _clean_rows(*samples) + _robust_rows(*samples)
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return {
        "object": "comparison",
        "words": WORDS,
        "reports": [_described(report, document) for report, document in zip((first, second), documents, strict=True)],
        "same_suite": documents[0]["suite"] == documents[1]["suite"],
        "suites": [document["suite"] for document in documents],
        "data": {name: data[0][name] for name in ("name", "split", "n", "digest")},
        "rows": rows,
    }


def _samples(artifacts: ArtifactStore, report: Report) -> dict[str, Any]:
    name = report.files.get("samples")
    if name is None:
        raise StateConflict(
            f"report {report.id}: expected one with verdicts per point, got one of an older version; run its job again"
        )
    found: dict[str, Any] = json.loads(artifacts.get(name))
    return found


def _clean_rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    both = [name for name in first["clean"] if name in second["clean"]]
    return [_row("clean", None, None, name, first["clean"][name], second["clean"][name]) for name in both]


def _robust_rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    others = {_cell(row): row["held"] for row in second["robust"]}
    return [
        _row(row["knowledge"], row["norm"], row["epsilon"], row["target"], row["held"], others[_cell(row)])
        for row in first["robust"]
        if _cell(row) in others
    ]


def _cell(row: Mapping[str, Any]) -> Cell:
    return row["knowledge"], row["norm"], float(row["epsilon"]), row["target"]


def _row(
    knowledge: str, norm: str | None, epsilon: float | None, target: str, first: str, second: str
) -> dict[str, Any]:
    held, other = from_bits(first), from_bits(second)
    gain = paired_gain(int((held & ~other).sum()), int((other & ~held).sum()), len(held))
    return {
        "knowledge": knowledge,
        "norm": norm,
        "epsilon": epsilon,
        "target": target,
        "n": len(held),
        "first": int(held.sum()),
        "second": int(other.sum()),
        "b": gain.b,
        "c": gain.c,
        "gain": gain.gain,
        "low": gain.low,
        "high": gain.high,
        "p": gain.p,
        "p_reverse": gain.p_reverse,
    }


def _described(report: Report, document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": report.id,
        "report_digest": report.digest,
        "status": report.status,
        "target": report.summary.get("target"),
        "target_version": report.summary.get("target_version"),
        "ensemble_digest": document["subject"]["ensemble_digest"],
        "seeds": document["subject"]["seeds"],
    }


def _points(data: Mapping[str, Any]) -> str:
    return f"{data['n']} of {data['name']} {data['split']}"
