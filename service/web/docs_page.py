"""The OpenAPI document as one readable page: no viewer from elsewhere, no script."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from service.web import words

METHODS: Final = ("get", "put", "post", "patch", "delete", "head")
LONGEST: Final = 60
NUMBERS: Final = re.compile(r"\[([\s\d.,+-]+)\]")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, header or field of a body."""

    name: str
    place: str
    kind: str
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    media: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    answers: tuple[tuple[str, str], ...]
    example: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """Operations that belong together."""

    name: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class DocsPage:
    """The whole document."""

    title: str
    version: str
    summary: str
    chapters: tuple[Chapter, ...]


def docs_page(document: Mapping[str, Any]) -> DocsPage:
    """Return what a reader sees of an OpenAPI document; its order is kept.

    Args:
        document: version 3, as the application makes it.
    """
    info = document.get("info") or {}
    chapters: dict[str, list[Operation]] = {}
    for tag, operation in _operations(document):
        chapters.setdefault(tag, []).append(operation)
    return DocsPage(
        title=str(info.get("title", "API")),
        version=str(info.get("version", words.DASH)),
        summary=str(info.get("summary") or info.get("description") or ""),
        chapters=tuple(Chapter(name, tuple(found)) for name, found in chapters.items()),
    )


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, Operation]]:
    for path, methods in (document.get("paths") or {}).items():
        for method in METHODS:
            if method in methods:
                found = methods[method]
                yield str((found.get("tags") or ["other"])[0]), _operation(document, path, method, found)


def _operation(document: Mapping[str, Any], path: str, method: str, found: Mapping[str, Any]) -> Operation:
    content = (found.get("requestBody") or {}).get("content") or {}
    schemas = [_resolved(document, entry.get("schema") or {}) for entry in content.values()]
    body = next((schema for schema in schemas if schema.get("properties")), {})
    examples = body.get("examples") or [entry["example"] for entry in content.values() if "example" in entry]
    return Operation(
        id=str(found.get("operationId", f"{method}-{path}")),
        method=method.upper(),
        path=path,
        summary=str(found.get("summary", "")),
        description=" ".join(str(found.get("description", "")).split()),
        media=tuple(content),
        parameters=(
            *(_parameter(document, one) for one in found.get("parameters") or ()),
            *_fields(document, body),
        ),
        answers=tuple(
            (str(status), str(answer.get("description", "")))
            for status, answer in (found.get("responses") or {}).items()
        ),
        example=_shown(examples[0]) if examples else "",
    )


def _shown(example: object) -> str:
    """Return an example as JSON, lists of numbers on one line."""
    text = json.dumps(example, indent=1, ensure_ascii=False)
    return NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)


def _parameter(document: Mapping[str, Any], one: Mapping[str, Any]) -> Parameter:
    one = _resolved(document, one)
    schema = _resolved(document, one.get("schema") or {})
    text = str(one.get("description") or schema.get("description") or "")
    return Parameter(str(one.get("name")), str(one.get("in")), _kind(document, schema), bool(one.get("required")), text)


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any], above: str = "") -> Iterator[Parameter]:
    required = schema.get("required") or ()
    for name, inner in (schema.get("properties") or {}).items():
        inner = _resolved(document, inner)
        kind, text = _kind(document, inner), str(inner.get("description", ""))
        yield Parameter(f"{above}{name}", "body", kind, name in required, text)
        if inner.get("properties") and not above:
            yield from _fields(document, inner, f"{name}.")


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reference stands for, with the words beside it."""
    if "$ref" not in schema:
        return schema
    found: Any = document
    for part in str(schema["$ref"]).removeprefix("#/").split("/"):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    schema = _resolved(document, schema)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_kind(document, one) for one in choices))
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        text = ", ".join(map(str, schema["enum"]))
        return f"one of {text}" if len(text) <= LONGEST else str(schema.get("type", "text"))
    if schema.get("type") == "array":
        return f"list of {_kind(document, schema.get('items') or {})}"
    return str(
        schema.get("title") if schema.get("type") == "object" and schema.get("title") else schema.get("type", "any")
    )
