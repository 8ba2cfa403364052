"""Job specifications: unknown fields and impossible values are refused before anything is stored.

Seen to fail: `extra` not forbidden in the threat; the lower bound of a radius dropped; the mode or
the datatype left out of what decides the report; one norm twice accepted.
"""

from typing import Any

import pytest
from pydantic import ValidationError

from service.jobs.specs import EvaluateJob


def spec(**changes: Any) -> dict[str, Any]:
    """Return a valid specification with some fields changed."""
    return {
        "type": "evaluate",
        "target": "digits",
        "data": {"name": "digits", "split": "test", "n": 20},
        "threat": {"norm": "linf", "epsilons": [0.1], "bounds": [0, 1]},
    } | changes


def threat(**changes: Any) -> dict[str, Any]:
    """Return a specification whose threat has some fields changed."""
    return spec(threat={"epsilons": [0.1], **changes})


def test_defaults_are_written_out() -> None:
    """What decides the report is complete; what does not is left out of it."""
    what = EvaluateJob.model_validate(spec(priority=3, metadata={"a": "b"})).what()
    assert what["suite"] == {"name": "quick", "version": None, "overrides": None}
    assert (what["seed"], what["block"]) == (0, 64)
    assert not {"priority", "metadata", "max_seconds"} & what.keys()


def test_further_norms_mode_and_datatype_decide_the_report() -> None:
    """All are part of what the shard keys are made of, and written out where they are left out."""
    asked = spec(also=[{"norm": "l2", "epsilons": [1.0]}], mode="vote", datatype="UINT8")
    what = EvaluateJob.model_validate(asked).what()
    assert [threat["norm"] for threat in (what["threat"], *what["also"])] == ["linf", "l2"]
    assert (what["mode"], what["datatype"]) == ("vote", "UINT8")
    plain = EvaluateJob.model_validate(spec()).what()
    assert (plain["also"], plain["mode"], plain["datatype"]) == ([], "prob", "FP32")


REFUSED = {
    "another type": spec(type="shell"),
    "unknown field": spec(command="rm"),
    "unknown field of the threat": threat(steps=5),
    "unknown field of the data": spec(data={"name": "digits", "path": "/etc"}),
    "unknown field of the suite": spec(suite={"name": "quick", "attacks": []}),
    "negative radius": threat(epsilons=[-0.1]),
    "NaN radius": threat(epsilons=[float("nan")]),
    "infinite radius": threat(epsilons=[float("inf")]),
    "huge radius": threat(epsilons=[1e9]),
    "radius of text": threat(epsilons=["0.1"]),
    "no radius": threat(epsilons=[]),
    "radius twice": threat(epsilons=[0.1, 0.1]),
    "bounds reversed": threat(bounds=[1, 0]),
    "other bounds": threat(bounds=[0, 255]),
    "unknown norm": threat(norm="l0"),
    "no samples": spec(data={"name": "digits", "n": 0}),
    "fractional samples": spec(data={"name": "digits", "n": 1.5}),
    "bool samples": spec(data={"name": "digits", "n": True}),
    "a path as data set": spec(data={"name": "folder:/etc"}),
    "a URL as target": spec(target="http://example.com/x"),
    "unknown split": spec(data={"name": "digits", "split": "all"}),
    "negative seed": spec(seed=-1),
    "block of zero": spec(block=0),
    "huge block": spec(block=10**9),
    "metadata of another kind": spec(metadata={"a": {"b": "c"}}),
    "huge metadata": spec(metadata={str(index): "x" for index in range(100)}),
    "priority out of range": spec(priority=4),
    "unknown mode": spec(mode="best"),
    "unknown datatype": spec(datatype="INT8"),
    "a norm twice": spec(also=[{"norm": "linf", "epsilons": [0.2]}]),
    "too many norms": spec(also=[{"norm": norm, "epsilons": [1.0]} for norm in ("l2", "l1", "linf")]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_jobs_are_refused(case: str) -> None:
    """Each is one validation error."""
    with pytest.raises(ValidationError):
        EvaluateJob.model_validate(REFUSED[case])
