"""The form of a new evaluation: its fields, what they hold at first, and the job specification they make.

A field is named by its place in the specification (`data.n`): here, in the form's script, in the API's problems.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from service.web import words
from service.web.records import Record, plain

Read = Callable[[str], Any]


def radius(text: str) -> float | str:
    """Return a radius written as a decimal or as a fraction (`8/255`); other text stays as it is, to be refused."""
    above, divided, below = text.partition("/")
    try:
        return float(above) / float(below) if divided else float(above)
    except (ValueError, ZeroDivisionError):
        return text


def whole(text: str) -> int | str:
    """Return a whole number; what is none stays as it is, to be refused."""
    return int(text) if text.isascii() and text.lstrip("-").isdigit() else text


def radii(text: str) -> list[float | str]:
    """Return radii that are separated by commas or spaces."""
    return [radius(part) for part in text.replace(",", " ").split()]


FIELDS: Final[Mapping[str, Read]] = MappingProxyType(
    {
        "target": str,
        "data.name": str,
        "data.split": str,
        "data.n": whole,
        "threat.norm": str,
        "threat.epsilons": radii,
        "suite.name": str,
        "mode": str,
        "datatype": str,
        "seed": whole,
        "priority": whole,
        "max_seconds": whole,
    }
)
SPLITS: Final = ("test", "validation")
MODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "prob": "mean probability",
        "logit": "mean logit",
        "vote": "majority vote",
        "random_member": "one member, drawn per request",
    }
)
DATATYPES: Final = (("FP32", "numbers"), ("UINT8", "bytes or image files, rounded to 256 levels"))
PRIORITIES: Final = (("0", "before others"), ("1", "normal"), ("2", "after others"), ("3", "last"))


def specification(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of `POST /api/v1/jobs` that the fields make; empty ones are left out, unknown ones ignored."""
    spec: dict[str, Any] = {"type": "evaluate"}
    for path, read in FIELDS.items():
        text = fields.get(path, "").strip()
        if not text:
            continue
        room, _, name = path.rpartition(".")
        (spec.setdefault(room, {}) if room else spec)[name] = read(text)
    return spec


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of a selection."""

    value: str
    label: str
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EvaluateForm:
    """What the form offers and what it holds.

    Attributes:
        targets: ensembles that answer; each names its data set and its number of channels.
        datasets: by name.
        splits: parts of a data set.
        suites: with the number of their attacks.
        norms: by their usual signs.
        modes: how members' answers become one.
        datatypes: how clients send inputs.
        priorities: 0 to 3.
        conventional: channels -> norm -> radii, as text.
        values: field -> text.
        problems: field -> what is wrong with it; the empty name stands for the whole form.
    """

    targets: tuple[Choice, ...]
    datasets: tuple[Choice, ...]
    splits: tuple[Choice, ...]
    suites: tuple[Choice, ...]
    norms: tuple[Choice, ...]
    modes: tuple[Choice, ...]
    datatypes: tuple[Choice, ...]
    priorities: tuple[Choice, ...]
    conventional: Mapping[str, Mapping[str, str]]
    values: Mapping[str, str]
    problems: Mapping[str, str]

    def value(self, name: str) -> str:
        """Return what a field holds."""
        return self.values.get(name, "")

    def problem(self, name: str) -> str:
        """Return what is wrong with a field; nothing is an empty text."""
        return self.problems.get(name, "")


def evaluate_form(
    models: Sequence[Record],
    offers: Mapping[str, Any],
    *,
    values: Mapping[str, str],
    problems: Mapping[str, str] | None = None,
) -> EvaluateForm:
    """Return the form, filled with what came and otherwise with what is usual for the target.

    Args:
        models: ensembles that answer.
        offers: `datasets`, `suites`, `norms`, `modes` and `radii` (channels -> norm -> radii) of this installation.
        values: field -> text, as far as they are known.
        problems: field -> what is wrong with it.
    """
    targets = tuple(_target(plain(model)) for model in models)
    conventional = {
        channels: {norm: ", ".join(map(_radius, found)) for norm, found in norms.items()}
        for channels, norms in offers["radii"].items()
    }
    chosen = next((one for one in targets if one.value == values.get("target")), targets[0] if targets else None)
    norm = values.get("threat.norm") or "linf"
    usual = {
        "target": chosen.value if chosen else "",
        "data.name": chosen.data["dataset"] if chosen else "",
        "data.split": "test",
        "data.n": "200",
        "threat.norm": norm,
        "threat.epsilons": conventional.get(chosen.data["channels"] if chosen else "", {}).get(norm, ""),
        "suite.name": "quick",
        "mode": "prob",
        "datatype": "FP32",
        "seed": "0",
        "priority": "1",
    }
    return EvaluateForm(
        targets=targets,
        datasets=choices(offers["datasets"]),
        splits=choices(SPLITS),
        suites=tuple(
            Choice(name, f"{name} ({len(suite['attacks'])} attacks)", {}) for name, suite in offers["suites"].items()
        ),
        norms=tuple(Choice(norm, words.norm_label(norm), {}) for norm in offers["norms"]),
        modes=tuple(Choice(mode, MODES.get(mode, mode), {}) for mode in offers["modes"]),
        datatypes=tuple(Choice(value, f"{value}: {label}", {}) for value, label in DATATYPES),
        priorities=tuple(Choice(value, f"{value}: {label}", {}) for value, label in PRIORITIES),
        conventional=conventional,
        values=usual | {name: text for name, text in values.items() if name in FIELDS},
        problems=_placed(problems or {}),
    )


def choices(names: Iterable[str]) -> tuple[Choice, ...]:
    """Return names as options that say no more than themselves."""
    return tuple(Choice(name, name.replace("_", " "), {}) for name in names)


def _target(model: Mapping[str, Any]) -> Choice:
    name, shape = str(model.get("name")), model.get("input_shape") or [0]
    label = f"{name} ({model.get('members')} members)"
    return Choice(name, label, {"dataset": str(model.get("dataset") or ""), "channels": str(shape[0])})


def _radius(value: float) -> str:
    parts = 255 * value
    return f"{parts:.0f}/255" if value < 0.1 and abs(parts - round(parts)) < 1e-9 else f"{value:g}"


def _placed(problems: Mapping[str, str]) -> dict[str, str]:
    """Return problems under the form's own fields: `threat.epsilons.0` belongs to `threat.epsilons`."""
    found: dict[str, str] = {}
    for path, message in problems.items():
        name = path
        while name and name not in FIELDS:
            name = name.rpartition(".")[0]
        found.setdefault(name, message if name == path or not path else f"{path}: {message}")
    return found
