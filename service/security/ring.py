"""The keys that are good now, in memory: read again every second, so that a revoked key dies within one."""

import asyncio
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from service.security.keys import NOBODY, Key, KeyStore, named_in

FRESH: Final = 1.0  # seconds for which what was read is believed


class KeyRing:
    """Finds the key that a token is, without asking the database each time.

    Args:
        store: keys in the database.
        given: a key the operator brought besides.
        clock: seconds that only grow.
    """

    def __init__(
        self, store: KeyStore, *, given: Key | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self._given = given
        self._clock = clock
        self._keys: Mapping[str, Key] = MappingProxyType({})
        self._read_at = -float("inf")
        self._reading = asyncio.Lock()

    @property
    def configured(self) -> bool:
        """Whether there ever was a key: a service whose keys were all revoked stays closed."""
        return self._given is not None or bool(self._keys)

    async def refresh(self) -> None:
        """Read the keys where what is known is old; who comes meanwhile goes on with what is known."""
        if self._clock() - self._read_at < FRESH or self._reading.locked():
            return
        async with self._reading:
            self._keys = await asyncio.to_thread(self._read)
            self._read_at = self._clock()

    def outdate(self) -> None:
        """Have the next request read the keys again: one was made or revoked here."""
        self._read_at = -float("inf")

    def find(self, token: str) -> Key | None:
        """Return the key that `token` is; None for every other text."""
        candidate = self._keys.get(named_in(token) or "", NOBODY)
        found = [key for key in (candidate, self._given) if key is not None and key.opens_with(token)]
        return found[0] if found else None

    def good(self, identity: str) -> Key | None:
        """Return the key with that id; None once it is revoked."""
        key = self._given if self._given is not None and self._given.id == identity else self._keys.get(identity)
        return key if key is not None and key.revoked_at is None else None

    def _read(self) -> Mapping[str, Key]:
        return MappingProxyType({key.id: key for key in self.store.all()})
