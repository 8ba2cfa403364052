"""The committed OpenAPI document is that of the application, complete, and its examples are what it says they are.

Seen to fail when: a route is added without the file; a route is left out of the schema; an error of the table is
dropped; an operation loses its example; a field is answered that no shape has; a guarded route names no key.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from fastapi.routing import APIRoute

from service.app import create_app
from service.openapi.__main__ import text
from service.openapi.answers import Facts
from service.openapi.document import operations
from service.settings import Settings

COMMITTED = Path(__file__).parents[3] / "docs" / "openapi.json"
REMEDY = (
    "docs/openapi.json is not what the application says: run `python -m service.openapi docs/openapi.json`, commit it"
)
#: Pages for people, and what answers their browsers: `/docs` describes the API, not these.
PAGES = {
    "/", "/jobs/{job_id}", "/models/{name}", "/reports/{report_id}", "/favicon.ico", "/evaluate", "/compare", "/docs",
    "/login", "/logout", "/try", "/v2/", "/problems/{status}",
}  # fmt: skip


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the committed document."""
    found: dict[str, Any] = json.loads(COMMITTED.read_text(encoding="utf-8"))
    return found


def flat(route: Any) -> list[Any]:
    """Return a route, or the routes of an included router."""
    router = getattr(route, "original_router", None)
    return [route] if router is None else [inner for one in router.routes for inner in flat(one)]


def described(document: dict[str, Any]) -> list[tuple[Facts, dict[str, Any]]]:
    """Return every operation."""
    return list(operations(document))


def test_the_committed_document_is_the_applications() -> None:
    """A changed route comes with the changed document, which one command writes."""
    assert COMMITTED.read_text(encoding="utf-8") == text(), REMEDY


def test_the_document_has_every_route_and_no_other(document: dict[str, Any]) -> None:
    """What the application routes is described, but for the pages."""
    listed = create_app(Settings()).routes
    routes = [route for one in listed for route in flat(one) if isinstance(route, APIRoute)]
    routed = {(method, route.path) for route in routes for method in route.methods if route.path not in PAGES}
    assert routed == {(facts.method, facts.path) for facts, _ in described(document)}
    assert {route.path for route in routes if not route.include_in_schema} <= PAGES


def test_every_operation_is_complete(document: dict[str, Any]) -> None:
    """A name of its own, words, a key where one is asked for, every error with its form, `Retry-After` where it is."""
    found = described(document)
    names = [operation["operationId"] for _, operation in found]
    assert len(set(names)) == len(names)
    for facts, operation in found:
        name, answers = operation["operationId"], operation["responses"]
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert bool(operation["security"]) == facts.is_guarded, name
        expected = {"400", "401", "403", "429"} if facts.is_guarded else {"403"}
        assert expected <= set(answers), name
        for status, answer in answers.items():
            if status >= "400":
                media = "application/json" if facts.is_protocol else "application/problem+json"
                assert set(answer["content"]) == {media}, (name, status)
            if status in ("429", "503"):
                assert answer["headers"]["Retry-After"]["required"], (name, status)
        assert any(status < "300" for status in answers), name


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("infer", {"400", "404", "413", "415", "429", "500", "503", "504"}),
        ("try", {"413", "415", "422", "429", "503", "504"}),
        ("create_job", {"413", "415", "422", "429"}),
        ("get_job_file", {"206", "304", "404", "410", "416"}),
        ("get_report", {"304", "404", "406", "410"}),
        ("compare_reports", {"404", "409", "410"}),
        ("delete_job", {"404", "409", "412"}),
        ("server_ready", {"503"}),
    ],
)
def test_statuses_by_name(document: dict[str, Any], name: str, statuses: set[str]) -> None:
    """What a route answers besides is named; 500 and 504 by inference and tries only."""
    by_name = {operation["operationId"]: operation for _, operation in described(document)}
    assert statuses <= set(by_name[name]["responses"])
    with_500 = {name for name, operation in by_name.items() if "500" in operation["responses"]}
    with_504 = {name for name, operation in by_name.items() if "504" in operation["responses"]}
    assert with_500 == {"infer", "infer_version"}
    assert with_504 == {"infer", "infer_version", "try"}


def test_inference_takes_and_gives_binary_tensors(document: dict[str, Any]) -> None:
    """Both forms, with the header that says where JSON ends."""
    for path in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        operation = document["paths"][path]["post"]
        both = {"application/json", "application/octet-stream"}
        assert set(operation["requestBody"]["content"]) == both
        assert set(operation["responses"]["200"]["content"]) == both
        assert "Inference-Header-Content-Length" in {one["name"] for one in operation["parameters"]}


def examples(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield (where, schema, example) of every JSON body and answer."""
    for _, operation in described(document):
        places = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for where, place in places.items():
            for media, content in place.get("content", {}).items():
                if (
                    media.startswith("application/")
                    and media.endswith("json")
                    and content["schema"] != {"type": "object"}
                ):
                    several = [one["value"] for one in content.get("examples", {}).values()]
                    listed = several or content["schema"].get("examples") or [content.get("example")]
                    for example in listed:
                        yield f"{operation['operationId']} {where}", content["schema"], example


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    """Each JSON body and answer has one; answers were taken from a running service."""
    checked = 0
    for where, schema, example in examples(document):
        assert example is not None, where
        whole = {**schema, "components": document["components"]}
        errors = [error.message for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(example)]
        assert not errors, (where, errors[:3])
        checked += 1
    assert checked > 300
