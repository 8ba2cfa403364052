"""Event streams that are open: counted per owner and in all, since each holds a connection."""

from collections import Counter
from types import TracebackType

from service.errors import Overloaded
from service.observability.metrics import Gauge
from service.settings import Settings

RETRY = 5  # seconds after which a stream may have ended


class Streams:
    """Places for event streams; used on the event loop only.

    Args:
        settings: how many there are.
        shown: the gauge of open streams.
    """

    def __init__(self, settings: Settings, shown: Gauge) -> None:
        self._settings = settings
        self._shown = shown
        self._open: Counter[str] = Counter()

    def enter(self, owner: str) -> "Place":
        """Return a place, which is given back when its block ends.

        Raises:
            Overloaded: all places are taken, or all of this owner.
        """
        bounds = (
            ("of all owners", self._open.total(), self._settings.max_streams),
            ("of one owner", self._open[owner], self._settings.max_streams_per_owner),
        )
        for whose, count, most in bounds:
            if count >= most:
                raise Overloaded(
                    f"event streams: expected fewer than {most} {whose}, got {count}; close one",
                    retry_after=RETRY,
                )
        self.change(owner, 1)
        return Place(self, owner)

    @property
    def open(self) -> int:
        """Return how many streams are open."""
        return self._open.total()

    def change(self, owner: str, by: int) -> None:
        """Count an owner's streams up or down."""
        self._open[owner] += by
        if not self._open[owner]:
            del self._open[owner]
        self._shown.set(value=self.open)


class Place:
    """One open stream.

    Args:
        streams: where it is counted.
        owner: whose it is.
    """

    def __init__(self, streams: Streams, owner: str) -> None:
        self._streams = streams
        self._owner = owner

    def __enter__(self) -> None:
        """Keep the place."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Give the place back."""
        self._streams.change(self._owner, -1)
