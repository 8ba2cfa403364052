"""`describe(app)`: the OpenAPI document of the application, complete, and the same at every start."""

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from service.openapi.answers import JSON, Facts, error_responses
from service.openapi.shapes import Problem, ProtocolError
from service.security.sessions import COOKIE, CSRF_HEADER

REFERENCE: Final = "#/components/schemas/{model}"
SAFE: Final = frozenset({"GET", "HEAD"})
_DESCRIPTION: Final = (
    "Symmetry ensembles of a classifier: `/v2` speaks the Open Inference Protocol with its binary tensor, model "
    "repository, statistics, parameters and model configuration extensions; `/api/v1` has models, ensembles, jobs and "
    "reports. On loopback no key is asked for until one was made."
)
_SCHEMES: Final[Mapping[str, Any]] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "a key as `levelset keys create` prints it; of the scopes beside it one is needed",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"of the pages, not under /v2; requests that change something carry `{CSRF_HEADER}` besides",
    },
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document; it is made once and kept with the application."""
    if app.openapi_schema is None:
        app.openapi_schema = _described(app)
    return app.openapi_schema


def _described(app: FastAPI) -> dict[str, Any]:
    document: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = dict(_SCHEMES)
    for model in (Problem, ProtocolError):
        _add_shape(components.setdefault("schemas", {}), model)
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    examples = answer_examples()
    for facts, operation in operations(document):
        _complete(facts, operation, examples)
    return document


def operations(document: Mapping[str, Any]) -> Iterator[tuple[Facts, dict[str, Any]]]:
    """Yield every operation of a document with what it is."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parameters = [one for one in operation.get("parameters", ()) if one["in"] != "path" or _is_number(one)]
            yield Facts(method.upper(), path, "requestBody" in operation, bool(parameters)), operation


def answer_examples() -> dict[str, Any]:
    """Return one good answer of every operation that answers JSON, by operation id; taken from a running service."""
    found: dict[str, Any] = json.loads(files("service.openapi").joinpath("examples.json").read_text(encoding="utf-8"))
    return found


def _complete(facts: Facts, operation: dict[str, Any], examples: Mapping[str, Any]) -> None:
    # A client's own validation errors are 422 here only where the framework's are, and in our own form.
    own = {status: answer for status, answer in operation["responses"].items() if not _is_framework(answer)}
    good = {status: answer for status, answer in own.items() if status < "400"}
    for answer in good.values():
        content = answer.get("content", {}).get(JSON)
        if content is not None and operation["operationId"] in examples:
            content["example"] = examples[operation["operationId"]]
    operation["responses"] = {**good, **error_responses(facts, own)}
    if facts.scopes is not None:
        wanted = sorted(facts.scopes)
        operation["security"] = [{"key": wanted}] + ([] if facts.is_protocol else [{"session": wanted}])
    else:
        operation["security"] = []


def _is_framework(answer: Mapping[str, Any]) -> bool:
    schema = answer.get("content", {}).get(JSON, {}).get("schema", {})
    return str(schema.get("$ref", "")).endswith("/HTTPValidationError")


def _is_number(parameter: Mapping[str, Any]) -> bool:
    return bool(parameter["schema"].get("type") == "integer")


def _add_shape(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template=REFERENCE, mode="serialization")
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
