"""Around every request: who is let in, which headers go out, what an unforeseen error tells.

Seen to fail: the Origin check limited to POST; a stack trace in the body of a 500.
"""

import httpx
import pytest

from service.errors import HIDDEN, HTTP_STATUS
from tests.service.routes.conftest import Web


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": ""}]
)
def test_foreign_hosts_and_origins_are_refused(client: httpx.Client, method: str, headers: dict[str, str]) -> None:
    """A foreign Host or Origin is 403 on every method and path."""
    for path in ("/", "/v2/health/live", "/api/v1/jobs"):
        assert client.request(method, path, headers=headers).status_code == 403


def test_our_own_names_are_let_in(client: httpx.Client) -> None:
    """Loopback names pass, with any port, as Host and as Origin."""
    for host in ("localhost", "127.0.0.1:1", "[::1]:8000"):
        assert client.get("/v2/health/live", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


def test_request_ids(client: httpx.Client) -> None:
    """A safe id comes back, an unsafe one is replaced, a missing one is made."""
    assert client.get("/v2", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    for unsafe in ("a b", "x" * 129, "<script>"):
        assert client.get("/v2", headers={"X-Request-ID": unsafe}).headers["X-Request-ID"] != unsafe
    assert len(client.get("/v2").headers["X-Request-ID"]) == 32


def test_security_headers(client: httpx.Client) -> None:
    """Every answer forbids sniffing and framing; pages may load from this origin only."""
    for path in ("/", "/v2", "/nothing", "/static/pages.css", "/favicon.ico"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_pages(client: httpx.Client) -> None:
    """The start page lists the model; unknown pages are errors in the form that was asked for."""
    page = client.get("/", headers={"Accept": "text/html"})
    assert page.headers["Content-Type"].startswith("text/html")
    assert "digits" in page.text
    browser = client.get("/jobs/none", headers={"Accept": "text/html"})
    assert (browser.status_code, browser.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert client.get("/jobs/none").headers["Content-Type"].startswith("application/problem+json")
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/..%2fpages.py").status_code == 404


def test_an_unforeseen_error_tells_nothing(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is 500 with an id and no detail, in the form of its path; the log has it."""

    def explode(*_: object) -> None:
        raise RuntimeError("secret /etc/path")

    monkeypatch.setattr(web.rooms.pool, "resolve", explode)
    response = web.client.get("/v2/models/digits")
    assert (response.status_code, response.json()) == (500, {"error": HIDDEN})
    assert response.headers["X-Request-ID"]


def test_the_error_table_names_real_classes() -> None:
    """Every row of the table is a class of one of the two trees."""
    import ensemble.errors
    import service.errors

    known = {**vars(ensemble.errors), **vars(service.errors)}
    assert [name for name in HTTP_STATUS if not isinstance(known.get(name), type)] == []


def test_capabilities(client: httpx.Client) -> None:
    """Suites, data sets and limits are listed from the tables themselves."""
    found = client.get("/api/v1/capabilities").json()
    assert "quick" in found["suites"]
    assert found["datasets"] == [row["name"] for row in client.get("/api/v1/datasets").json()["data"]]
    assert found["limits"]["max_request_rows"] == 100
    assert client.get("/api/v1/ensembles/digits").json()["members"] == 2
    assert client.get("/api/v1/ensembles/nobody").status_code == 404


def test_openapi_lists_every_route(web: Web) -> None:
    """The document covers all routes of the two protocols, each with its own operation id."""
    document = web.client.get("/openapi.json").json()
    identities = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(identities) == len(set(identities))
    assert {"infer", "create_job", "get_report", "server_ready"} <= set(identities)
