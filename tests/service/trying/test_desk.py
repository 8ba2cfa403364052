"""The desk's refusals: one try at a time, no worker, a late answer, too many images."""

import asyncio
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from service.errors import DeadlineExceeded, NotReady, Overloaded, UnprocessableRequest, to_http
from service.settings import Settings
from service.trying.desk import UPLOADS, TryDesk
from service.trying.orders import TryOrder
from service.trying.spool import Spool

ORDER = TryOrder.model_validate({"image": {"dataset": "digits", "index": 3}, "target": "digits"})
PATIENCE = 0.4


@pytest.fixture
def desk(tmp_path: Path) -> TryDesk:
    """Return a desk without a worker."""
    info = SimpleNamespace(version="1", digest="d" * 64, input_shape=(1, 8, 8))
    served = cast(Any, SimpleNamespace(info=info, mode="prob"))
    return TryDesk(Settings(data=tmp_path), lambda name: served, patience=PATIENCE)


def waiting(folder: Path) -> list[Path]:
    """Return the orders that nobody took."""
    return list((folder / "try" / "orders").glob("*.json"))


def test_without_a_worker_a_try_is_503_and_leaves_no_order(desk: TryDesk, tmp_path: Path) -> None:
    """The order is withdrawn, so that a worker that comes later does not compute it."""
    with pytest.raises(NotReady, match="no worker took it") as refused:
        asyncio.run(desk.run(ORDER, owner="a"))
    mapped = to_http(refused.value)
    assert (mapped.status, mapped.headers["Retry-After"]) == (503, "5")
    assert waiting(tmp_path) == []


def test_one_owner_has_one_try_at_a_time(desk: TryDesk) -> None:
    """A second try of the same owner is 429 at once; another owner's waits like the first; afterwards all may again."""

    async def ask(owner: str, seed: int) -> BaseException:
        try:
            await desk.run(ORDER.model_copy(update={"seed": seed}), owner=owner)
        except Exception as error:
            return error
        raise AssertionError("there is no worker")

    async def together() -> list[BaseException]:
        return list(await asyncio.gather(ask("a", 1), ask("a", 2), ask("b", 1)))

    for _ in range(2):
        first, second, other = asyncio.run(together())
        assert [type(first), type(second), type(other)] == [NotReady, Overloaded, NotReady]
        assert to_http(cast(Exception, second)).status == 429


def test_a_taken_try_without_an_answer_is_504(desk: TryDesk, tmp_path: Path) -> None:
    """Somebody works at it: it is not withdrawn, and asking again finds the answer once it is there."""
    spool = Spool(tmp_path / "try")

    async def ask() -> dict[str, Any]:
        asked = asyncio.ensure_future(desk.run(ORDER, owner="a"))
        while (taken := await asyncio.to_thread(spool.take)) is None:
            await asyncio.sleep(0.01)
        with pytest.raises(DeadlineExceeded):
            await asked
        spool.answer(taken[0], {"result": {"label": 3}})
        return await desk.run(ORDER, owner="a")

    found = asyncio.run(ask())
    assert (found["label"], found["cached"]) == (3, True)


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [("gone", NotReady, 503), ("late", DeadlineExceeded, 504), ("invalid", UnprocessableRequest, 422)],
)
def test_an_error_is_told_once(desk: TryDesk, tmp_path: Path, code: str, kind: type[Exception], status: int) -> None:
    """What went wrong has its status, and is not remembered: the next asker gets a new try."""
    spool = Spool(tmp_path / "try")

    async def ask() -> None:
        asked = asyncio.ensure_future(desk.run(ORDER, owner="a"))
        while (taken := await asyncio.to_thread(spool.take)) is None:
            await asyncio.sleep(0.01)
        spool.answer(taken[0], {"error": {"code": code, "message": "why"}})
        with pytest.raises(kind) as refused:
            await asked
        assert to_http(refused.value).status == status

    asyncio.run(ask())
    assert list((tmp_path / "try" / "answers").iterdir()) == []


def test_images_are_counted_per_owner(desk: TryDesk, tmp_path: Path) -> None:
    """The 65th image within an hour is 429 to its owner, and taken from another."""
    for shade in range(UPLOADS):
        desk.keep(picture(shade), owner="a")
    with pytest.raises(Overloaded):
        desk.keep(picture(UPLOADS), owner="a")
    name = desk.keep(picture(UPLOADS), owner="b")
    assert desk.image(name, owner="b").startswith(b"\x89PNG")


def picture(shade: int) -> bytes:
    """Return a small PNG in one shade."""
    written = io.BytesIO()
    Image.new("L", (4, 4), shade).save(written, format="PNG")
    return written.getvalue()
