"""What the OpenAPI document says about inference: two forms of body, and every status it answers with."""

from typing import Any, Final

from service.inference.codec import BINARY, HEADER, JSON

_TENSOR: Final = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 8},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    },
}
_REQUEST: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
            },
        },
    },
}
_EXAMPLE: Final = {"inputs": [{"name": "input", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}]}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_STATUSES: Final = {
    400: "malformed, or not what the model declares",
    404: "unknown model, version or member",
    413: "more bytes, rows or pixels than are taken",
    415: "a compression that is not read",
    429: "a bound of the queue is reached, or the answer would come too late; Retry-After says when to come back",
    500: "the model failed on this request",
    503: "loading or stopping",
    504: "no answer by the deadline",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of a route under /v2, by status."""
    return {
        status: {"description": _STATUSES[status], "content": {JSON: {"schema": _ERROR}}} for status in sorted(statuses)
    }


DESCRIBED: Final[dict[str, Any]] = {
    "responses": {
        200: {
            "description": "the requested outputs",
            "content": {
                JSON: {"schema": {"type": "object"}},
                BINARY: {"schema": {"type": "string", "format": "binary"}},
            },
            "headers": {HEADER: {"schema": {"type": "integer"}, "description": "bytes of the JSON part"}},
        },
        **errors(*_STATUSES),
    },
    "openapi_extra": {
        "parameters": [
            {
                "name": HEADER,
                "in": "header",
                "required": False,
                "schema": {"type": "integer", "minimum": 0},
                "description": "bytes of the JSON part, where tensors follow it; 0 for one raw row",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": _REQUEST, "example": _EXAMPLE},
                BINARY: {"schema": {"type": "string", "format": "binary"}},
            },
        },
    },
}
