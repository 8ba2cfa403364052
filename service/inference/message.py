"""The JSON part of an infer request: which tensors it names, how they are sent, and what it asks for."""

from dataclasses import dataclass
from typing import Any, Final, NoReturn

from service.errors import MalformedRequest
from service.inference.datatypes import BINARY_ONLY, NAMES
from service.inference.options import Options, read_options
from service.inference.refusals import refuse
from service.inference.signature import Signature
from service.json_body import load_json

MAX_RANK: Final = 8
# KServe's client repeats the name of the model; the path alone decides.
_REQUEST_KEYS: Final = frozenset({"id", "parameters", "inputs", "outputs", "model_name"})
_INPUT_KEYS: Final = frozenset({"name", "shape", "datatype", "parameters", "data"})
_OUTPUT_KEYS: Final = frozenset({"name", "parameters"})


@dataclass(frozen=True, slots=True, eq=False)
class TensorHead:
    """One input as the JSON part names it.

    Attributes:
        name: as sent; it need not be declared.
        datatype: a datatype of the protocol.
        shape: at most `MAX_RANK` whole numbers >= 0.
        binary_bytes: bytes of it in the binary part; None where `data` holds it.
        data: what JSON holds; None in the binary form.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    binary_bytes: int | None
    data: Any


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """The JSON part of a request.

    Attributes:
        id: the client's own, returned as it came.
        inputs: in the order of their bytes in the binary part.
        outputs: names to answer, in order.
        binary_outputs: those of them that are sent in binary.
        options: how it wants to be answered.
    """

    id: str | None
    inputs: tuple[TensorHead, ...]
    outputs: tuple[str, ...]
    binary_outputs: frozenset[str]
    options: Options


def read_message(text: bytes, signature: Signature) -> Message:
    """Return what the JSON part of a request says.

    Args:
        text: JSON.
        signature: of the addressed view.

    Raises:
        MalformedRequest: anything about it cannot be read.
    """
    request = _object(load_json(text, parse_constant=_refuse_constant), "request", _REQUEST_KEYS)
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        refuse("id", "a string", identity)
    options = read_options(request.get("parameters"), signature)
    inputs = tuple(_head(name, tensor) for name, tensor in _named(request.get("inputs"), "inputs", _INPUT_KEYS).items())
    wishes = _wishes(request.get("outputs"), signature, options)
    binary = frozenset(name for name, wished in wishes.items() if wished)
    return Message(identity, inputs, tuple(wishes), binary, options)


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"request: expected finite numbers, got the literal {name}; drop or repair these points")


def _object(value: Any, what: str, keys: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse(what, "a JSON object", value)
    unknown = sorted(value.keys() - keys)
    if unknown:
        refuse(what, f"only the fields {sorted(keys)}", unknown[0])
    return value


def _named(value: Any, what: str, keys: frozenset[str]) -> dict[str, dict[str, Any]]:
    if not isinstance(value, list):
        refuse(what, "a list of objects", value)
    named: dict[str, dict[str, Any]] = {}
    for item in value:
        tensor = _object(item, what, keys)
        name = tensor.get("name")
        if not isinstance(name, str):
            refuse(f"{what}[].name", "a string", name)
        if name in named:
            refuse(what, "each name once", name)
        named[name] = tensor
    return named


def _head(name: str, tensor: dict[str, Any]) -> TensorHead:
    what = f"input {name[:80]!r}"
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in NAMES:
        refuse(f"{what}.datatype", "a datatype of the protocol", datatype)
    size = _binary_bytes(tensor.get("parameters"), f"{what}.parameters")
    data = tensor.get("data")
    if size is None and datatype in BINARY_ONLY:
        raise MalformedRequest(
            f"{what}.datatype: expected none that JSON lacks, got {datatype}; use the binary extension"
        )
    if size is None and "data" not in tensor:
        refuse(f"{what}.data", "`data`, or `binary_data_size` among its parameters", None)
    if size is not None and "data" in tensor:
        raise MalformedRequest(f"{what}: expected `data` or `binary_data_size`, got both; send one of them")
    return TensorHead(name, datatype, _shape(tensor.get("shape"), what), size, data)


def _shape(value: Any, what: str) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or len(value) > MAX_RANK
        or not all(type(size) is int and size >= 0 for size in value)
    ):
        refuse(f"{what}.shape", f"at most {MAX_RANK} whole numbers >= 0", value)
    return tuple(value)


def _binary_bytes(value: Any, what: str) -> int | None:
    size = _only_parameter(value, "binary_data_size", what)
    if size is not None and (type(size) is not int or size < 0):
        refuse(f"{what}.binary_data_size", "a whole number of bytes", size)
    return size


def _wishes(value: Any, signature: Signature, options: Options) -> dict[str, bool]:
    """Return the outputs to answer, in order, each with whether it is sent in binary."""
    if value is None:
        return dict.fromkeys(signature.output_names, options.binary_output)
    wishes = {}
    for name, output in _named(value, "outputs", _OUTPUT_KEYS).items():
        what = f"output {name[:80]!r}.parameters"
        if name not in signature.output_names:
            refuse("outputs", f"names among {list(signature.output_names)}", name)
        wished = _only_parameter(output.get("parameters"), "binary_data", what)
        if wished is not None and not isinstance(wished, bool):
            refuse(f"{what}.binary_data", "true or false", wished)
        wishes[name] = options.binary_output if wished is None else wished
    return wishes or dict.fromkeys(signature.output_names, options.binary_output)


def _only_parameter(value: Any, name: str, what: str) -> Any:
    if value is None:
        return None
    return _object(value, what, frozenset({name})).get(name)
