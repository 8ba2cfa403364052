"""Shapes of the Open Inference Protocol's answers."""

from typing import Any, Literal

from pydantic import Field

from service.openapi.shapes import Shape

Scalar = str | float | bool


class Live(Shape):
    """The process answers."""

    live: Literal[True]


class Ready(Shape):
    """The service takes work."""

    live: Literal[True]
    ready: Literal[True]


class Started(Shape):
    """Everything stored was tried once."""

    live: Literal[True]
    started: Literal[True]


class ServerMetadata(Shape):
    """Name, version and the protocol extensions a test passes for."""

    name: Literal["levelset"]
    version: str
    extensions: list[str]


class TensorMetadata(Shape):
    """One input or output; -1 is the number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Shape):
    """Inputs and outputs of one view."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any] = Field(default_factory=dict, description="`members` and `mode` of an ensemble")


class ModelReady(Shape):
    """The view answers."""

    name: str
    ready: Literal[True]


class Reshape(Shape):
    """One number per row has no dimensions of its own."""

    shape: list[int]


class TensorConfig(Shape):
    """One input or output in the words of the configuration extension."""

    name: str
    data_type: str
    dims: list[int]
    optional: bool = Field(False, description="exactly one of the inputs is sent")
    reshape: Reshape | None = None


class ModelConfig(Shape):
    """Configuration of one view."""

    name: str
    platform: str
    max_batch_size: int = Field(ge=1, description="rows one request may hold")
    input: list[TensorConfig]
    output: list[TensorConfig]


class Duration(Shape):
    """How often, and how long in all."""

    count: int = Field(ge=0)
    ns: int = Field(ge=0)


class InferenceStatistics(Shape):
    """Where the time of requests went."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class BatchStatistics(Shape):
    """Executions of one size."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(Shape):
    """Counters of one view since its model was loaded; they only grow."""

    name: str
    version: str
    last_inference: int = Field(description="milliseconds since the epoch; 0 before the first")
    inference_count: int = Field(description="rows answered")
    execution_count: int = Field(description="executions run")
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class Statistics(Shape):
    """Counters of one view or of all."""

    model_stats: list[ModelStatistics]


class StoredVersion(Shape):
    """One stored version and its state."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class Nothing(Shape):
    """An empty object: it is done."""


class InferOutput(Shape):
    """One output tensor; its numbers are flat, row by row, or lie in the binary part."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    data: list[Scalar] = Field(default_factory=list)


class InferResponse(Shape):
    """The requested outputs."""

    model_name: str
    model_version: str
    id: str = Field("", description="the request's own, where it had one")
    parameters: dict[str, Scalar] = Field(default_factory=dict)
    outputs: list[InferOutput]
