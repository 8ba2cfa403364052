"""The pool: new models are seen without a restart, a damaged one is named and harms nobody.

Seen to fail: the watcher left after one scan; a damaged version taking the scan down with it; the largest batch left
out of the warm-up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from ensemble.execution import PLANS
from service.catalogue.repository import ModelRepository
from service.errors import UnknownModel, UnusableModel
from service.inference.pool import ModelPool
from service.settings import Settings
from tests.service.inference.models import MEMBERS, copy_models, damage, duplicate


def play(data: Path, scene: Callable[[ModelPool], Awaitable[None]]) -> None:
    """Run a scene with a started pool over the models of a data folder."""

    async def run() -> None:
        settings = Settings(data=data, model_poll=0.05, max_rows=4)
        pool = ModelPool(ModelRepository(settings.models_folder), settings)
        await pool.start()
        try:
            await until(lambda: pool.scanned)
            await scene(pool)
        finally:
            await pool.stop()

    asyncio.run(run())


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
            answer = await address.infer(np.zeros((6, 1, 8, 8), dtype=np.float32))
            assert answer["labels"].shape == (6,)
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
        answer = await pool.resolve("digits").infer(np.zeros((1, 1, 8, 8), dtype=np.float32))
        assert np.isfinite(answer["logits"]).all()

    play(tmp_path, scene)


def test_plans_are_chosen_before_a_model_answers(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The warm-up has measured every size of batch up to the largest, so no request pays for it."""
    copy_models(tmp_path_factory, tmp_path)

    async def scene(pool: ModelPool) -> None:
        plans = pool.plans("digits", "1")
        assert list(plans) == ["1", "2", "4"]
        assert set(plans.values()) <= set(PLANS)

    play(tmp_path, scene)
