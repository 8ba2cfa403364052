"""Places for event streams: counted per owner and in all, given back however a stream ends.

Seen to fail when: a place is not given back after an error; one owner may take every place.
"""

from pathlib import Path

import pytest

from service.errors import Overloaded
from service.observability.instruments import Instruments
from service.routes.streams import Streams
from service.settings import Settings


def test_places_are_counted_and_given_back(tmp_path: Path) -> None:
    """Two of one owner, three in all; what ends with an error frees its place, and the count returns to zero."""
    instruments = Instruments()
    settings = Settings(data=tmp_path, max_streams=3, max_streams_per_owner=2)
    streams = Streams(settings, instruments.event_streams)
    first, second = streams.enter("a"), streams.enter("a")
    with pytest.raises(Overloaded, match="of one owner"):
        streams.enter("a")
    third = streams.enter("b")
    with pytest.raises(Overloaded, match="of all owners"):
        streams.enter("c")
    with pytest.raises(RuntimeError), first:
        raise RuntimeError("the client left")
    fourth = streams.enter("c")
    for place in (second, third, fourth):
        with place:
            pass
    assert streams.open == 0
