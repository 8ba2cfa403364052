"""Where the web process hands tries in and waits for them: one at a time per owner, ten seconds at most."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from service.errors import (
    DeadlineExceeded,
    NotFound,
    NotReady,
    Overloaded,
    ServiceError,
    UnprocessableRequest,
)
from service.inference.served import Served
from service.store.canonical import digest
from service.trying.orders import SAMPLES, SampleImage, TryOrder
from service.trying.spool import Spool
from service.trying.uploads import plain_png

if TYPE_CHECKING:
    from service.settings import Settings

PATIENCE: Final = 10.0  # seconds a try may take
LOOK: Final = 0.03  # seconds between looks for its answer
UPLOADS: Final = 64  # images of one owner that are kept at once


class TryFailed(ServiceError):
    """The process of the try failed in a way nobody foresaw."""


class TryDesk:
    """Hands in tries and waits for their answers.

    Args:
        settings: where the spool lies.
        served: returns the newest answering version of an ensemble.
        patience: seconds a try may take.
    """

    def __init__(self, settings: "Settings", served: Callable[[str], Served], *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._settings = settings
        self._served = served
        self._spool = Spool(settings.data / "try")
        self._asking: set[str] = set()
        self._pictures: dict[tuple[str, int], bytes] = {}

    def wake(self) -> None:
        """Have the worker load what tries need, since somebody is about to ask."""
        self._spool.wake()

    async def run(self, order: TryOrder, *, owner: str) -> dict[str, Any]:
        """Return what became of a try.

        Raises:
            UnknownModel: there is no such ensemble.
            UnprocessableRequest: the image does not fit it.
            Overloaded: this owner's last try is not answered yet.
            NotReady: no worker took it, or its process ended twice.
            DeadlineExceeded: it takes longer than ten seconds.
        """
        spec = self._resolved(order, owner)
        name = digest(spec)
        answer = await asyncio.to_thread(self._spool.answered, name)
        if answer is not None and "error" in answer:  # of an asker who did not wait for it
            await asyncio.to_thread(self._spool.forget, name)
            answer = None
        cached = answer is not None
        if answer is None:
            with self._alone(owner):
                answer = await self._wait(name, spec)
        if "error" in answer:
            await asyncio.to_thread(self._spool.forget, name)
            raise _failure(answer["error"])
        asked = order.model_dump(mode="json") | {"target_version": spec["target_version"], "mode": spec["mode"]}
        return {"object": "try", "digest": name, "cached": cached, "asked": asked, **answer["result"]}

    def keep(self, data: bytes, *, owner: str) -> str:
        """Return the SHA-256 under which an uploaded image is kept for an hour.

        Raises:
            MalformedRequest: it is no image.
            TooLarge: it announces too many pixels.
            Overloaded: this owner keeps too many.
        """
        image = plain_png(data)
        if self._spool.images_of(owner) >= UPLOADS:
            raise Overloaded(f"image: expected at most {UPLOADS} within an hour, got more; come back", retry_after=60)
        name = hashlib.sha256(data).hexdigest()
        self._spool.keep_image(owner, name, image)
        return name

    def image(self, sha256: str, *, owner: str) -> bytes:
        """Return an uploaded image of this owner as a PNG.

        Raises:
            NotFound: there is none of that name, or its hour is over.
        """
        found = self._spool.image(owner, sha256) if set(sha256) <= set("0123456789abcdef") else None
        if found is None or len(sha256) != 64:
            raise NotFound("image: expected one that was uploaded within the hour, got another; upload it again")
        return found

    def sample(self, image: SampleImage) -> bytes:
        """Return an image of a data set's test part as a PNG.

        Raises:
            UnprocessableRequest: the data set is not here, or holds no pictures.
            NotFound: it holds fewer images.
        """
        from attacks.gallery import png
        from ensemble.errors import LevelsetError
        from service.jobs.data_sets import open_dataset

        key = (image.dataset, image.index)
        if key not in self._pictures:
            try:
                dataset = open_dataset(image.dataset, self._settings)
                count = min(SAMPLES, dataset.size("test"))
                inputs = dataset.part("test", count).inputs
            except LevelsetError:
                raise UnprocessableRequest(
                    f"dataset: expected one whose files are here, got {image.dataset!r}; "
                    "GET /api/v1/datasets lists them",
                    field="image.dataset",
                ) from None
            if inputs.shape[1] not in (1, 3):
                raise UnprocessableRequest(
                    f"dataset: expected pictures of 1 or 3 channels, got {inputs.shape[1]}; choose another",
                    field="image.dataset",
                )
            self._pictures |= {(image.dataset, index): png(one) for index, one in enumerate(inputs)}
        if key not in self._pictures:
            raise NotFound(f"image: expected an index below what {image.dataset!r} holds, got {image.index}; lower it")
        return self._pictures[key]

    def _resolved(self, order: TryOrder, owner: str) -> dict[str, Any]:
        served = self._served(order.target)
        info = served.info
        return {
            "type": "try",
            **order.model_dump(mode="json"),
            "target_version": info.version,
            "target_digest": info.digest,
            "input_shape": list(info.input_shape),
            "mode": served.mode,
            "owner": owner,
        }

    async def _wait(self, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + self._patience
        await asyncio.to_thread(self._spool.ask, name, {"spec": spec, "until": time.time() + self._patience})
        while time.monotonic() < deadline:
            await asyncio.sleep(LOOK)
            answer = await asyncio.to_thread(self._spool.answered, name)
            if answer is not None:
                return answer
        if await asyncio.to_thread(self._spool.withdraw, name):
            raise NotReady("try: no worker took it; look whether one runs, and try again", retry_after=5)
        raise DeadlineExceeded(
            f"try: expected an answer within {self._patience:g} s, got none yet; "
            "ask the same again, or take fewer steps"
        )

    @contextmanager
    def _alone(self, owner: str) -> Iterator[None]:
        if owner in self._asking:
            raise Overloaded("try: expected one at a time, got another while the last one runs; wait for its answer")
        self._asking.add(owner)
        try:
            yield
        finally:
            self._asking.discard(owner)


def _failure(error: Mapping[str, str]) -> ServiceError:
    if error["code"] == "invalid":
        return UnprocessableRequest(error["message"], field="image")
    if error["code"] == "gone":
        return NotReady(f"try: {error['message']}", retry_after=5)
    if error["code"] == "late":
        return DeadlineExceeded(f"try: {error['message']}")
    return TryFailed(error["message"])
