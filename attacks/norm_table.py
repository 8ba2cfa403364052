"""The row of a norm in an attack's own table, or a refusal that says where the attack is defined."""

from collections.abc import Mapping
from typing import TypeVar

from ensemble.errors import UnknownName

Row = TypeVar("Row")


def row_of_norm(table: Mapping[str, Row], attack: str, norm: str) -> Row:
    """Return the row of a norm.

    Args:
        table: of one attack, one row per norm it is defined in.
        attack: its name, for the message.
        norm: a key of the table.

    Raises:
        UnknownName: the attack is not defined in this norm; the message lists those it is.
    """
    if not isinstance(norm, str) or norm not in table:
        raise UnknownName(f"norm of {attack}", str(norm), table)
    return table[norm]
