"""Who is let in: every route, keys, scopes and owners. Names follow the OWASP API Security Top 10 (2023).

Seen to fail when: what no row names is open; scopes are not compared; `admin` is no longer every scope; a revoked key
still opens; cookies are read under /v2; the query is not looked at; the digest of a key is not that of the whole key.
"""

import json
import re
import sqlite3
from pathlib import Path

import pytest
from starlette.routing import BaseRoute, Mount, Route

from service.security.keys import Key, Order, fingerprint
from service.security.scopes import EVERY, RULES, Scope, allows, needed
from service.security.sessions import COOKIE
from tests.service.security.conftest import House, opened

OPEN = {"/v2/health/live", "/v2/health/ready", "/login", "/favicon.ico"}
JOB = {"type": "evaluate", "target": "nobody", "data": {"name": "digits", "n": 8}, "threat": {"epsilons": [0.1]}}


def every_route(house: House, *, filled: bool = True) -> list[tuple[str, str]]:
    """Return method and path of every route, parameters filled in where asked for."""
    routes = [route for listed in house.app.routes for route in flat(listed)]
    assert [route.path for route in routes if isinstance(route, Mount)] == ["/static"]
    return [
        (method, re.sub(r"{[^}]*}", "x1", route.path) if filled else route.path)
        for route in routes
        if isinstance(route, Route)
        for method in sorted(route.methods or {"GET"})
    ]


def flat(route: BaseRoute) -> list[BaseRoute]:
    """Return a route, or the routes of an included router."""
    router = getattr(route, "original_router", None)
    return [route] if router is None else [inner for one in router.routes for inner in flat(one)]


