"""Bad input over HTTP, against one real service: every refusal is 4xx, says what to do, names no path, harms nobody.

Seen to fail: a job whose target cannot be loaded taken, to fail later; a damaged record answered with 500; the
framework's own words in place of what came; a path in the error of a job; 503 for files that waiting does not mend.
"""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.integration.service_process import Service

GREY: Any = np.full((1, 1, 8, 8), 0.5)
PLACES = ("/tmp", "/work", "/root", "/home", "site-packages", "Traceback", 'File "')


def refused(response: httpx.Response, status: int) -> str:
    """Return the text of a refusal, which has that status, says enough and not too much."""
    assert response.status_code == status, response.text
    body = response.json()
    text = body.get("error") or body["detail"]
    assert "expected" in text, text
    assert "got" in text, text
    assert ";" in text, f"no remedy: {text}"
    assert not [place for place in PLACES if place in response.text], response.text
    return str(text)


def infer(service: Service, rows: Any, model: str = "digits") -> httpx.Response:
    """Return the answer to an array, NaN and infinity as Python's json writes them."""
    tensor = {"name": "input", "shape": list(rows.shape), "datatype": "FP32", "data": rows.reshape(-1).tolist()}
    return service.client.post(f"/v2/models/{model}/infer", content=json.dumps({"inputs": [tensor]}))


def post(service: Service, body: Any) -> httpx.Response:
    """Return the answer to a job."""
    headers = {"Content-Type": "application/json"}
    return service.client.post("/api/v1/jobs", content=json.dumps(body), headers=headers)


def spec(**changes: Any) -> dict[str, Any]:
    """Return a valid job with some fields changed."""
    valid = {"type": "evaluate", "target": "digits", "data": {"name": "digits", "n": 8}, "threat": {"epsilons": [0.1]}}
    return valid | changes


def is_well(service: Service) -> bool:
    """Return whether the service is ready and still answers a good request."""
    return service.is_ready() and infer(service, GREY).status_code == 200


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (GREY * np.nan, "finite numbers"),
        (GREY * np.inf, "Infinity"),
        (GREY * 3, "got 1.5 to 1.5"),
        (GREY - 1, "got -0.5 to -0.5"),
        (GREY[..., :7], "got [1, 1, 8, 7]"),
        (GREY[0], "got [1, 8, 8]"),
        (GREY[:0], "at least one row"),
    ],
)
def test_bad_arrays(service: Service, rows: Any, words: str) -> None:
    """Non-finite, outside the bounds, of another shape or empty: 400 with what came."""
    assert words in refused(infer(service, rows), 400)
    assert is_well(service)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody", "expected one of ['digits']"),
        ("digits.m9", "below 2"),
        ("../digits", ""),
        ("damaged", "cannot be used"),
        ("damaged.base", "cannot be used"),
        ("foreign", "cannot be used"),
        ("norecord", "cannot be used"),
    ],
)
def test_models_that_cannot_answer(service: Service, name: str, words: str) -> None:
    """Unknown, damaged, of an unknown architecture, without a record: 404, and no promise that waiting helps."""
    response = infer(service, GREY, name)
    assert words in refused(response, 404)
    assert "Retry-After" not in response.headers
    assert is_well(service)


JOBS: dict[str, tuple[Any, str]] = {
    "unknown target": (spec(target="nobody"), "got 'nobody'"),
    "path as target": (spec(target="../digits"), "got '../digits'"),
    "damaged target": (spec(target="damaged"), "cannot be used"),
    "target of an unknown architecture": (spec(target="foreign"), "cannot be used"),
    "target without a record": (spec(target="norecord"), "can be loaded"),
    "unknown suite": (spec(suite={"name": "nobody"}), "expected one of [quick, standard, thorough], got 'nobody'"),
    "negative radius": (spec(threat={"epsilons": [-0.1]}), "got -0.1"),
    "NaN as radius": (spec(threat={"epsilons": [float("nan")]}), "got nan"),
    "huge radius": (spec(threat={"epsilons": [1e9]}), "got 1e+09"),
    "no radius": (spec(threat={"epsilons": []}), "at least 1 item"),
    "text as radius": (spec(threat={"epsilons": ["0.1"]}), "got '0.1'"),
    "repeated radius": (spec(threat={"epsilons": [0.1, 0.1]}), "twice"),
    "unknown norm": (spec(threat={"norm": "l7", "epsilons": [0.1]}), "expected 'linf', 'l2' or 'l1', got 'l7'"),
    "other bounds": (spec(threat={"epsilons": [0.1], "bounds": [0, 255]}), "got [0.0, 255.0]"),
    "unknown data set": (spec(data={"name": "nobody"}), "got 'nobody'"),
    "data set that is not installed": (spec(data={"name": "cifar10"}), "files are missing"),
    "registered data set without its file": (spec(data={"name": "gone"}), "files are missing"),
    "path as data set": (spec(data={"name": "npz:/etc/passwd"}), "got 'npz:"),
    "more samples than there are": (spec(data={"name": "digits", "n": 10**6}), "got 1000000"),
    "no samples": (spec(data={"name": "digits", "n": 0}), "got 0"),
    "unknown part": (spec(data={"name": "digits", "split": "all"}), "got 'all'"),
    "an architecture": (spec(architecture="resnet20"), "'architecture'"),
    "another type": (spec(type="build"), "expected one of ['evaluate', 'figures', 'generate'], got 'build'"),
    "no target": ({"type": "evaluate"}, "got none"),
    "a list": ([spec()], "an object"),
    "half a character": (spec(metadata={"note": "\ud800"}), "unicode"),
}


@pytest.mark.parametrize("case", JOBS)
def test_jobs_that_cannot_run(service: Service, case: str) -> None:
    """Each is a 422 problem that names the field, and no job is stored."""
    body, words = JOBS[case]
    before = service.client.get("/api/v1/jobs").json()
    response = post(service, body)
    assert words in refused(response, 422)
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert response.json()["errors"][0]["field"]
    assert service.client.get("/api/v1/jobs").json() == before
    assert is_well(service)


def test_data_that_vanishes_after_the_job_was_taken(service: Service, street: Path) -> None:
    """The job fails with a reason that names no folder; what was stored before stays, and the next job runs."""
    accepted = spec(data={"name": "street", "n": 4})
    first = service.client.post("/api/v1/jobs", json=accepted).json()["id"]
    report = service.report(service.wait_for_end(first))
    street.unlink()
    lost = service.client.post("/api/v1/jobs", json=accepted | {"seed": 1}).json()["id"]
    error = service.wait_for_end(lost, "failed")["error"]
    assert (error["code"], error["retryable"]) == ("invalid", False)
    assert "expected a file" in error["message"]
    assert not [place for place in (*PLACES, "street files") if place in json.dumps(service.job(lost))]
    assert service.report(service.job(first)) == report
    assert is_well(service)
