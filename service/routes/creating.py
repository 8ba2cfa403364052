"""What every creating request has in common: its body is JSON, and its Idempotency-Key is readable."""

import re
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from service.errors import MalformedRequest, UnprocessableRequest, UnsupportedMedia
from service.jobs.ledger import IdempotencyKey
from service.jobs.orders import AnyJob, job_of
from service.json_body import load_json
from service.store.canonical import digest

JSON: Final = "application/json"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,95}")
REPLAYED: Final = "Idempotency-Replayed"


def check_stored_name(name: str) -> None:
    """Return nothing where something may be stored under a name; judged again where it is stored.

    Raises:
        UnprocessableRequest: it may not.
    """
    if _NAME.fullmatch(name) is None:
        raise UnprocessableRequest(
            f"name: expected a letter or digit and at most 95 letters, digits, '_' or '-', got {name[:80]!r}; "
            "choose such a name",
            field="name",
        )


def check_media(value: str) -> None:
    """Return nothing where a content type is JSON.

    Raises:
        UnsupportedMedia: it is not.
    """
    media = value.partition(";")[0].strip().lower()
    if media != JSON and not (media.startswith("application/") and media.endswith("+json")):
        raise UnsupportedMedia(f"Content-Type: expected {JSON}, got {media[:40]!r}; name it in the request's headers")


def parse_job(body: bytes, *, only: str | None = None) -> AnyJob:
    """Return the specification of a job.

    Args:
        body: JSON.
        only: the one type that the route takes, which the body then need not name.

    Raises:
        MalformedRequest: it is no JSON.
        UnprocessableRequest: it names no type of job.
        RequestValidationError: it does not fit its type.
    """
    content = load_json(body)
    if only is not None and isinstance(content, dict):
        if content.get("type", only) != only:
            raise UnprocessableRequest(f"type: expected {only!r} or none, got another; leave it out", field="type")
        content = {**content, "type": only}
    elif only is not None:
        raise UnprocessableRequest("body: expected an object, got another value", field="body")
    try:
        return job_of(content)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def idempotency_key(route: str, header: str | None, job: AnyJob) -> IdempotencyKey | None:
    """Return the key of a request, None where it has none.

    Raises:
        MalformedRequest: it is not 1 to 255 visible ASCII characters.
    """
    if header is None:
        return None
    if not 1 <= len(header) <= 255 or not all("!" <= letter <= "~" for letter in header):
        raise MalformedRequest("Idempotency-Key: expected 1 to 255 visible ASCII characters, got another text")
    return IdempotencyKey(route, header, digest(job.model_dump(mode="json")))


def inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """Return a JSON schema with its references replaced by what they name, for a document that has its own."""
    if isinstance(node, list):
        return [inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    named = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
    return {name: inlined(value, definitions) for name, value in {**named, **node}.items() if name != "$ref"}
