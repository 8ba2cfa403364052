"""Which errors an operation may answer with: one table, from what an operation is to the statuses it has."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from service.security.scopes import Scope, needed

PROBLEM_MEDIA: Final = "application/problem+json"
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Facts:
    """What of an operation decides which errors it has.

    Attributes:
        method: upper case.
        path: template.
        has_body: whether a body is read.
        has_parameters: whether a query, a header or a number in the path is judged.
    """

    method: str
    path: str
    has_body: bool
    has_parameters: bool

    @property
    def is_protocol(self) -> bool:
        """Whether errors are those of the inference protocol."""
        return self.path == "/v2" or self.path.startswith("/v2/")

    @property
    def scopes(self) -> frozenset[Scope] | None:
        """Scopes of which a key needs one; None for what is open to everybody."""
        return needed(self.method, self.path.replace("{", "x").replace("}", "x"))

    @property
    def is_guarded(self) -> bool:
        """Whether a key is asked for, where there are keys."""
        return self.scopes is not None


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: operations of this kind may answer with this status."""

    status: int
    words: str
    applies: Callable[[Facts], bool]


RULES: Final = (
    Rule(400, "it cannot be read: syntax, an unknown field, a key in the address", lambda facts: facts.is_guarded),
    Rule(401, "no key, or none that is good: made here, not revoked, not expired", lambda facts: facts.is_guarded),
    Rule(403, "the key lacks the scope, or the Host or Origin is foreign", lambda _: True),
    Rule(404, "what the path names is not there, or is another owner's", lambda facts: "{" in facts.path),
    Rule(413, "more than is taken", lambda facts: facts.has_body),
    Rule(415, "a content type or a compression that is not read", lambda facts: facts.has_body),
    Rule(
        422,
        "it can be read but not done; `errors` names the fields",
        lambda facts: not facts.is_protocol and (facts.has_body or facts.has_parameters),
    ),
    Rule(429, "too often or too much at once; Retry-After says when to come back", lambda facts: facts.is_guarded),
    Rule(
        503,
        "models are being loaded, or the service is stopping; Retry-After says when to come back",
        lambda facts: facts.path.startswith("/v2/models/{model}"),
    ),
)
_TEXT: Final = {"schema": {"type": "string"}}
_SECONDS: Final = {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}}
HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"required": True, **_TEXT}},
    429: _SECONDS,
    503: _SECONDS,
}


def error_responses(facts: Facts, own: dict[str, Any]) -> dict[str, Any]:
    """Return every error response of an operation by status.

    Args:
        facts: what the operation is.
        own: responses that its route names itself, whose words win.
    """
    words = {str(rule.status): rule.words for rule in RULES if rule.applies(facts)}
    words |= {status: answer["description"] for status, answer in own.items() if _is_error(status)}
    return {status: _answer(int(status), text, facts) for status, text in sorted(words.items())}


def _is_error(status: str) -> bool:
    return status >= "400"


def _answer(status: int, words: str, facts: Facts) -> dict[str, Any]:
    example: dict[str, Any]
    if facts.is_protocol:
        media, shape, example = JSON, "ProtocolError", {"error": _EXAMPLE}
    else:
        media, shape = PROBLEM_MEDIA, "Problem"
        example = {
            "type": f"/problems/{status}",
            "title": _title(status),
            "status": status,
            "detail": _EXAMPLE,
            "instance": facts.path,
            "request_id": "0c5f2f0e5d1e4b6f8a1d7e1f2f3a4b5c",
        }
    schema = {"$ref": f"#/components/schemas/{shape}"}
    answer: dict[str, Any] = {"description": words, "content": {media: {"schema": schema, "example": example}}}
    if status in HEADERS:
        answer["headers"] = HEADERS[status]
    return answer


_OTHERS: Final[dict[int, str]] = {
    206: "the one range of it that was asked for",
    304: "the client has it already: If-None-Match names its ETag",
    404: "something that the body names is not there",
    406: "none of the forms it has is accepted",
    409: "its state, or something that needs it, forbids this",
    410: "its record is there, its file is missing or damaged",
    412: "If-Match names another state of it",
    416: "a range beyond its end",
    503: "no worker takes it; Retry-After says when to come back",
    504: "it took longer than it may",
}


def also(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses that a route names besides those that every operation of its kind has."""
    return {status: {"description": _OTHERS[status]} for status in statuses}


_EXAMPLE: Final = "name: expected what is described here, got something else; what to do instead"


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
