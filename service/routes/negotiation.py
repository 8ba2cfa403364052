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
    kind = media.partition("/")[0]
    matches = [0.0]
    for entry in accept.split(",")[:64]:
        pattern, *parameters = (part.strip() for part in entry.split(";"))
        rank = {media: 3, f"{kind}/*": 2, "*/*": 1}.get(pattern.lower(), 0)
        if rank:
            matches.append(_weight(parameters) + rank * 1e-6)
    return max(matches) if max(matches) > 1e-5 else 0.0


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0
