"""The parameters of an infer request: read here, each by its own row of one table."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from service.errors import MalformedRequest
from service.inference.questions import MODES
from service.inference.refusals import refuse, short
from service.inference.signature import Signature

LOWEST_PRIORITY: Final = 3
_RESERVED: Final = frozenset({"sequence_id", "sequence_start", "sequence_end", "headers"})
_MEMBERS: Final = re.compile(r"[0-9]{1,6}(?:,[0-9]{1,6})*")


@dataclass(frozen=True, slots=True)
class Options:
    """How a request wants to be answered.

    Attributes:
        members: selected members in ascending order; None for all.
        mode: how members' answers become one; None for the model's own.
        timeout: seconds the request may take; None for the server's own limit.
        priority: 0 to 3, 0 first.
        binary_output: whether outputs that do not say otherwise are sent in binary.
    """

    members: tuple[int, ...] | None = None
    mode: str | None = None
    timeout: float | None = None
    priority: int = 1
    binary_output: bool = False


def read_options(value: Any, signature: Signature) -> Options:
    """Return the options in the `parameters` of a request.

    Args:
        value: the field as JSON gave it.
        signature: of the addressed view.

    Raises:
        MalformedRequest: a parameter is unknown, reserved, or not for this model.
    """
    if value is None:
        return Options()
    if not isinstance(value, dict):
        refuse("parameters", "a JSON object", value)
    for name in value:
        if name in _RESERVED or name.startswith("triton_"):
            raise MalformedRequest(f"parameters: expected none of the reserved ones, got {name[:80]!r}: not supported")
        if name not in _READERS:
            raise MalformedRequest(
                f"parameters: expected names among {sorted(_READERS)}, got {name[:80]!r}; leave it out"
            )
    fields = {_READERS[name][0]: _READERS[name][1](setting, signature) for name, setting in value.items()}
    return Options(**fields)


def _read_members(value: Any, signature: Signature) -> tuple[int, ...] | None:
    _check_choice("members", value, signature)
    if not isinstance(value, str) or _MEMBERS.fullmatch(value) is None:
        refuse("parameters.members", "members separated by commas, such as '0,3,7'", value)
    listed = [int(part) for part in value.split(",")]
    chosen = sorted(set(listed))
    size = signature.members or 0
    if len(chosen) != len(listed) or chosen[-1] >= size:
        refuse("parameters.members", f"different members from 0 to {size - 1}", value)
    return None if len(chosen) == size else tuple(chosen)


def _read_mode(value: Any, signature: Signature) -> str:
    _check_choice("mode", value, signature)
    if value not in MODES:
        refuse("parameters.mode", f"one of {list(MODES)}", value)
    return str(value)


def _read_timeout(value: Any, signature: Signature) -> float:
    if type(value) is not int or value <= 0:
        refuse("parameters.timeout", "whole microseconds above 0", value)
    # A number beyond every clock is a wish for the longest wait there is.
    return float(min(value, 10**12)) / 1e6


def _read_priority(value: Any, signature: Signature) -> int:
    if type(value) is not int or not 0 <= value <= LOWEST_PRIORITY:
        refuse("parameters.priority", f"a whole number from 0 to {LOWEST_PRIORITY}, 0 first", value)
    return int(value)


def _read_flag(value: Any, signature: Signature) -> bool:
    if not isinstance(value, bool):
        refuse("parameters.binary_data_output", "true or false", value)
    return value


def _check_choice(name: str, value: Any, signature: Signature) -> None:
    if signature.members is None:
        raise MalformedRequest(
            f"parameters.{name}: expected none, since this model is a single network, got {short(value)}; "
            "address the ensemble itself"
        )
    if signature.fixed_mode is not None:
        raise MalformedRequest(
            f"parameters.{name}: expected none, since this ensemble is served in the mode {signature.fixed_mode!r}, "
            f"got {short(value)}; leave it out"
        )


_READERS: Final[Mapping[str, tuple[str, Callable[[Any, Signature], Any]]]] = MappingProxyType(
    {
        "members": ("members", _read_members),
        "mode": ("mode", _read_mode),
        "timeout": ("timeout", _read_timeout),
        "priority": ("priority", _read_priority),
        "binary_data_output": ("binary_output", _read_flag),
    }
)
