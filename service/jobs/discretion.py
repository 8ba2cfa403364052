"""What a job's record may repeat of an error: everything but where files lie on this machine."""

import re
from typing import Final

from service.settings import Settings

PLACE: Final = "a file of the server"
_PATH: Final = re.compile(r"(?<![\w./])/[^\s,;:'\"()]+")  # absolute only: 8/255 and levelset/report are none


def without_places(text: str, settings: Settings) -> str:
    """Return `text` with every path of this machine replaced.

    Args:
        text: of an error.
        settings: names the folders and registered files, which may hold spaces.
    """
    registered = [key.partition(":")[2] for key in settings.datasets.values()]
    places = [str(settings.data), str(settings.datasets_folder), *registered]
    for place in sorted(filter(None, places), key=len, reverse=True):
        text = re.sub(re.escape(place) + r"[^\s,;:'\"()]*", PLACE, text)
    return _PATH.sub(PLACE, text)
