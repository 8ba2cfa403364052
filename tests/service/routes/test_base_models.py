"""`/api/v1/models`: raw safetensors in, nothing else; every file that is not what it says is refused and not stored.

Seen to fail when: the digest header is not compared; other bytes replace stored ones; a pickle, or an archive of
torch.save, is loaded (the marker appears); duplicate keys of the header are taken; the draft of a refused upload stays,
be it too large, of another digest, or no network.
"""

import io
import json
import pickle
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.service.routes.workshop import Workshop, file_of, repr_digest, weights, workshop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Yield an application without models."""
    with workshop(tmp_path_factory.mktemp("bases"), max_model_bytes=1 << 20) as shop:
        yield shop


def left_over(shop: Workshop) -> list[str]:
    """Return what lies in the folder besides the stored bases."""
    folder = shop.settings.bases_folder
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] if folder.is_dir() else []


def test_upload_read_and_delete(shop: Workshop) -> None:
    """201, the same bytes again 200, other bytes 409; tags and conditions; 204 and then 404."""
    data = file_of(weights())
    first = shop.upload("one", data)
    assert first.status_code == 201, first.text
    assert first.headers["Location"] == "/api/v1/models/one"
    info = first.json()
    assert (info["architecture"], info["size"], len(info["digest"])) == ("digits-cnn", len(data), 64)
    again = shop.upload("one", data)
    assert (again.status_code, again.json()) == (200, info)
    other = weights()
    other["linear2.bias"] = other["linear2.bias"] + 1
    assert shop.upload("one", file_of(other)).status_code == 409
    assert shop.upload("ONE", data).status_code == 409
    found = shop.ask("GET", "/api/v1/models/one")
    assert found.json() == info
    tag = found.headers["ETag"]
    assert shop.ask("GET", "/api/v1/models/one", headers={"If-None-Match": tag}).status_code == 304
    assert [row["name"] for row in shop.ask("GET", "/api/v1/models").json()["data"]] == ["one"]
    assert shop.ask("DELETE", "/api/v1/models/one", headers={"If-Match": '"other"'}).status_code == 412
    assert shop.ask("DELETE", "/api/v1/models/one", headers={"If-Match": tag}).status_code == 204
    assert shop.ask("GET", "/api/v1/models/one").status_code == 404
    assert shop.ask("DELETE", "/api/v1/models/one").status_code == 404
    assert left_over(shop) == []


NAMES = (
    "../x ..%2fx %252e%252e%252f ..%5c %2fetc%2fpasswd a%00b . a%0d%0ab a%e2%80%8bb %e2%80%aex stats index a.b "
    + "a" * 300
)


@pytest.mark.parametrize("name", NAMES.split())
def test_names_that_are_no_names(shop: Workshop, name: str) -> None:
    """Refused in words, without a path, and nothing is written."""
    response = shop.upload(name, file_of(weights()))
    assert response.status_code in (404, 405, 422), response.text
    assert str(shop.settings.data) not in response.text
    assert shop.ask("GET", "/api/v1/models").json()["data"] == []
    assert left_over(shop) == []


class Bomb:
    """Touches a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def header(entries: Any, body: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a safetensors file with this header."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def zipped(content: object) -> bytes:
    """Return a zip archive, as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def twice(data: bytes, name: str) -> bytes:
    """Return a file whose header has one entry twice, and which is good otherwise."""
    (length,) = struct.unpack("<Q", data[:8])
    text = data[8 : 8 + length].strip()
    again = json.dumps({name: json.loads(text)[name]}).encode()
    return header(text[:-1] + b"," + again[1:], data[8 + length :])


def entry(start: int, stop: int, shape: list[Any], dtype: Any = "F32") -> dict[str, Any]:
    """Return the description of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def changed(**tensors: Any) -> bytes:
    """Return the network's file with tensors replaced, or left out where None."""
    kept = {name: tensor for name, tensor in {**weights(), **tensors}.items() if tensor is not None}
    return file_of(kept)


ATTACKS: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "seven bytes": lambda _: b"1234567",
    "pickle": lambda marker: pickle.dumps(Bomb(marker)),
    "zip": lambda marker: zipped(Bomb(marker)),
    "7z": lambda _: b"7z\xbc\xaf\x27\x1c" + b"\x00" * 100,
    "header of 2^63 bytes": lambda _: header({}, length=2**63),
    "header beyond the file": lambda _: header({}, length=1000),
    "no object": lambda _: header([1]),
    "deep": lambda _: header(b'{"a":' + b"[" * 100_000),
    "not UTF-8": lambda _: header(b"{\xff}"),
    "no tensor": lambda _: header({}),
    "duplicate keys": lambda _: twice(file_of(weights()), "linear2.bias"),
    "overlap": lambda _: header({"a": entry(0, 4, [1]), "b": entry(2, 6, [1])}, b"123456"),
    "gap": lambda _: header({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, b"1" * 12),
    "beyond the end": lambda _: header({"a": entry(0, 400, [100])}, b"1234"),
    "bytes left over": lambda _: header({"a": entry(0, 4, [1])}, b"12345678"),
    "overflowing shape": lambda _: header({"a": entry(0, 4, [2**40, 2**40])}, b"1234"),
    "negative": lambda _: header({"a": entry(0, 4, [-1])}, b"1234"),
    "bool as dimension": lambda _: header({"a": entry(0, 4, [True])}, b"1234"),
    "rank 40": lambda _: header({"a": entry(0, 4, [1] * 40)}, b"1234"),
    "unknown dtype": lambda _: header({"a": entry(0, 4, [1], "F33")}, b"1234"),
    "dtype is a list": lambda _: header({"a": entry(0, 4, [1], ["F32"])}, b"1234"),
    "50 000 tensors": lambda _: header({str(index): entry(0, 0, [0]) for index in range(50_000)}),
    "NaN": lambda _: changed(**{"linear2.bias": torch.full((10,), torch.nan)}),
    "infinity": lambda _: changed(**{"linear2.bias": torch.full((10,), torch.inf)}),
    "wrong shape": lambda _: changed(**{"linear2.bias": torch.zeros(11)}),
    "wrong dtype": lambda _: changed(**{"linear2.bias": torch.zeros(10, dtype=torch.float64)}),
    "missing": lambda _: changed(**{"linear2.bias": None}),
    "extra": lambda _: changed(evil=torch.zeros(1)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_files_that_are_no_weights(shop: Workshop, tmp_path: Path, attack: str) -> None:
    """422 in words; nothing was run, nothing is stored, no path is told, the service goes on."""
    marker = tmp_path / "marker"
    response = shop.upload("evil", ATTACKS[attack](marker))
    assert response.status_code in (400, 413, 422), response.text
    assert not marker.exists()
    assert str(shop.settings.data) not in response.text
    assert "Traceback" not in response.text
    assert shop.ask("GET", "/api/v1/models/evil").status_code == 404
    assert left_over(shop) == []


async def unannounced(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield a body that says no length, so that a draft is begun before it is too long."""
    for chunk in chunks:
        yield chunk


def test_requests_that_do_not_fit(shop: Workshop) -> None:
    """An unknown architecture, an import path, no or another digest, an encoding, a form, too many bytes."""
    data = file_of(weights())
    for arch in ("nobody", "os.path", "../x", "https://example.org/net.py"):
        assert shop.upload("evil", data, arch=arch).status_code == 422
    assert shop.ask("PUT", "/api/v1/models/evil?arch=digits-cnn", content=data).status_code == 400
    assert shop.upload("evil", data, **{"Repr-Digest": repr_digest(b"other")}).status_code == 400
    assert shop.upload("evil", data, **{"Repr-Digest": "sha-256=:!!!!:"}).status_code == 400
    assert shop.upload("evil", data, **{"Content-Encoding": "gzip"}).status_code == 415
    assert shop.upload("evil", data, **{"Content-Type": "multipart/form-data; boundary=x"}).status_code == 415
    assert shop.upload("evil", b"\x00" * ((1 << 20) + 1)).status_code == 413
    body, promise = unannounced(b"\x00" * (1 << 20), b"\x00"), {"Repr-Digest": repr_digest(b"")}
    path = "/api/v1/models/evil?arch=digits-cnn"
    assert shop.ask("PUT", path, content=body, headers=promise).status_code == 413
    assert shop.ask("GET", "/api/v1/models").json()["data"] == []
    assert left_over(shop) == []
