"""The service's own exception tree, and the one table from error to HTTP.

    ServiceError                    root of what the service raises on purpose
      MalformedRequest            the request cannot be read: syntax, shape, datatype, range
      UnprocessableRequest        the request is readable but asks for what cannot be
        IdempotencyConflict       the same Idempotency-Key came with another body
      NotFound                    the named thing does not exist
        UnknownModel              no such model, version or view
        UnusableModel             it is stored, but its files cannot be loaded
      Unauthenticated             no key, or none that is good
      MethodRefused               a host, an origin or an operation that is not allowed
      NotAcceptable               none of the offered media types is accepted
      TooLarge                    a body or a batch above its limit
      UnsupportedMedia            a content type or encoding that is not read
      StateConflict               the resource's state forbids the move
      Gone                        the record is there, its artifact is not
      DamagedArtifact             a stored file does not match its digest
      Overloaded                  a bound is reached; come back later
      NotReady                    the model or the service cannot answer now
      DeadlineExceeded            the request waited longer than its deadline
      JobStopped                  the job was cancelled or paused under the worker's hands
      PoisonedShard               a shard killed its worker too often
      Nondeterministic            a shard that ran twice gave two results
      PreconditionFailed          If-Match names another state of the resource
      DataFolderInUse             another service owns the data folder

It stands beside `ensemble.errors` and not below it: the supervisor and the routes must not load torch, which importing
`ensemble` does. The table therefore names the rows of both trees by class name; the nearest class of an error decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Final


class ServiceError(Exception):
    """Root of what the service raises on purpose.

    Attributes:
        unread: whether it was raised before the request's body was read to its end, so that the connection must close.
    """

    unread = False


class MalformedRequest(ServiceError):
    """The request cannot be read."""


class UnprocessableRequest(ServiceError):
    """The request is readable but asks for what cannot be.

    Args:
        message: what, expected, got, remedy.
        field: path of the field that is at fault, for example `data.n`.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        self.field = field
        super().__init__(message)


class IdempotencyConflict(UnprocessableRequest):
    """The same Idempotency-Key came with another body."""


class NotFound(ServiceError):
    """The named thing does not exist."""


class UnknownModel(NotFound):
    """No such model, version or view."""


class UnusableModel(NotFound):
    """The model is stored, but cannot be loaded: nothing that a client may wait for."""


class Unauthenticated(ServiceError):
    """No key, or none that is good."""


class MethodRefused(ServiceError):
    """A host, an origin or an operation that is not allowed."""


class NotAcceptable(ServiceError):
    """None of the offered media types is accepted."""


class TooLarge(ServiceError):
    """A body or a batch above its limit."""

    unread = True


class UnsupportedMedia(ServiceError):
    """A content type or encoding that is not read."""

    unread = True


class StateConflict(ServiceError):
    """The resource's state forbids the move."""


class Gone(ServiceError):
    """The record is there, its artifact is not."""


class DamagedArtifact(ServiceError):
    """A stored file does not match its digest."""


class Overloaded(ServiceError):
    """A bound is reached.

    Args:
        message: the bound that was hit and the prediction.
        retry_after: seconds after which a new attempt is expected to be admitted.

    Attributes:
        reason: one word for the bound, as metrics count it.
    """

    reason = "not_ready"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class NotReady(Overloaded):
    """The model or the service cannot answer now."""


class DeadlineExceeded(ServiceError):
    """The request waited longer than its deadline."""


class JobStopped(ServiceError):
    """The job was cancelled or paused under the worker's hands; its result is dropped."""


class PoisonedShard(ServiceError):
    """A shard killed its worker too often."""


class Nondeterministic(ServiceError):
    """A shard that ran twice gave two results."""


class PreconditionFailed(ServiceError):
    """If-Match names another state of the resource."""


class DataFolderInUse(ServiceError):
    """Another service owns the data folder."""


@dataclass(frozen=True, slots=True)
class HttpError:
    """What a domain error is on the wire."""

    status: int
    detail: str
    headers: dict[str, str] = field(default_factory=dict)
    pointer: str | None = None

    @property
    def title(self) -> str:
        """Reason phrase of the status."""
        return HTTPStatus(self.status).phrase


HTTP_STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "MalformedRequest": 400,
        "UnprocessableRequest": 422,
        "Unauthenticated": 401,
        "NotFound": 404,
        "MethodRefused": 403,
        "NotAcceptable": 406,
        "TooLarge": 413,
        "UnsupportedMedia": 415,
        "StateConflict": 409,
        "Gone": 410,
        "PreconditionFailed": 412,
        "DamagedArtifact": 410,
        "Overloaded": 429,
        "NotReady": 503,
        "DeadlineExceeded": 504,
        # ensemble.errors
        "InputError": 422,
        "ArtifactError": 503,
    }
)
HIDDEN: Final = "the server could not answer; its log has the reason"


def to_http(error: Exception) -> HttpError:
    """Return the status, text and headers that `error` has over HTTP; 500 without a reason for what no row names."""
    status = next((HTTP_STATUS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in HTTP_STATUS), 500)
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Overloaded) else {}
    if isinstance(error, ServiceError) and error.unread:
        headers["Connection"] = "close"
    tells = (isinstance(error, ServiceError) and status != 500) or status == 422  # the rest may name local paths
    return HttpError(status, str(error) if tells else HIDDEN, headers, getattr(error, "field", None))
