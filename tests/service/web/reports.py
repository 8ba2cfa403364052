"""The sample report, and variations of it that a real evaluation could have produced."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.report import EvaluationReport
from tests.service.web.samples import HOSTILE

SAMPLE = Path(__file__).parent / "report-1.0.json"
#: The standard suite on a small digits classifier with three members, 40 points certified.
STANDARD = Path(__file__).parent / "report-1.2.json"


def sample() -> EvaluationReport:
    """Return the report that `make_sample` wrote: the demo's ensemble under the quick suite."""
    return EvaluationReport.model_validate_json(SAMPLE.read_bytes())


def standard(change: Callable[[Any], None] | None = None) -> EvaluationReport:
    """Return a report of the standard suite, its JSON document changed in place by a function if there is one."""
    document = json.loads(STANDARD.read_bytes())
    if change is not None:
        change(document)
    return EvaluationReport.model_validate(document)


def changed(change: Callable[[Any], None]) -> EvaluationReport:
    """Return the sample with its JSON document changed in place by a function."""
    document = json.loads(SAMPLE.read_bytes())
    change(document)
    return EvaluationReport.model_validate(document)


def with_status(value: str) -> EvaluationReport:
    """Return the sample with another status, in its headline sentence too."""

    def change(document: Any) -> None:
        old = document["status"]["value"]
        document["status"] |= {"value": value, "reasons": [] if value == "CHECKED" else ["A3"]}
        label = f"{value}, 3 warnings" if value == "CHECKED" else value
        document["headline"]["sentence"] = document["headline"]["sentence"].replace(f"[{old}]", f"[{label}]")

    return changed(change)


def hostile() -> EvaluationReport:
    """Return the sample with hostile text appended to every name and sentence in it, keys included."""

    def poison(value: Any) -> Any:
        if isinstance(value, str):
            return value + HOSTILE
        if isinstance(value, list):
            return [poison(item) for item in value]
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()}
        return value

    document = poison(json.loads(SAMPLE.read_bytes()))
    document["data"]["label_counts"] = {f"{key}{HOSTILE}": 1 for key in document["data"]["label_counts"]}
    document["attacks"][0]["parameters"] = {HOSTILE: HOSTILE}
    document["checks"][0]["numbers"] = {HOSTILE: {HOSTILE: [HOSTILE]}}
    document["certificates"] = [{"method": HOSTILE, "epsilon": 0.1, "certified": {"k": 1, "n": 2}, "seconds": 1.0}]
    document["run"] = {HOSTILE: HOSTILE}
    return EvaluationReport.model_validate(document)
