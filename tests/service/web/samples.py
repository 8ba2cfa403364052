"""Resources of the API as the pages receive them, with hostile text where a client may put text."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.web.forms import EvaluateForm, evaluate_form
from service.web.try_page import TryForm, try_form

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{7*7}} javascript:alert(3)"


def job(state: str = "running", **changes: Any) -> dict[str, Any]:
    """Return a job resource in the given state."""
    done = {"queued": 0, "succeeded": 46}.get(state, 17)
    made = {
        "id": f"job-{state}",
        "object": "job",
        "type": "evaluate",
        "state": state,
        "spec": {
            "type": "evaluate",
            "target": "digits",
            "data": {"name": "digits", "split": "test", "n": 200},
            "threat": {"norm": "linf", "epsilons": [0.1, 0.2, 0.3], "bounds": [0, 1]},
            "suite": {"name": "quick"},
            "seed": 0,
            "block": 64,
        },
        "progress": {"shards_total": 46, "shards_done": done, "fraction": done / 46, "eta_seconds": 42.4},
        "attempt": 1,
        "created_at": "2026-01-02T03:04:05Z",
        "started_at": "2026-01-02T03:04:06Z",
        "finished_at": None,
        "error": {"code": "failed", "message": "data set 'x': expected files, got none"} if state == "failed" else None,
        "report_id": "report-1" if state == "succeeded" else None,
        "metadata": {},
    }
    return made | changes


def events(count: int = 3) -> list[dict[str, Any]]:
    """Return a log: queued, running, then shards."""
    moves = [{"from": None, "to": "queued"}, {"from": "queued", "to": "running"}]
    shards = [{"shards_done": i + 1, "shards_total": 46, "title": f"fgsm, points {i}"} for i in range(count)]
    kinds = ["state"] * 2 + ["progress"] * count
    return [
        {"seq": i + 1, "t": f"2026-01-02T03:04:{i:02d}Z", "level": "info", "kind": kind, "data": data}
        for i, (kind, data) in enumerate(zip(kinds, moves + shards, strict=True))
    ]


def model(**changes: Any) -> dict[str, Any]:
    """Return the description of a stored ensemble."""
    made = {
        "name": "digits",
        "version": "1",
        "architecture": "digits-cnn",
        "members": 8,
        "input_shape": [1, 8, 8],
        "num_classes": 10,
        "dataset": "digits",
        "created_at": "2026-01-02T03:00:00Z",
    }
    return made | changes


def report(status: str = "INCOMPLETE", **changes: Any) -> dict[str, Any]:
    """Return a report resource."""
    headline = {
        "model": "white_box",
        "norm": "linf",
        "epsilon": 0.3,
        "base_robust_accuracy": {"k": 0, "n": 200, "low": 0.0, "high": 0.019},
        "robust_accuracy": {"k": 22, "n": 200, "low": 0.074, "high": 0.161},
        "clean_accuracy": {"k": 193, "n": 200, "low": 0.929, "high": 0.983},
        "outcome": "NO CLAIM",
    }
    summary = {"target": "digits", "data": {"name": "digits", "split": "test", "n": 200}, "headline": headline}
    made = {"id": "report-1", "status": status, "summary": summary, "created_at": "2026-01-02T03:05:00Z"}
    return made | changes


def generation(members: int) -> dict[str, Any]:
    """Return a generation record: two sites, the second of which no activation gives a coordinate."""
    sites = [
        [
            {"site": "conv1 -> conv2", "residual": 0.1 + k / 100, "element_condition": 9.5, "blow_up": 3.0}
            | {"coordinate": 8.0 - 5 * k, "base_coordinate": 10.0},
            {"site": "conv2 -> linear1", "residual": 0.05, "element_condition": 20.0 + k, "blow_up": 7.0},
        ]
        for k in range(members)
    ]
    return {
        "recipe": {"scale": 1.2, "last_sites": None, "bounds": [0.0, 1.0]},
        "seed": 0,
        "calibration_rows": 396,
        "sites": sites,
        "agreement": [0.98 - k / 100 for k in range(members)],
    }


OFFERS = {
    "datasets": ["cifar10", "digits"],
    "suites": {"quick": {"attacks": [{}] * 8}, "standard": {"attacks": [{}] * 30}},
    "norms": ["linf", "l2", "l1"],
    "modes": ["prob", "vote", "random_member"],
    "radii": {"1": {"linf": [0.1, 0.2], "l2": [1.0, 1.5]}, "3": {"linf": [2 / 255, 8 / 255]}},
}


def form(
    problems: Mapping[str, str] | None = None,
    *,
    models: Sequence[dict[str, Any]] | None = None,
    values: Mapping[str, str] | None = None,
) -> EvaluateForm:
    """Return the form of a new evaluation with one ensemble."""
    return evaluate_form([model()] if models is None else models, OFFERS, values=values or {}, problems=problems)


def answer(**changes: Any) -> dict[str, Any]:
    """Return what a try answers: the base falls from 3 to 8, one of two members and the ensemble hold."""
    before = {"label": 3, "probability": 0.98}
    after = {"label": 8, "probability": 0.75}
    made = {
        "object": "try",
        "cached": False,
        "asked": {"norm": "linf", "epsilon": 8 / 255, "attack": "pgd", "steps": 20, "surrogate": "base"},
        "label": {"value": 3, "source": "data set"},
        "clean": {"base": before, "members": [before, before], "ensemble": before, "disagreement": 0.0},
        "adversarial": {"base": after, "members": [before, after], "ensemble": before, "disagreement": 1.0},
        "perturbation": {"linf": 0.0313, "l2": 0.2, "l1": 1.5},
        "pictures": {"clean": "QQ==", "adversarial": "QQ==", "difference": "QQ==", "scale": 16.0},
        "seconds": 0.4,
    }
    return made | changes


def try_form_of(
    *,
    models: Sequence[dict[str, Any]] | None = None,
    values: Mapping[str, str] | None = None,
    problem: str = "",
    answer: dict[str, Any] | None = None,
) -> TryForm:
    """Return the form of a try with one ensemble."""
    known = [model()] if models is None else models
    return try_form(known, OFFERS, values=values or {}, problem=problem, answer=answer)


def comparison(**changes: Any) -> dict[str, Any]:
    """Return a comparison of two reports: a gain in the white box, a loss on clean inputs."""
    row = {"n": 200, "b": 30, "c": 10, "p": 0.001, "p_reverse": 1.0, "p_holm": 0.002, "target": "ensemble"}
    made = {
        "words": "Paired on the same points.",
        "same_suite": True,
        "data": {"name": "digits", "split": "test", "n": 200},
        "rows": [
            row
            | {"knowledge": "clean", "norm": None, "epsilon": None, "first": 190, "second": 196}
            | {"gain": -0.03, "low": -0.06, "high": -0.01},
            row
            | {"knowledge": "white_box", "norm": "linf", "epsilon": 8 / 255, "first": 60, "second": 40}
            | {"gain": 0.1, "low": 0.05, "high": 0.15},
        ],
    }
    return made | changes


DOCUMENT = {
    "info": {"title": "levelset", "version": "1.0", "summary": "Inference and jobs"},
    "paths": {
        "/api/v1/jobs": {
            "post": {
                "tags": ["jobs"],
                "operationId": "create_job",
                "summary": "Hand in a job",
                "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": {"anyOf": [{"type": "string"}]}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}},
                "responses": {"202": {"description": "queued"}},
            }
        }
    },
    "components": {
        "schemas": {
            "Data": {
                "type": "object",
                "title": "Data",
                "properties": {"n": {"type": "integer", "description": "count"}},
            },
            "Order": {
                "type": "object",
                "required": ["target"],
                "properties": {"target": {"type": "string"}, "data": {"$ref": "#/components/schemas/Data"}},
                "examples": [{"target": "digits"}],
            },
        }
    },
}


def so_far() -> dict[str, Any]:
    """Return a partial report: one attack on the ensemble and on a member, one that has judged nothing yet."""
    row = {"attack": "fgsm@stolen_base", "held": 30, "n": 60, "value": 0.5, "low": 0.4, "high": 0.6}
    empty = {"attack": "pgd", "target": "base", "held": 0, "n": 0, "value": None, "low": None, "high": None}
    return {"words": "Provisional.", "attacks": [row | {"target": "ensemble"}, row | {"target": "member-0"}, empty]}
