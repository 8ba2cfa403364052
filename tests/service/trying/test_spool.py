"""The folder between web process and worker: each order is taken once, answers and images are kept for an hour.

Seen to fail when: `take` leaves the order where it is; images of all owners lie in one folder; `sweep` looks at
nothing;
an image is given out after its hour.
"""

import os
import time
from pathlib import Path

import pytest

from service.trying.spool import KEPT, Spool

DIGEST, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty spool."""
    return Spool(tmp_path / "try")


def test_an_order_is_taken_once_and_oldest_first(spool: Spool, tmp_path: Path) -> None:
    """Whoever takes an order gets it whole; the next one gets the next order, then nothing."""
    spool.ask(OTHER, {"n": 2})
    spool.ask(DIGEST, {"n": 1})
    old = tmp_path / "try" / "orders" / f"{DIGEST}.json"
    os.utime(old, (1, 1))
    assert spool.take() == (DIGEST, {"n": 1})
    assert spool.take() == (OTHER, {"n": 2})
    assert spool.take() is None


def test_what_is_not_taken_can_be_withdrawn(spool: Spool) -> None:
    """A taken order is no longer there to be withdrawn: somebody computes it."""
    spool.ask(DIGEST, {})
    assert spool.withdraw(DIGEST)
    assert spool.take() is None
    spool.ask(DIGEST, {})
    spool.take()
    assert not spool.withdraw(DIGEST)


def test_an_answer_is_found_until_it_is_forgotten(spool: Spool) -> None:
    """Answers stay for who asks the same again."""
    assert spool.answered(DIGEST) is None
    spool.answer(DIGEST, {"result": 1})
    assert spool.answered(DIGEST) == {"result": 1}
    spool.forget(DIGEST)
    assert spool.answered(DIGEST) is None


def test_a_damaged_order_is_passed_over(spool: Spool, tmp_path: Path) -> None:
    """A file that is no order does not stop the lane."""
    spool.ask(DIGEST, {})
    (tmp_path / "try" / "orders" / f"{DIGEST}.json").write_text("{")
    assert spool.take() is None
    assert spool.take() is None


def test_images_belong_to_their_owner_and_end_after_an_hour(spool: Spool, tmp_path: Path) -> None:
    """Nobody finds another owner's image, and nobody finds an old one."""
    spool.keep_image("ann", DIGEST, b"png")
    assert spool.image("ann", DIGEST) == b"png"
    assert spool.image("bob", DIGEST) is None
    assert spool.images_of("ann") == 1
    (path,) = (tmp_path / "try" / "images").rglob(DIGEST)
    old = time.time() - KEPT - 10
    os.utime(path, (old, old))
    assert spool.image("ann", DIGEST) is None
    spool.sweep()
    assert not path.exists()


def test_sweeping_keeps_what_is_young(spool: Spool) -> None:
    """Only what is too old goes."""
    spool.answer(DIGEST, {"result": 1})
    spool.ask(OTHER, {})
    spool.sweep()
    assert spool.answered(DIGEST) is not None
    assert spool.take() is not None
