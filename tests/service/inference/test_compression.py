"""Compressed bodies: whole streams are read to their last byte, bombs and broken streams are refused early.

Seen to fail: the limit checked after decompression; bytes behind the stream ignored; an early end taken for the end.
"""

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedRequest, TooLarge, UnsupportedMedia
from service.inference.compression import accepted_encoding, check_encoding, compress, decompress


@given(body=st.binary(max_size=5000), repeats=st.integers(1, 300), encoding=st.sampled_from(["gzip", "deflate"]))
def test_what_was_compressed_comes_back(body: bytes, repeats: int, encoding: str) -> None:
    """Any body survives, exactly at the limit."""
    whole = body * repeats
    assert decompress(compress(whole, encoding), encoding, limit=len(whole)) == whole
    if whole:
        with pytest.raises(TooLarge):
            decompress(compress(whole, encoding), encoding, limit=len(whole) - 1)


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    """200 MB of zeros in 200 kB are refused after the first megabyte or two."""
    bomb = zlib.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decompress(bomb, "deflate", limit=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b"x" * 100)[:-1], "gzip"),
        (gzip.compress(b"x") + b"more", "gzip"),
        (gzip.compress(b"x") * 2, "gzip"),
        (gzip.compress(b"x"), "deflate"),
        (zlib.compress(b"x")[2:-4], "deflate"),
        (b"", "gzip"),
        (b"hello", "gzip"),
    ],
)
def test_broken_streams_are_refused(body: bytes, encoding: str) -> None:
    """Cut, followed by more, twice, of the other form, raw, empty, none."""
    with pytest.raises(MalformedRequest):
        decompress(body, encoding, limit=1000)


def test_encodings_are_named() -> None:
    """Known names are read in any case, none is none, others are refused."""
    assert [check_encoding(name) for name in ("", "identity", " GZIP ", "deflate")] == [None, None, "gzip", "deflate"]
    for name in ("br", "gzip, gzip", "x-gzip"):
        with pytest.raises(UnsupportedMedia):
            check_encoding(name)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", None), ("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("gzip;q=0, deflate", "deflate"), ("*", None)],
)
def test_accepted_encodings(header: str, expected: str | None) -> None:
    """The first offered one that the client accepts."""
    assert accepted_encoding(header) == expected