def test_api2_broken_authentication_every_route_needs_a_key(house: House) -> None:
    """Without a key each route of the application is 401, but for liveness, readiness, login and static files."""
    routes = every_route(house)
    assert {("POST", "/api/v1/jobs"), ("POST", "/v2/models/x1/infer"), ("GET", "/metrics"), ("GET", "/")} <= set(routes)
    for method, path in routes:
        if path in OPEN:
            continue
        answer = house.ask(method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert house.ask("GET", "/v2/health/live").status_code == 200
    assert house.ask("GET", "/v2/health/ready").status_code in (200, 503)
    assert house.ask("GET", "/static/pages.css").status_code == 200


@pytest.mark.parametrize(
    "path", ["/nothing", "/v2/nothing", "/static/../api/v1/keys", "/v2/health/live/", "//v2", "/admin"]
)
def test_api2_broken_authentication_unknown_paths_need_a_key(house: House, path: str) -> None:
    """What no rule names is closed, too: nobody learns which paths there are."""
    assert house.ask("GET", path).status_code in (401, 404)
    assert house.ask("POST", path).status_code in (401, 405)
    assert needed("POST", path) == {Scope.ADMIN}


def wrong_tokens(token: str) -> list[str]:
    """Return texts that are almost a key."""
    return [
        *("", "x", token[:-1], token + "x", token.upper(), token.replace("lvs_", "lvs-"), "é" * 40),
        f"{token[:17]}{'A' * 43}",
        "lvs_000000000000_" + token[-43:],
        fingerprint(token),
    ]


def test_api2_broken_authentication_wrong_keys(data: Path) -> None:
    """Shortened, lengthened, foreign and hashed keys are 401; a stream of them is slowed down to 429."""
    with opened(data=data) as house:
        token = house.mint(Scope.READ).token
        for wrong in wrong_tokens(token):
            headers = {"Authorization": f"Bearer {wrong}".encode()}
            assert house.ask("GET", "/api/v1/jobs", headers=headers).status_code == 401, wrong
        for header in (token, f"Basic {token}", "Bearer", f"Bearer {token}, Bearer {token}"):
            assert house.ask("GET", "/api/v1/jobs", headers={"Authorization": header}).status_code in (401, 429)
        answers = [house.ask("GET", "/api/v1/jobs", "lvs_wrong") for _ in range(30)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert house.ask("GET", "/api/v1/jobs", token).status_code == 200  # who has a key is not held up by them


def test_api2_broken_authentication_a_revoked_key(data: Path) -> None:
    """A key ends with its revocation, and a service whose keys are all revoked stays closed."""
    with opened(data=data) as house:
        assert house.ask("GET", "/api/v1/jobs").status_code == 200  # loopback, and never a key
        minted = house.mint(Scope.ADMIN)
        assert house.ask("GET", "/api/v1/jobs").status_code == 401
        assert house.ask("DELETE", f"/api/v1/keys/{minted.key.id}", minted.token).status_code == 204
        assert house.ask("GET", "/api/v1/jobs", minted.token).status_code == 401
        assert house.ask("GET", "/api/v1/jobs").status_code == 401


def test_api2_broken_authentication_beyond_loopback(data: Path) -> None:
    """On another address a key is needed even while there is none, unless the operator says otherwise."""
    with opened(data=data, host="0.0.0.0") as house:
        assert house.ask("GET", "/api/v1/jobs").status_code == 401
    with opened(data=data, host="0.0.0.0", insecure=True) as house:
        assert house.ask("GET", "/api/v1/jobs").status_code == 200
        house.mint(Scope.READ)
        assert house.ask("GET", "/api/v1/jobs").status_code == 401


def test_api2_broken_authentication_a_key_in_the_query(house: House) -> None:
    """A key in the address is refused even if it is good, and the answer does not repeat it."""
    token = house.mint(Scope.READ).token
    for query in (f"key={token}", f"x={token}", "api_key=1", "Access_Token=1", "token="):
        answer = house.ask("GET", f"/api/v1/jobs?{query}", token)
        assert answer.status_code == 400, query
        assert token not in answer.text
    assert house.ask("GET", "/api/v1/jobs?limit=2", token).status_code == 200


def test_api2_broken_authentication_a_key_in_the_query_of_an_open_service(data: Path) -> None:
    """Where no key is needed, one in the address is still refused: it would end up in logs."""
    with opened(data=data) as house:
        assert house.ask("GET", "/api/v1/jobs?x=lvs_0123").status_code == 400


SCOPED = [
    ("GET", "/api/v1/jobs", {Scope.READ, Scope.JOBS}),
    ("POST", "/api/v1/jobs", {Scope.JOBS}),
    ("POST", "/api/v1/jobs/x:cancel", {Scope.JOBS}),
    ("DELETE", "/api/v1/jobs/x", {Scope.JOBS}),
    ("GET", "/api/v1/reports", {Scope.READ, Scope.JOBS}),
    ("GET", "/api/v1/keys", set()),
    ("POST", "/api/v1/keys", set()),
    ("DELETE", "/api/v1/keys/x", set()),
    ("PUT", "/api/v1/models/x", set()),
    ("DELETE", "/api/v1/models/x", set()),
    ("POST", "/v2/models/x/infer", {Scope.INFER}),
    ("POST", "/v2/models/x/versions/1/infer", {Scope.INFER}),
    ("GET", "/v2/models/x", {Scope.INFER, Scope.READ}),
    ("POST", "/v2/repository/index", {Scope.INFER, Scope.READ}),
    ("POST", "/v2/repository/models/x/load", set()),
    ("POST", "/v2/repository/models/x/unload", set()),
    ("GET", "/metrics", {Scope.READ}),
    ("GET", "/openapi.json", set(EVERY)),
    ("DELETE", "/api/v1/reports/x", {Scope.JOBS}),
    ("POST", "/api/v1/try", {Scope.JOBS}),
    ("POST", "/api/v1/ensembles", {Scope.JOBS}),
    ("POST", "/api/v1/ensembles/x/versions/1:activate", set()),
    ("GET", "/", {Scope.READ, Scope.JOBS}),
    ("GET", "/jobs/x", {Scope.READ, Scope.JOBS}),
    ("POST", "/evaluate", {Scope.JOBS}),
    ("TRACE", "/api/v1/jobs", set()),
    ("OPTIONS", "/api/v1/jobs", set()),
]


@pytest.mark.parametrize(("method", "path", "enough"), SCOPED)
def test_api5_broken_function_level_authorization(house: House, method: str, path: str, enough: set[Scope]) -> None:
    """Each function answers 403 to every scope but its own, and lets its own and `admin` in."""
    for scope in Scope:
        status = house.ask(method, path, house.mint(scope, name=scope.value).token).status_code
        let_in = scope in enough | {Scope.ADMIN}
        assert (status != 403) is let_in, (scope, status)
        assert status != 401
        assert status < 500 or status == 503


def test_api5_broken_function_level_authorization_admin_is_every_scope() -> None:
    """`admin` may do everything; no other scope implies a second one."""
    for wanted in Scope:
        for held in Scope:
            assert allows({held}, frozenset({wanted})) is (held is wanted or held is Scope.ADMIN)
    assert not allows(frozenset(), EVERY)
    assert all(rule.scopes is None or rule.scopes for rule in RULES)


def test_api1_broken_object_level_authorization(house: House) -> None:
    """Another owner's job is found by no method, on no page and in no list; another key of its owner finds it."""
    from service.jobs.ledger import NewJob

    job = house.rooms.ledger.create(NewJob("alice", "evaluate", JOB, {}, 1, None)).job.id
    alice, second = (house.mint(Scope.READ, Scope.JOBS, name=f"alice{n}", owner="alice").token for n in (1, 2))
    mallory = house.mint(Scope.READ, Scope.JOBS, name="mallory").token
    asked = [("GET", f"/api/v1/jobs/{job}"), ("GET", f"/api/v1/jobs/{job}/events"), ("GET", f"/jobs/{job}")]
    for method, path in (*asked, ("POST", f"/api/v1/jobs/{job}:cancel"), ("POST", f"/api/v1/jobs/{job}:pause")):
        assert house.ask(method, path, mallory).status_code == 404, path
    for method, path in asked:
        assert house.ask(method, path, second).status_code == 200, path
    assert [row["id"] for row in house.ask("GET", "/api/v1/jobs", alice).json()["data"]] == [job]
    assert house.ask("GET", "/api/v1/jobs", mallory).json()["data"] == []
    assert job not in house.ask("GET", "/", mallory).text
    assert house.ask("GET", f"/api/v1/jobs/{job}", alice).json()["state"] == "queued"


def test_api3_broken_object_property_level_authorization(house: House) -> None:
    """What is told of keys holds neither a key nor its digest; nobody sets a new key's id, digest or times."""
    admin = house.mint(Scope.ADMIN).token
    made = house.ask("POST", "/api/v1/keys", admin, json={"name": "ci", "scopes": ["infer"], "rate": 5.0})
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    token = made.json()["key"]
    assert house.ask("GET", "/v2", token).status_code == 200
    listed = house.ask("GET", "/api/v1/keys", admin)
    assert token not in listed.text
    assert fingerprint(token) not in listed.text
    for more in ({"id": "x"}, {"digest": "x"}, {"revoked_at": 0}, {"created_at": 0}):
        body = {"name": "ci", "scopes": ["infer"], **more}
        assert house.ask("POST", "/api/v1/keys", admin, json=body).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {"name": "../x", "scopes": ["read"]},
        {"name": "x\r\ny", "scopes": ["read"]},
        {"name": "", "scopes": ["read"]},
        {"name": "x" * 65, "scopes": ["read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": "admin"},
        {"name": "x", "scopes": ["read"], "rate": 0},
        {"name": "x", "scopes": ["read"], "owner": "a b"},
        [],
    ],
)
def test_api3_keys_that_cannot_be_made(house: House, body: object) -> None:
    """Names, scopes and rates outside their sets are 422, and no key is made."""
    admin = house.mint(Scope.ADMIN).token
    before = house.ask("GET", "/api/v1/keys", admin).json()
    assert house.ask("POST", "/api/v1/keys", admin, json=body).status_code == 422
    assert house.ask("GET", "/api/v1/keys", admin).json() == before


def test_api8_keys_are_kept_as_digests(data: Path) -> None:
    """The data folder, its audit log included, holds a key's SHA-256 and nowhere the key."""
    with opened(data=data) as house:
        admin = house.mint(Scope.ADMIN).token
        answer = house.ask("POST", "/api/v1/keys", admin, json={"name": "ci", "scopes": ["infer"]})
        token = answer.json()["key"]
        house.ask("GET", f"/api/v1/jobs?key={token}", admin)
        house.ask("GET", "/api/v1/jobs", token[:-1])
    with sqlite3.connect(data / "levelset.sqlite") as connection:
        digests = [row[0] for row in connection.execute("select digest from api_keys")]
    connection.close()
    assert sorted(digests) == sorted(map(fingerprint, (admin, token)))
    secrets = [text[-43:].encode() for text in (admin, token)]
    files = [path for path in data.rglob("*") if path.is_file()]
    assert [path for path in files for secret in secrets if secret in path.read_bytes()] == []


def test_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One comparison of whole digests decides, also where the key is revoked."""
    compared: list[tuple[str, str]] = []

    def spy(left: str, right: str) -> bool:
        compared.append((left, right))
        return left == right

    monkeypatch.setattr("service.security.keys.hmac.compare_digest", spy)
    key = Key("a" * 12, "x", "x", EVERY, fingerprint("token"), revoked_at=1)
    assert not key.opens_with("token")
    assert compared == [(fingerprint("token"), fingerprint("token"))]


def test_api2_cookies_are_no_keys_for_the_protocol(house: House) -> None:
    """A session opens pages and the API, never /v2: protocol clients have no cookies, browsers of other sites might."""
    key = house.mint(Scope.ADMIN).key
    cookie = house.rooms.doorkeeper._sessions.open(key.id)
    headers = {"Cookie": f"{COOKIE}={cookie}"}
    assert house.ask("GET", "/api/v1/jobs", headers=headers).status_code == 200
    assert house.ask("GET", "/v2", headers=headers).status_code == 401
    assert house.ask("POST", "/v2/models/x/infer", headers=headers).status_code == 401
    for damaged in (cookie[:-1], cookie + "0", "x", "", "a.b.c.d", cookie.replace(key.id, "0" * 12)):
        assert house.ask("GET", "/api/v1/jobs", headers={"Cookie": f"{COOKIE}={damaged}"}).status_code == 401


def test_a_person_is_sent_to_the_login(house: House) -> None:
    """A browser's 401 is a page that leads to the login; a program's is a problem."""
    page = house.ask("GET", "/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Refresh"]) == (401, "0; url=/login")
    assert page.headers["Content-Type"].startswith("text/html")
    problem = house.ask("GET", "/api/v1/jobs", headers={"Accept": "text/html"})
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert "error" in json.loads(house.ask("GET", "/v2").text)


def test_orders_are_checked() -> None:
    """A key's order holds at least one scope, as the command line and the API both rely on."""
    from service.errors import UnprocessableRequest

    with pytest.raises(UnprocessableRequest, match="at least one"):
        Order("x", frozenset())
