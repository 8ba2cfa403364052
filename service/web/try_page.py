"""The page of one try as values: what the form offers and holds, and what an answer says in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.trying.orders import ATTACKS
from service.web import words
from service.web.forms import Choice, radius, whole
from service.web.records import Record, plain

THUMBNAILS: Final = 24
NOTCHES: Final = 48  # of the slider: every usual radius is one of them
CRAFTED: Final = (
    Choice("base", "the base (transfer)", {}),
    Choice("ensemble", "the ensemble itself (white box)", {}),
)


@dataclass(frozen=True, slots=True)
class VoteRow:
    """One network's answer before and after; `tone` only repeats what `verdict` says."""

    name: str
    before: str
    before_share: str
    after: str
    after_share: str
    verdict: str
    tone: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of an answer."""

    title: str
    source: str
    alt: str


@dataclass(frozen=True, slots=True)
class TryResult:
    """An answer in words."""

    sentence: str
    label: str
    votes: tuple[VoteRow, ...]
    pictures: tuple[Picture, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TryForm:
    """What the form offers and holds.

    Attributes:
        targets: ensembles that answer.
        dataset: whose samples are offered; empty for none.
        samples: their numbers.
        attacks: by name, each with the norms it is defined in.
        norms: each with the largest radius of the slider.
        crafted: on what the attack may be made.
        values: field -> text.
        uploaded: SHA-256 of the image that is tried instead of a sample; empty for none.
        largest: radius at the end of the slider.
        notch: radius between two places of the slider.
        notches: how many places the slider has.
        size: of an input, in words.
        problem: what is wrong with the last request.
        result: of the last request.
    """

    targets: tuple[Choice, ...]
    dataset: str
    samples: tuple[int, ...]
    attacks: tuple[Choice, ...]
    norms: tuple[Choice, ...]
    crafted: tuple[Choice, ...]
    values: Mapping[str, str]
    uploaded: str
    largest: str
    notch: str
    notches: int
    size: str
    problem: str
    result: TryResult | None

    def value(self, name: str) -> str:
        """Return what a field holds."""
        return self.values.get(name, "")


def order_of(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of `POST /api/v1/try` that the fields of the form make."""
    uploaded = values.get("sha256", "").strip()
    sample = {"dataset": values.get("dataset", ""), "index": whole(values.get("index", "0"))}
    order: dict[str, Any] = {"image": {"sha256": uploaded} if uploaded else sample}
    readers = {"epsilon": radius, "steps": whole, "seed": whole}
    for name in ("target", "surrogate", "attack", "norm", "epsilon", "steps", "seed"):
        text = values.get(name, "").strip()
        if text:
            order[name] = readers[name](text) if name in readers else text
    return order


def try_form(
    models: Sequence[Record],
    offers: Mapping[str, Any],
    *,
    values: Mapping[str, str],
    problem: str = "",
    answer: Mapping[str, Any] | None = None,
) -> TryForm:
    """Return the form, filled with what came and otherwise with what is usual for the ensemble.

    Args:
        models: ensembles that answer.
        offers: `datasets` and `radii` (channels -> norm -> radii) of this installation.
        values: field -> text, as far as they are known.
        problem: what is wrong with the request.
        answer: what `POST /api/v1/try` answers.
    """
    known = [plain(model) for model in models]
    chosen = next((model for model in known if model["name"] == values.get("target")), known[0] if known else {})
    shape = chosen.get("input_shape") or [0, 0, 0]
    usual = offers["radii"].get(str(shape[0])) or dict.fromkeys(("linf", "l2", "l1"), (1.0,))
    norm = values.get("norm") if values.get("norm") in usual else "linf"
    largest = {name: 2 * float(radii[-1]) for name, radii in usual.items()}
    dataset = str(chosen.get("dataset") or "")
    held = {
        "target": str(chosen.get("name", "")),
        "dataset": dataset,
        "index": "0",
        "surrogate": "base",
        "attack": "pgd",
        "norm": str(norm),
        "epsilon": f"{float(usual[str(norm)][len(usual[str(norm)]) // 2]):.6g}",
        "steps": "20",
        "seed": "0",
    }
    held |= {name: text for name, text in values.items() if name in held and text}
    return TryForm(
        targets=tuple(
            Choice(str(model["name"]), f"{model['name']} ({model.get('members')} members)", {}) for model in known
        ),
        dataset=dataset if dataset in offers["datasets"] else "",
        samples=tuple(range(THUMBNAILS)),
        attacks=tuple(Choice(kind, offer.label, {"norms": " ".join(offer.norms)}) for kind, offer in ATTACKS.items()),
        norms=tuple(Choice(name, words.norm_label(name), {"largest": f"{largest[name]:.9g}"}) for name in usual),
        crafted=CRAFTED,
        values=held,
        uploaded=values.get("sha256", ""),
        largest=f"{largest[str(norm)]:.9g}",
        notch=f"{largest[str(norm)] / NOTCHES:.9g}",
        notches=NOTCHES,
        size=" × ".join(map(str, shape[1:])),
        problem=problem,
        result=try_result(answer, chosen) if answer is not None else None,
    )


