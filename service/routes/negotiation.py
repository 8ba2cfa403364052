"""Which of the offered representations a request wants."""

from collections.abc import Mapping

from service.errors import NotAcceptable


def choose(offered: Mapping[str, str], accept: str | None, wanted: str | None) -> str:
    """Return the name of a representation.

    Args:
        offered: name -> media type, the preferred one first.
        accept: the Accept header; None or empty accepts everything.
        wanted: `?format=`, which wins.

    Raises:
        NotAcceptable: nothing offered is wanted.
    """
    if wanted is not None:
        if wanted in offered:
            return wanted
        raise NotAcceptable(f"format: expected one of {list(offered)}, got {wanted[:40]!r}")
    if not accept or not accept.strip():
        return next(iter(offered))
    best = max(offered, key=lambda name: _quality(offered[name], accept))
    if _quality(offered[best], accept) <= 0:
        raise NotAcceptable(f"Accept: expected one of {list(offered.values())}, got {accept[:80]!r}")
    return best


def _quality(media: str, accept: str) -> float:
    """Return the weight of the most specific entry that covers `media`, 0 where none does."""
    ranks = {media: 3, media.partition("/")[0] + "/*": 2, "*/*": 1}
    best = (0, 0.0)
    for entry in accept.split(",")[:64]:
        pattern, *parameters = (part.strip().lower() for part in entry.split(";"))
        best = max(best, (ranks.get(pattern, 0), _weight(parameters)), key=lambda match: match[0])
    return best[1] if best[0] else 0.0


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0
