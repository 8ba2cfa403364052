"""The pool: new models are seen without a restart, a damaged one is named and harms nobody.

Seen to fail: the watcher left after one scan; a damaged version taking the scan down with it; the largest batch left
out of the warm-up; an unloaded model loaded again by the watcher; its queue stopped before it was empty.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.execution import PLANS
from service.catalogue.repository import ModelRepository
from service.errors import MalformedRequest, UnknownModel, UnusableModel
from service.inference.codec import InferRequest
from service.inference.options import Options
from service.inference.pool import ModelPool
from service.settings import Settings
from tests.service.inference.models import MEMBERS, copy_models, damage, duplicate


def play(data: Path, scene: Callable[[ModelPool], Awaitable[None]], **changes: Any) -> None:
    """Run a scene with a started pool over the models of a data folder."""

    async def run() -> None:
        settings = Settings(data=data, model_poll=0.05, max_rows=4, **changes)
        pool = ModelPool(ModelRepository(settings.models_folder), settings)
        await pool.start()
        try:
            await until(lambda: pool.scanned)
            await scene(pool)
        finally:
            await pool.stop()

    asyncio.run(run())


def request(count: int, **options: Any) -> InferRequest:
    """Return a parsed request of some grey rows."""
    rows = np.full((count, 1, 8, 8), 0.5, dtype=np.float32)
    return InferRequest(None, rows, ("labels", "logits"), frozenset(), Options(**options))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def test_views_and_versions_resolve(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every view of a stored version answers; other versions and members are unknown."""
    copy_models(tmp_path_factory, tmp_path)

    async def scene(pool: ModelPool) -> None:
        for name in ("digits", "digits.base", f"digits.m{MEMBERS - 1}"):
            address = pool.resolve(name, "1")
            answer = await address.infer(request(6))
            assert answer.results["labels"].shape == (6,)
        for name, version in (("digits", "2"), (f"digits.m{MEMBERS}", None), ("other", None), ("digits", "01")):
            with pytest.raises(UnknownModel):
                pool.resolve(name, version)

    play(tmp_path, scene)


def test_a_new_version_is_served_without_a_restart(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A version that appears while the pool runs becomes the one that answers."""
    models = copy_models(tmp_path_factory, tmp_path)

    async def scene(pool: ModelPool) -> None:
        assert pool.resolve("digits").version == "1"
        duplicate(models, "digits", "1", new_name="digits", new_version="2")
        await until(lambda: pool.resolve("digits").version == "2")
        assert pool.versions("digits") == ["1", "2"]

    play(tmp_path, scene)


def test_a_damaged_artifact_is_not_served_with_a_reason(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A damaged version is reported, names no path, and its neighbour answers."""
    models = copy_models(tmp_path_factory, tmp_path)
    duplicate(models, "digits", "1", new_name="broken", new_version="1")
    damage(models, "broken", "1")

    async def scene(pool: ModelPool) -> None:
        with pytest.raises(UnusableModel, match="cannot be used") as caught:
            pool.resolve("broken")
        assert str(tmp_path) not in str(caught.value)
        assert list(pool.broken()) == ["broken/1"]
        answer = await pool.resolve("digits").infer(request(1))
        assert np.isfinite(answer.results["logits"]).all()

    play(tmp_path, scene)


def test_plans_are_chosen_before_a_model_answers(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The warm-up has measured every size of batch up to the largest, so no request pays for it."""
    copy_models(tmp_path_factory, tmp_path)

    async def scene(pool: ModelPool) -> None:
        plans = pool.plans("digits", "1")
        assert list(plans) == ["1", "2", "4"]
        assert set(plans.values()) <= set(PLANS)

    play(tmp_path, scene)


def test_unload_answers_what_was_taken_and_load_brings_it_back(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What waits is answered before the model goes; nothing loads it again but a request to do so."""
    copy_models(tmp_path_factory, tmp_path)

    async def scene(pool: ModelPool) -> None:
        address = pool.resolve("digits")
        waiting = [asyncio.create_task(address.infer(request(4))) for _ in range(5)]
        await asyncio.sleep(0)
        await pool.unload("digits")
        assert all(answer.results["labels"].shape == (4,) for answer in await asyncio.gather(*waiting))
        await asyncio.sleep(0.2)  # some looks of the watcher
        with pytest.raises(UnknownModel, match="load it first"):
            pool.resolve("digits")
        assert await pool.index() == [{"name": "digits", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}]
        await pool.load("digits")
        assert (await pool.index())[0]["state"] == "READY"
        for act in (pool.load, pool.unload):
            with pytest.raises(MalformedRequest, match="'digits' itself"):
                await act("digits.base")
            with pytest.raises(UnknownModel):
                await act("other")

    play(tmp_path, scene)


def test_an_operators_mode_is_served(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The mode of the settings answers; a random member is drawn anew for every row."""
    copy_models(tmp_path_factory, tmp_path)

    async def scene(pool: ModelPool) -> None:
        answer = await pool.resolve("digits").infer(request(64))
        assert pool.resolve("digits").signature.fixed_mode == "random_member"
        assert len({row.tobytes() for row in answer.results["logits"].round(3)}) == MEMBERS

    play(tmp_path, scene, serving_modes={"digits": "random_member"})