def try_result(answer: Mapping[str, Any], model: Mapping[str, Any]) -> TryResult:
    """Return an answer in words.

    Args:
        answer: what `POST /api/v1/try` answers.
        model: the ensemble, for the names of its classes.
    """
    names = [str(name) for name in model.get("class_names") or ()]
    before, after, label = answer["clean"], answer["adversarial"], int(answer["label"]["value"])
    rows = [("Base", before["base"], after["base"]), ("Ensemble", before["ensemble"], after["ensemble"])]
    rows += [
        (f"Member {index}", *pair) for index, pair in enumerate(zip(before["members"], after["members"], strict=True))
    ]
    held = sum(vote["label"] == label for vote in after["members"])
    asked, size = answer["asked"], answer["perturbation"]
    source = "by the data set" if answer["label"]["source"] == "data set" else "as the base answers"
    return TryResult(
        sentence=_sentence(before, after, label, held, names),
        label=f"{_class(label, names)} ({source})",
        votes=tuple(_row(name, first, last, label, names) for name, first, last in rows),
        pictures=_pictures(answer["pictures"]),
        facts=(
            ("Asked", f"{words.norm_label(asked['norm'])} at most {words.epsilon(asked['epsilon'])}"),
            ("Measured", "; ".join(f"{words.norm_label(name)} {size[name]:.4g}" for name in ("linf", "l2", "l1"))),
            ("Made with", f"{ATTACKS[asked['attack']].label}, {_steps(asked)}, on the {asked['surrogate']}"),
            (
                "Disagreement of members",
                f"{_share(before['disagreement'])} before, {_share(after['disagreement'])} after",
            ),
            ("Time", f"{answer['seconds']:.2f}{words.NARROW}s" + (", remembered" if answer.get("cached") else "")),
        ),
    )


def _sentence(before: Mapping[str, Any], after: Mapping[str, Any], label: int, held: int, names: Sequence[str]) -> str:
    count = len(after["members"])
    right = f"{held} of {count} members answer {_class(label, names)}"
    return f"{_moved('The base', before['base'], after['base'], label, names)}; {right}; " + (
        f"{_moved('the ensemble', before['ensemble'], after['ensemble'], label, names)}."
    )


def _moved(who: str, before: Mapping[str, Any], after: Mapping[str, Any], label: int, names: Sequence[str]) -> str:
    if before["label"] != label:
        return f"{who} answered {_class(before['label'], names)} from the start"
    if after["label"] == label:
        return f"{who} still answers {_class(label, names)}"
    return f"{who} falls from {_class(label, names)} to {_class(after['label'], names)}"


def _row(name: str, before: Mapping[str, Any], after: Mapping[str, Any], label: int, names: Sequence[str]) -> VoteRow:
    wrong = before["label"] != label
    verdict, tone = ("wrong before", "") if wrong else ("held", "live") if after["label"] == label else ("lost", "bad")
    shares = (_share(vote["probability"]) for vote in (before, after))
    return VoteRow(
        name, _class(before["label"], names), next(shares), _class(after["label"], names), next(shares), verdict, tone
    )


def _pictures(pictures: Mapping[str, Any]) -> tuple[Picture, ...]:
    scale = f"{pictures['scale']:.3g}"
    rows = (
        ("clean", "Clean", "the image as it was sent"),
        ("adversarial", "Attacked", "the image after the attack"),
        ("difference", f"Difference × {scale}", f"the change, {scale} times as strong; grey is none"),
    )
    return tuple(Picture(title, f"data:image/png;base64,{pictures[name]}", alt) for name, title, alt in rows)


def _class(label: int, names: Sequence[str]) -> str:
    name = names[label] if label < len(names) else str(label)
    return name if name == str(label) else f"{label} ({name})"


def _share(value: float) -> str:
    return words.percent(float(value))


def _steps(asked: Mapping[str, Any]) -> str:
    count = asked["steps"] if ATTACKS[asked["attack"]].iterated else 1
    return f"{count} step{'s' * (count != 1)}"
