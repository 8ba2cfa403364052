"""Around everything: the trace a request belongs to, one log line and one count for each answer."""

import logging
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.context import CURRENT, TRACE, continue_trace
from service.observability.instruments import Instruments
from service.observability.logs import FIELDS

LOG = logging.getLogger("levelset.access")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED: Final = "_unmatched"


class Observed:
    """Continues the trace, counts and logs every HTTP request.

    Args:
        app: the application behind it, its gate included.
        instruments: metrics of the application.
    """

    def __init__(self, app: ASGIApp, *, instruments: Instruments) -> None:
        self._app = app
        self._instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = continue_trace(Headers(scope=scope).get("traceparent"))
        status = 500
        began = time.perf_counter()

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["traceparent"] = trace.header
            await send(message)

        scope[TRACE] = trace
        token = CURRENT.set(scope)
        try:
            await self._app(scope, receive, observed)
        finally:
            self._count(scope, status, time.perf_counter() - began)
            CURRENT.reset(token)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "_other"
        route = _template(scope)
        self._instruments.http_requests.add(route, method, str(status))
        if LOG.isEnabledFor(logging.INFO):
            fields = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6)}
            LOG.info("answered", extra={FIELDS: fields})


def _template(scope: Scope) -> str:
    """Return the template of the route that answered: a closed set, unlike paths."""
    template = getattr(scope.get("route"), "path", "")
    return str(template) or UNMATCHED
