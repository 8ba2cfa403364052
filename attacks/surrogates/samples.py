"""The attacker's own sample: labelled points that are nobody else's."""

from collections.abc import Iterable

from torch import Tensor

from ensemble.digests import tensor_digest
from ensemble.errors import InputError


def check_own_sample(sample: Tensor, *, evaluated: Iterable[str] = (), used: Iterable[str] = ()) -> None:
    """Return nothing when the attacker's sample has no point in common with the evaluated ones or the defender's.

    Args:
        sample: `[n channel height width]`.
        evaluated: `tensor_digest` of every evaluated point.
        used: `tensor_digest` of the defender's calibration and training points, one by one or as a whole set; of a set
            known only as a whole it can be seen that it is another set, not that no point is shared.

    Raises:
        InputError: a point is shared; the message counts them.
    """
    points = {tensor_digest(point.cpu()) for point in sample}
    for role, digests in (("the evaluated points", set(evaluated)), ("calibration or training points", set(used))):
        shared = len(points & digests) + len({tensor_digest(sample.cpu())} & digests)
        if shared:
            raise InputError(
                f"attacker's sample: expected no point in common with {role}, got {shared} of {len(sample)}; draw the "
                "attacker's points from another part of the data"
            )
