"""What became of each point of an evaluation: who was right on it, clean and in the worst case at each radius."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from attacks.findings import Findings
from attacks.verdicts import to_bits

SCHEMA: Final = "levelset/samples-1"
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a report.

    Attributes:
        form: its key among the report's files.
        name: its name among the job's files.
        media_type: of its bytes.
        data: its bytes.
    """

    form: str
    name: str
    media_type: str
    data: bytes

    def record(self, sha256: str) -> dict[str, Any]:
        """Return what the job's list of files says about it."""
        return {"name": self.name, "sha256": sha256, "size": len(self.data), "media_type": self.media_type}


def per_sample(findings: Findings) -> dict[str, Any]:
    """Return one character per point, "1" where a judge is right: clean, and per threat, radius and kind of knowledge.

    The worst case is that of the report: over every attack that counts, nested over the radii.

    Args:
        findings: of complete shard results.
    """
    evaluation = findings.evaluation
    ids = evaluation.data.ids or tuple(map(str, range(findings.n)))
    robust = [
        {
            "norm": threat.norm,
            "epsilon": float(epsilon),
            "knowledge": knowledge,
            "target": judge,
            "held": _bits(findings.robust(index, knowledge, judge)[row]),
        }
        for index, threat in enumerate(evaluation.threats)
        for knowledge in findings.knowledge
        for judge in findings.judges(knowledge)
        for row, epsilon in enumerate(threat.epsilons)
    ]
    return {
        "schema": SCHEMA,
        "data": {"name": evaluation.data.name, "n": findings.n},
        "ids": [str(identity) for identity in ids],
        "labels": [int(label) for label in findings.labels],
        "clean": {judge: _bits(flags) for judge, flags in findings.clean.items()},
        "robust": robust,
    }


def to_csv(samples: Mapping[str, Any]) -> bytes:
    """Return the table of `per_sample` with one line per point; text that a spreadsheet would run is quoted.

    Args:
        samples: of `per_sample`.
    """
    columns = [(f"clean {judge}", bits) for judge, bits in samples["clean"].items()]
    columns += [
        (f"{row['norm']} {row['epsilon']:g} {row['knowledge']} {row['target']}", row["held"])
        for row in samples["robust"]
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["sample", "label", *(inert(name) for name, _ in columns)])
    for index, (identity, label) in enumerate(zip(samples["ids"], samples["labels"], strict=True)):
        writer.writerow([inert(identity), label, *(bits[index] for _, bits in columns)])
    return text.getvalue().encode()


def inert(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _bits(flags: Any) -> str:
    return to_bits(flags)
