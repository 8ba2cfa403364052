"""The parts of a report's schema: plain values, read by pages and plots."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer


class Part(BaseModel):
    """Base of every part: immutable, unknown keys ignored, written by field alias.

    A field that a later minor version added has a default that stands for its absence, and is left out while it has
    that value: a report of an older version is written as it was read, and keeps its digest.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @model_serializer(mode="wrap")
    def _without_later_additions(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        for name, field in type(self).model_fields.items():
            added = isinstance(field.json_schema_extra, dict) and "since" in field.json_schema_extra
            if added and getattr(self, name) == field.get_default(call_default_factory=True):
                written.pop(name, None)
        return written


def since(version: str, default: Any) -> Any:
    """Return a field that a minor version added, with the value that its absence means.

    Args:
        version: the version of the schema, e.g. "1.2".
        default: what older reports meant; a list or mapping is copied.
    """
    extra: dict[str, Any] = {"since": version}
    if isinstance(default, list | dict):
        return Field(default_factory=lambda: type(default)(default), json_schema_extra=extra)
    return Field(default=default, json_schema_extra=extra)


class Proportion(Part):
    """k of n with its Wilson interval; value and interval are null where n is too small to state a rate."""

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None


class Status(Part):
    """UNRELIABLE, INCOMPLETE or CHECKED; the checks that decided it; the number of warnings."""

    value: str
    reasons: list[str]
    warnings: int

    @property
    def label(self) -> str:
        """The status as printed: the number of warnings is part of the word CHECKED."""
        noun = "warning" if self.warnings == 1 else "warnings"
        return f"{self.value}, {self.warnings} {noun}" if self.value == "CHECKED" else self.value


class Headline(Part):
    """The one result fixed before the run, with its sentence and its limits."""

    model: str
    norm: str
    epsilon: float
    target: str
    attacks: int
    robust_accuracy: Proportion
    base_robust_accuracy: Proportion
    clean_accuracy: Proportion
    base_clean_accuracy: Proportion
    outcome: str
    sentence: str
    limits: str
    noise_robust_accuracy: Proportion | None = since("1.2", None)
    noise_clean_accuracy: Proportion | None = since("1.2", None)
    expected_accuracy: float | None = since("1.2", None)


class Subject(Part):
    """What was evaluated."""

    target: str
    ensemble_digest: str
    base_digest: str
    control_digests: dict[str, str]
    mode: str
    members: int
    group: dict[str, Any] | None
    seeds: list[int]
    calibration_digest: str | None
    datatype: str = since("1.3", "FP32")


class Data(Part):
    """The points: where from, how many, in which encoding, and the best constant answer on them."""

    name: str
    split: str
    n: int
    digest: str
    encoding: str
    bounds: list[float]
    input_shape: list[int]
    label_counts: dict[str, int]
    chance_accuracy: float


class SuiteInfo(Part):
    """The list of attacks, by name and version, and what was changed in it."""

    name: str
    version: str
    overrides: dict[str, Any]


class CleanResult(Part):
    """Clean accuracy of one judge, and how often it agrees with the base in being right."""

    target: str
    clean_accuracy: Proportion
    agreement_with_base: Proportion


class RawResult(Part):
    """One attack, one cold run, no nesting over epsilons."""

    attack: str
    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None
    attack_success_rate: Proportion


class TargetResult(Part):
    """Accuracy of one judge at one epsilon: per attack, and the per-example worst case.

    Where a random member answers, `robust_accuracy` counts the points that every member answers right; beside it stand
    the exact expectation over the members, and the chance that one of r independent requests is answered wrong.
    """

    norm: str
    epsilon: float
    target: str
    raw: list[RawResult]
    robust_accuracy: Proportion
    expected_accuracy: float | None = since("1.2", None)
    all_members_right: Proportion | None = since("1.2", None)
    any_member_wrong: Proportion | None = since("1.2", None)
    retry: dict[str, float] | None = since("1.2", None)


class GainResult(Part):
    """A paired comparison of the target with one baseline."""

    over: str
    norm: str
    epsilon: float
    b: int
    c: int
    gain: float
    low: float
    high: float
    p: float
    p_holm: float
    mdg: float | None
    per_seed: list[float]
    outcome: str
    void_because: list[str]


class ThreatModelResult(Part):
    """One kind of attacker in one norm."""

    name: str
    norm: str
    mode: str
    sentence: str
    query_budget: int | None
    epsilons: list[float]
    results: list[TargetResult]
    gains: list[GainResult]
    outcome: str


class AttackResult(Part):
    """What an attack was, what it broke on the target at the largest epsilon, and what it cost."""

    id: str
    norm: str
    class_: str = Field(alias="class")
    knowledge: str
    parameters: dict[str, Any]
    draws: int
    surrogate_digest: str | None
    seed: int
    precision: str
    fooled: int
    unique_fooled: int
    forwards: int
    backwards: int
    queries: int
    seconds: float
    surrogate: str = since("1.2", "")
    on: str = since("1.2", "")
    epsilons: list[float] | None = since("1.2", None)
    attempted: int | None = since("1.2", None)
    cold: bool = since("1.2", True)
    numbers: dict[str, Any] = since("1.2", {})


class AuditPoint(Part):
    """Raw accuracy of a cold run at one epsilon, on the points it was run on."""

    epsilon: float
    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None


class AuditResult(Part):
    """A cold run on part of the points: no survivors left out, no warm start."""

    attack: str
    norm: str
    class_: str = Field(alias="class")
    target: str
    parameters: dict[str, Any]
    results: list[AuditPoint]
    forwards: int
    backwards: int
    queries: int
    seconds: float


class SurrogateResult(Part):
    """What an attacker made before it attacked."""

    name: str
    kind: str
    settings: dict[str, Any]
    digest: str
    numbers: dict[str, Any]


class BaselineResult(Part):
    """A network the target is compared with: how it was made, and whether it was attacked white-box."""

    name: str
    digest: str
    attacked: bool
    numbers: dict[str, Any]


class Transfer(Part):
    """How examples made on a source fool the others, at one epsilon: one row per source, one column per judge."""

    norm: str
    epsilon: float
    attack: str
    sources: list[str]
    members: list[str]
    rate: list[list[float | None]]
    rate_all_right: list[list[float | None]]
    denominators: list[list[int]]
    gradient_cosine: list[list[float]] | None


class CheckResult(Part):
    """One automatic check; one that does not apply is NOT-RUN and counts for no status."""

    id: str
    status: str
    applies: bool = since("1.1", True)
    rule: str
    numbers: dict[str, Any]
    reason: str
    remedy: str = since("1.2", "")


class GalleryItem(Part):
    """One attacked input to look at: pictures as PNG files in base64, and what everybody answers to it.

    `kind` is "lost", "leak" (held under white-box gradients, lost to an example made on the base) or "held"; the
    difference is drawn around mid-grey, multiplied by `difference_scale`.
    """

    index: int
    label: int
    kind: str
    norm: str
    epsilon: float
    attack: str
    original_png: str
    perturbed_png: str
    difference_png: str
    difference_scale: float
    base_label: int
    served_label: int
    member_labels: list[int]


class NotRun(Part):
    """Something the full standard asks for that was not done."""

    what: str
    why: str


class Artifact(Part):
    """Examples of one crafting run; the path is null where only the digest was kept."""

    kind: str
    attack: str
    norm: str
    digest: str
    path_relative: str | None
    shape: list[int]
    dtype: str


class Environment(Part):
    """Versions, device and threads: part of every reproducibility claim."""

    levelset: str
    foolbox: str
    torch: str
    python: str
    device: str
    threads: int
    deterministic: bool


class CurvePoint(Part):
    """One epsilon of a curve."""

    epsilon: float
    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None


class Curve(Part):
    """Accuracy of one row against epsilon, the clean accuracy at epsilon 0 included."""

    model: str
    norm: str
    target: str
    attack: str
    points: list[CurvePoint]
