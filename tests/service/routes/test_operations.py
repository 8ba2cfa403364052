"""`/metrics`, statistics and the repository over real HTTP.

Seen to fail: buckets not cumulative; `stats` taken for a model's name.
"""

import re
from typing import Any

import httpx
import pytest

from service.observability.instruments import Instruments
from tests.service.routes.conftest import Web
from tests.service.routes.test_inference import error_of, images, request

LINE = re.compile(r"(?P<name>[a-z_]+)\{(?P<labels>.*)\} (?P<value>[0-9.e+Inf-]+)")


def metrics(client: httpx.Client) -> dict[tuple[str, str], float]:
    """Return every sample of `/metrics`: (name, labels as written) -> value."""
    response = client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for line in response.text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            found[match["name"], match["labels"]] = float(match["value"])
    return found


def test_metrics_count_what_happens(client: httpx.Client) -> None:
    """One request raises its counters by one, its rows reach the histograms, and the queue is empty again."""
    before = metrics(client)
    assert client.post("/v2/models/digits/infer", json=request(images(5))).status_code == 200
    after = metrics(client)

    def grown(name: str, labels: str) -> float:
        return after[name, labels] - before.get((name, labels), 0.0)

    assert grown("levelset_requests_total", 'model="digits",view="ensemble",outcome="ok"') == 1
    assert grown("levelset_disagreement_count", 'model="digits"') == 5
    assert grown("levelset_batch_rows_bucket", 'model="digits",le="4"') == 0
    assert grown("levelset_batch_rows_bucket", 'model="digits",le="8"') == 1
    assert grown("levelset_batch_rows_bucket", 'model="digits",le="+Inf"') == 1
    assert grown("levelset_dispatch_total", 'reason="idle"') == 1
    assert grown("levelset_http_requests_total", 'route="/v2/models/{model}/infer",method="POST",code="200"') == 1
    assert after["levelset_queue_rows", 'model="digits"'] == 0
    assert after["levelset_queue_bytes", 'model="digits"'] == 0
    assert after["levelset_members_active", 'model="digits"'] == 2


def test_every_metric_is_described(client: httpx.Client) -> None:
    """Each name has help and a type, and counters end in `_total`."""
    text = client.get("/metrics").text
    for family in Instruments().families():
        assert f"# HELP {family.name} {family.help}\n" in text
        assert f"# TYPE {family.name} {family.kind}\n" in text
        assert (family.kind == "counter") == family.name.endswith("_total")
    assert "nv_inference" not in text


def test_paths_make_no_labels(client: httpx.Client) -> None:
    """Whatever is asked for, the routes of the counter are templates."""
    for path in ("/v2/models/a1/ready", "/v2/models/a2/ready", "/nowhere/1", "/static/none.css"):
        client.get(path)
    client.request("BREW", "/v2")
    labels = [labels for name, labels in metrics(client) if name == "levelset_http_requests_total"]
    assert not [label for label in labels if "a1" in label or "nowhere" in label or "BREW" in label]


def test_statistics_of_one_and_all(client: httpx.Client) -> None:
    """`stats` is a route, not a model; one view has its own counters; unknown models are 404."""
    assert client.post("/v2/models/digits.m1/infer", json=request(images(2))).status_code == 200
    (one,) = client.get("/v2/models/digits.m1/versions/1/stats").json()["model_stats"]
    assert (one["name"], one["version"]) == ("digits.m1", "1")
    assert one["inference_stats"]["success"]["count"] >= 1
    everything = {entry["name"]: entry for entry in client.get("/v2/models/stats").json()["model_stats"]}
    assert everything["digits.m1"] == one
    error_of(client.get("/v2/models/nobody/stats"), 404)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("index", b"[]", 400),
        ("index", b'{"ready": "yes"}', 400),
        ("index", b'{"other": 1}', 400),
        ("models/digits/load", b'{"parameters": {"file:x": "aGk="}}', 403),
        ("models/digits/load", b'{"parameters": {"config": "{}"}}', 400),
        ("models/digits/load", b'{"parameters": {"unload_dependents": 1}}', 400),
        ("models/digits/load", b'{"parameters": []}', 400),
        ("models/digits/load", b"{", 400),
        ("models/digits.base/unload", b"", 400),
        ("models/digits.m0/load", b"{}", 400),
        ("models/nobody/load", b"", 404),
        ("models/nobody/unload", b"", 404),
        ("models/..%2fx/unload", b"", 404),
        ("models/broken/load", b"", 404),
    ],
)
def test_what_the_repository_refuses(client: httpx.Client, path: str, body: bytes, status: int) -> None:
    """Each refusal speaks the protocol, and the model answers as before."""
    error_of(client.post(f"/v2/repository/{path}", content=body), status)
    assert client.get("/v2/models/digits/ready").status_code == 200


def test_the_index_of_what_is_ready(client: httpx.Client) -> None:
    """All that is stored, or only what answers."""
    everything: Any = client.post("/v2/repository/index").json()
    assert {row["name"]: row["state"] for row in everything} == {"digits": "READY", "broken": "UNAVAILABLE"}
    assert [row["name"] for row in client.post("/v2/repository/index", json={"ready": True}).json()] == ["digits"]


def test_aliases_for_tritons_dashboards(web: Web) -> None:
    """Where the operator wants them, seven counters carry Triton's names, per view."""
    from service.observability.metrics import exposition
    from service.observability.scrape import families

    settings = web.rooms.settings
    web.client.post("/v2/models/digits.base/infer", json=request(images(3)))
    web.rooms.settings = settings.model_copy(update={"triton_metrics": True})
    text = exposition(families(web.rooms, web.rooms.ledger.numbers()))
    web.rooms.settings = settings
    assert len({line.split("{")[0] for line in text.splitlines() if line.startswith("nv_inference")}) == 7
    (count,) = re.findall(r'nv_inference_count\{model="digits.base",version="1"\} (\d+)', text)
    assert int(count) >= 3
