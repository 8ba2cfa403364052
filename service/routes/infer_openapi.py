"""What the OpenAPI document says about inference: two forms of body, and every status it answers with."""

from typing import Any, Final

from service.inference.codec import BINARY, HEADER, JSON
from service.openapi.protocol import InferResponse

_PARAMETERS: Final = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_DATATYPES: Final = ("FP32", "UINT8", "BYTES")  # of a model's inputs; others are read, and refused by every model
_TENSOR: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "enum": ["input", "input_uint8", "image"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 8},
        "datatype": {"type": "string", "enum": list(_DATATYPES)},
        "parameters": _PARAMETERS,
        "data": {"type": "array", "items": {}, "description": "nested or flat, row by row"},
    },
}
_REQUEST: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
            },
        },
    },
}
_EXAMPLE: Final = {
    "inputs": [{"name": "input", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}],
    "outputs": [{"name": "labels"}, {"name": "disagreement"}],
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


DESCRIBED: Final[dict[str, Any]] = {
    "response_model": InferResponse,
    "responses": {
        200: {
            "description": "the requested outputs",
            "content": {
                JSON: {},
                BINARY: {"schema": {"type": "string", "format": "binary"}},
            },
            "headers": {HEADER: {"schema": {"type": "integer"}, "description": "bytes of the JSON part"}},
        },
        **{status: {"description": text} for status, text in _STATUSES.items()},
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
