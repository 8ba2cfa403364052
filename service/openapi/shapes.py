"""What the shapes of the document have in common; they describe answers, and are never used to make one."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Shape(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Shape, Generic[T]):
    """One page of a list."""

    data: list[T]
    has_more: bool = Field(description="whether older entries follow")
    next_cursor: str | None = Field(description="pass it as `cursor` for the next page; null on the last one")


class FieldProblem(Shape):
    """One field at fault."""

    field: str = Field(description="its path in the request")
    message: str = Field(description="what was expected, what came, what to do")


class Problem(Shape):
    """An error under /api/v1 (RFC 9457)."""

    type: str = Field(description="a page of this service that explains the status")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="what was expected, what came, what to do")
    instance: str = Field(description="path of the request")
    request_id: str
    errors: list[FieldProblem] = Field(default_factory=list, description="fields at fault, where there are any")


class ProtocolError(Shape):
    """An error under /v2."""

    error: str = Field(description="what was expected, what came, what to do")


class Notice(Shape):
    """Something the client must know besides the result."""

    code: str
    message: str
