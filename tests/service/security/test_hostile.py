"""Hostile names and HTTP, a case an item of the list that the service is held to; OWASP API Top 10 names (2023).

After each: a 4xx, no path, no stack, nothing executed, and the next good request is served.
"""

from typing import Any

import pytest

from service.security.scopes import Scope
from tests.service.security.conftest import House, opened

NAMES = {
    "upwards": "..%2fx",
    "upwards, encoded twice": "%252e%252e%252fx",
    "backslash": "..%5cx",
    "absolute": "%2fetc%2fpasswd",
    "NUL": "a%00b",
    "a dot": "%2e",
    "two dots": "%2e%2e",
    "300 characters": "a" * 300,
    "CRLF": "a%0d%0aSet-Cookie:%20x=1",
    "right to left": "a%e2%80%aeb",
    "zero width": "a%e2%80%8bb",
    "stats": "stats",
    "index": "index",
    "case twin": "DIGITS",
    "not UTF-8": "%ff%fe",
    "half a character": "%ed%a0%80",
    "a format string": "%25s%25n",
    "a template": "%7b%7b99999*99999%7d%7d",
    "a script": "%3cscript%3ealert(1)%3c%2fscript%3e",
}
PLACES = [
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/ready"),
    ("POST", "/v2/models/{}/infer"),
    ("GET", "/v2/models/x/versions/{}"),
    ("POST", "/v2/repository/models/{}/load"),
    ("GET", "/api/v1/models/{}"),
    ("GET", "/api/v1/jobs/{}"),
    ("POST", "/api/v1/jobs/{}:cancel"),
    ("GET", "/api/v1/reports/{}"),
    ("GET", "/reports/{}"),
    ("GET", "/static/{}"),
    ("DELETE", "/api/v1/keys/{}"),
]
TOLD = ("Traceback", "/work", "/root", "/tmp", "site-packages", 'File "', "9999800001")


@pytest.mark.parametrize("case", NAMES)
def test_api8_security_misconfiguration_hostile_names(house: House, case: str) -> None:
    """A name that could be a path, a line, a template or a script is not found or malformed, wherever names stand."""
    admin = house.mint(Scope.ADMIN).token
    for method, place in PLACES:
        accept = {"Accept": "text/html"} if place.startswith("/reports") else {}
        answer = house.ask(method, place.format(NAMES[case]), admin, headers=accept)
        if case == "stats" and place == "/v2/models/{}":
            continue  # a path of its own
        assert 400 <= answer.status_code < 500, (place, answer.text)
        assert not [word for word in TOLD if word in answer.text], (place, answer.text)
        if answer.headers["Content-Type"].startswith("text/html"):
            assert "<script>" not in answer.text
        assert "set-cookie" not in answer.headers
    assert house.ask("GET", "/v2", admin).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_api8_security_misconfiguration_host_and_origin_on_all_methods(house: House, method: str) -> None:
    """A foreign Host or Origin is refused before the key is looked at, also with a good key, also on open paths."""
    admin = house.mint(Scope.ADMIN).token
    for path in ("/api/v1/jobs", "/v2/health/live", "/static/pages.css", "/login"):
        for headers in (
            {"Host": "evil.example"},
            {"Host": "localhost.evil.example"},
            {"Host": "evil.example:80@localhost"},
            {"Origin": "http://evil.example"},
            {"Origin": "http://localhost.evil.example"},
            {"Origin": "http://localhost:3000"},
            {"Origin": "https://localhost"},
            {"Origin": "null"},
            {"Origin": "file://"},
        ):
            answer = house.ask(method, path, admin, headers=headers)
            if headers == {"Origin": "https://localhost"}:
                continue  # the same host and default port: what a proxy with TLS makes of this service
            assert answer.status_code == 403, (path, headers)


def test_api8_pages_behind_a_proxy(data: Any) -> None:
    """A host that the operator names may be the Origin, whatever Host the proxy sends on; no other."""
    with opened(data=data, allowed_hosts=("levelset.example",)) as house:
        for origin, status in (("https://levelset.example", 200), ("https://other.example", 403)):
            assert house.ask("GET", "/v2", headers={"Origin": origin}).status_code == status
    with opened(data=data, host="0.0.0.0", insecure=True) as house:  # no names at all: then the same host only
        headers = {"Host": "anything.example", "Origin": "http://anything.example"}
        assert house.ask("GET", "/v2", headers=headers).status_code == 200
        assert house.ask("GET", "/v2", headers=headers | {"Origin": "http://evil.example"}).status_code == 403


