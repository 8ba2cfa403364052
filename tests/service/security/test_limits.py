"""Limits per key, and the audit log.

Seen to fail when: the bucket does not fill again; it fills above its burst.
"""

import json
from pathlib import Path

import pytest

from service.security.audit import KEPT, AuditLog
from service.security.limits import REMEMBERED, Buckets, whole_seconds
from service.security.scopes import Scope
from tests.service.security.conftest import House, opened


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """Four tokens at once, then one each half second, and never more than four."""
    now = 0.0
    buckets = Buckets(rate=2.0, burst=2.0, clock=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0.0] * 4
    assert buckets.take("a") == pytest.approx(0.5)
    assert buckets.take("b") == 0.0
    now = 0.5
    assert buckets.take("a") == 0.0
    assert buckets.take("a") > 0
    now = 1000.0
    assert [buckets.take("a") > 0 for _ in range(5)] == [False] * 4 + [True]


def test_a_name_can_have_its_own_rate_and_old_ones_are_forgotten() -> None:
    """A slow key waits longer; the number of buckets is bounded."""
    buckets = Buckets(rate=100.0, burst=1.0, clock=lambda: 0.0)
    assert buckets.take("slow", rate=0.1) == 0.0
    assert buckets.take("slow", rate=0.1) == pytest.approx(10.0)
    assert whole_seconds(9.01) == 10
    for number in range(REMEMBERED):
        buckets.take(str(number))
    assert len(buckets._buckets) == REMEMBERED
    assert "slow" not in buckets._buckets


def test_api4_unrestricted_resource_consumption_per_key(data: Path) -> None:
    """A key that asks too often is 429 with an honest Retry-After, alone: the next key is served."""
    with opened(data=data, key_rate=5.0, key_burst=1.0) as house:
        fast, slow = house.mint(Scope.READ), house.mint(Scope.READ, rate=0.02)
        answers = [house.ask("GET", "/v2", fast.token) for _ in range(12)]
        assert [answer.status_code for answer in answers[:5]] == [200] * 5
        assert answers[-1].status_code == 429
        assert answers[-1].headers["Retry-After"] == "1"
        assert "error" in answers[-1].json()
        assert house.ask("GET", "/v2", slow.token).status_code == 200
        refused = house.ask("GET", "/v2", slow.token)
        assert refused.status_code == 429
        assert 40 <= int(refused.headers["Retry-After"]) <= 50


def test_refused_inference_is_counted(data: Path) -> None:
    """A spent quota is one of the reasons of refused inference."""
    with opened(data=data, key_rate=0.01, key_burst=1.0) as house:
        token = house.mint(Scope.INFER).token
        answers = [house.ask("POST", "/v2/models/x/infer", token).status_code for _ in range(2)]
        assert answers == [404, 429]
        assert house.rooms.instruments.rejected.value("quota") == 1


def test_the_audit_log_says_who_did_what(data: Path) -> None:
    """Changes, refusals and keys are there with their key, address and request; reading and queries are not."""
    with opened(data=data) as house:
        admin = house.mint(Scope.ADMIN)
        house.ask("GET", "/api/v1/jobs?limit=3", admin.token)
        made = house.ask("POST", "/api/v1/keys?x=secretword", admin.token, json={"name": "ci", "scopes": ["read"]})
        house.ask("GET", "/v2", made.json()["key"] + "x", headers={"X-Request-ID": "asked-1"})
        house.ask("DELETE", f"/api/v1/keys/{made.json()['id']}", admin.token)
        text = house.audited()
        entries = [json.loads(line) for line in text.splitlines()]
    assert [entry["event"] for entry in entries] == [
        *("key made", "request", "refused", "key revoked", "request"),
    ]
    assert entries[0]["by"] == entries[1]["key"] == admin.key.id
    assert (entries[1]["method"], entries[1]["path"], entries[1]["status"]) == ("POST", "/api/v1/keys", 201)
    assert (entries[2]["status"], entries[2]["address"], entries[2]["request_id"]) == (401, "192.0.2.7", "asked-1")
    assert all(entry["time"].endswith("+00:00") for entry in entries)
    assert "secretword" not in text
    assert "lvs_" not in text
    assert (data / "audit.log").stat().st_mode & 0o777 == 0o600


def test_terminal_escapes_and_line_ends_stay_inside_their_line(house: House) -> None:
    """A path with control characters is one line of printable text in the log."""
    token = house.mint(Scope.ADMIN).token
    house.ask("DELETE", "/api/v1/keys/%1b%5b31m%0a%0d%e2%80%ae", token)
    text = house.audited()
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text.splitlines()[-1])["path"].startswith("/api/v1/keys/\x1b[31m\n")


def test_a_full_log_is_put_aside(tmp_path: Path) -> None:
    """Some older files are kept, and the newest record is in the newest file."""
    log = AuditLog(tmp_path / "audit.log", full=200)
    for number in range(40):
        log.note("test", number=number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) in (KEPT, KEPT + 1)
    assert "audit.log.1" in files
    newest = [name for name in ("audit.log", "audit.log.1") if name in files]
    assert any('"number": 39' in (tmp_path / name).read_text() for name in newest)


def test_a_disk_that_takes_no_records_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The service goes on and says in its own log that the audit log is not written."""
    AuditLog(tmp_path / "missing" / "audit.log").note("test")
    assert "takes no records" in caplog.text
