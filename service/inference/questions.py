"""What one execution computes: the key by which requests may share one."""

from dataclasses import dataclass
from typing import Final

from service.inference.views import View

MODES: Final = ("prob", "logit", "vote")
RANDOM_MEMBER: Final = "random_member"


@dataclass(frozen=True, slots=True)
class Question:
    """Requests with equal questions may run together; others never do.

    Attributes:
        view: the addressed model.
        outputs: names to compute.
        members: the selected members in ascending order; None for all.
        mode: how members' answers become one.
        datatype: of the rows: "float32" or "uint8".
    """

    view: View
    outputs: frozenset[str]
    members: tuple[int, ...] | None = None
    mode: str = "prob"
    datatype: str = "float32"

    @property
    def forwards(self) -> int | None:
        """Return how many members run: the class by which costs are learned; 0 is the base, None all of them."""
        if self.view.kind == "ensemble":
            return None if self.members is None else len(self.members)
        return 0 if self.view.kind == "base" else 1