def test_api8_security_misconfiguration_cors_is_off(house: House) -> None:
    """No answer carries a CORS header, with or without an Origin; a preflight is refused."""
    admin = house.mint(Scope.ADMIN).token
    preflight = {"Origin": "http://localhost", "Access-Control-Request-Method": "POST"}
    for method, token in (("OPTIONS", None), ("OPTIONS", admin), ("GET", admin)):
        answer = house.ask(method, "/api/v1/jobs", token, headers=preflight)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert (answer.status_code == 200) is (method == "GET")
    assert house.ask("TRACE", "/v2", admin).status_code == 405


def test_api4_unrestricted_resource_consumption_queries_and_headers(house: House) -> None:
    """10^4 query parameters, 10^4 ranges and a nonsense Accept are answered like any request, or refused; never 5xx."""
    admin = house.mint(Scope.ADMIN).token
    many = "&".join(["p=1"] * 10_000)
    assert house.ask("GET", f"/api/v1/jobs?{many}", admin).status_code in (200, 400, 414, 422)
    ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))
    for path in ("/static/pages.css", "/api/v1/schemas/report-1.json"):
        answer = house.ask("GET", path, admin, headers={"Range": ranges})
        assert answer.status_code in (200, 400, 416), path
        assert len(answer.content) < 2_000_000
    assert house.ask("GET", "/api/v1/jobs?limit=999999999999999999999", admin).status_code == 422
    for accept in ("nonsense", "*", ";;;", "text/html;q=x", "a/b," * 5000):
        assert house.ask("GET", "/api/v1/jobs", admin, headers={"Accept": accept}).status_code in (200, 400, 406)


def test_api4_unrestricted_resource_consumption_bodies(house: House) -> None:
    """Bodies of every changing route are bounded, also where no key is good enough to have them read."""
    admin = house.mint(Scope.ADMIN).token
    assert house.ask("POST", "/api/v1/keys", admin, content=b"[" * 100_000).status_code in (400, 413)
    assert house.ask("POST", "/api/v1/keys", admin, content=b"x" * 20_000).status_code == 413
    assert house.ask("POST", "/api/v1/jobs", admin, content=b"x" * 300_000).status_code == 413
    assert house.ask("POST", "/v2/repository/index", admin, content=b"x" * 100_000).status_code == 413
    assert house.ask("POST", "/login", content=b"key=" + b"x" * 1_000_000).status_code in (413, 415)
    for encoding in ("br", "zstd", "compress", "gzip, gzip"):
        answer = house.ask("POST", "/api/v1/keys", admin, content=b"{}", headers={"Content-Encoding": encoding})
        assert answer.status_code == 415, encoding
    refused = house.ask("POST", "/api/v1/keys", "lvs_wrong", content=b"x" * 1000)
    assert refused.status_code in (401, 429)
    assert refused.headers["Connection"] == "close"  # what was sent is not read


def test_api7_server_side_request_forgery(house: House) -> None:
    """An address in a field is a name that is not known, or a field that is not there; nothing is fetched."""
    token = house.mint(Scope.ADMIN).token
    address = "http://169.254.169.254/latest/meta-data"
    job = {"type": "evaluate", "target": address, "data": {"name": "digits", "n": 8}, "threat": {"epsilons": [0.1]}}
    for body in (job, {**job, "target": "digits", "data": {"name": address}}, {**job, "callback": address}):
        answer = house.ask("POST", "/api/v1/jobs", token, json=body)
        assert answer.status_code == 422
    assert house.ask("POST", "/api/v1/keys", token, json={"name": address, "scopes": ["read"]}).status_code == 422


def test_api10_forged_cursors(house: House) -> None:
    """A cursor that was not made here is malformed, whoever sends it."""
    token = house.mint(Scope.READ).token
    for cursor in ("x", "AAAA", "é", "a" * 5000, "../x", "W10"):
        assert house.ask("GET", "/api/v1/jobs", token, params={"cursor": cursor}).status_code == 400
