"""`EvaluationReport`: the schema of a finished evaluation, its JSON and its digest.

Pages and plots render from this JSON alone. A major version breaks, a minor one adds; readers ignore unknown keys.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attacks.canonical import canonical_json, content_digest, without
from ensemble.errors import ArtifactError

SCHEMA = "levelset/evaluation-report"
SCHEMA_VERSION = "1.0"
#: What no digest covers: times, and where and when the work was done.
VOLATILE = frozenset({"seconds", "run", "report_digest"})


class Part(BaseModel):
    """Base of every part: immutable, unknown keys ignored, written by field alias."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


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
    """Accuracy of one judge at one epsilon: per attack, and the per-example worst case."""

    norm: str
    epsilon: float
    target: str
    raw: list[RawResult]
    robust_accuracy: Proportion


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
    """One automatic check."""

    id: str
    status: str
    rule: str
    numbers: dict[str, Any]
    reason: str


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


class EvaluationReport(Part):
    """A finished evaluation."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    schema_version: str = SCHEMA_VERSION
    status: Status
    headline: Headline
    subject: Subject
    data: Data
    suite: SuiteInfo
    clean: list[CleanResult]
    threat_models: list[ThreatModelResult]
    attacks: list[AttackResult]
    transfer: Transfer | None
    checks: list[CheckResult]
    certificates: list[dict[str, Any]]
    not_run: list[NotRun]
    artifacts: list[Artifact]
    environment: Environment
    run: dict[str, Any] = Field(default_factory=dict)
    report_digest: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over everything except `seconds` fields, the `run` block and the digest itself."""
        return content_digest(without(self.model_dump(mode="json", by_alias=True), VOLATILE))

    def sealed(self) -> Self:
        """Return a copy in the types of JSON (lists, not tuples) that carries its own digest."""
        plain = type(self).model_validate_json(self.to_json())
        return plain.model_copy(update={"report_digest": plain.digest})

    def with_run(self, run: dict[str, Any]) -> Self:
        """Return a copy with another `run` block (hosts, times, attempts); the digest stays the same."""
        return self.model_copy(update={"run": run})

    def to_json(self) -> str:
        """Return the report as canonical JSON: sorted keys, no spaces, no NaN."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the report of `to_json`.

        Args:
            text: a JSON document.

        Returns:
            The report, its digest verified.

        Raises:
            ArtifactError: not a report, another major version, or changed since it was sealed.
        """
        try:
            report = cls.model_validate_json(text)
        except ValidationError as error:
            raise ArtifactError(
                f"evaluation report: expected JSON of the schema {SCHEMA} {SCHEMA_VERSION}, got a document with "
                f"{error.error_count()} errors (first: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}); "
                "read a file written by to_json"
            ) from error
        if report.schema_ != SCHEMA or report.schema_version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
            raise ArtifactError(
                f"evaluation report: expected the schema {SCHEMA} {SCHEMA_VERSION}, got {report.schema_} "
                f"{report.schema_version}; read it with the version of levelset that wrote it"
            )
        if report.schema_version == SCHEMA_VERSION and report.report_digest not in ("", report.digest):
            raise ArtifactError(
                f"evaluation report: expected the digest {report.report_digest}, got {report.digest}; "
                "the document was changed after it was written: run the evaluation again"
            )
        return report

    @property
    def curves(self) -> list[Curve]:
        """Accuracy against epsilon: for each threat model every judge's worst case, each raw attack, and chance."""
        clean = {item.target: item.clean_accuracy for item in self.clean}
        curves: list[Curve] = []
        for model in self.threat_models:
            for target in dict.fromkeys(result.target for result in model.results):
                rungs = [result for result in model.results if result.target == target]
                curves += _curves_of(model, target, rungs, clean[target])
            curves.append(_chance_curve(model, self.data))
        return curves


def _curves_of(model: ThreatModelResult, target: str, rungs: list[TargetResult], clean: Proportion) -> list[Curve]:
    lines: dict[str, list[CurvePoint]] = {"worst case": [_point(0.0, clean)]}
    for rung in rungs:
        lines["worst case"].append(_point(rung.epsilon, rung.robust_accuracy))
        for raw in rung.raw:
            lines.setdefault(raw.attack, [_point(0.0, clean)]).append(_point(rung.epsilon, raw))
    return [
        Curve(model=model.name, norm=model.norm, target=target, attack=attack, points=_without_double_zero(points))
        for attack, points in lines.items()
    ]


def _point(epsilon: float, of: Proportion | RawResult) -> CurvePoint:
    return CurvePoint(epsilon=epsilon, k=of.k, n=of.n, value=of.value, low=of.low, high=of.high)


def _without_double_zero(points: list[CurvePoint]) -> list[CurvePoint]:
    """Drop the clean point where epsilon 0 was itself evaluated."""
    return points[1:] if len(points) > 1 and points[1].epsilon == 0 else points


def _chance_curve(model: ThreatModelResult, data: Data) -> Curve:
    k = round(data.chance_accuracy * data.n)
    value = data.chance_accuracy
    points = [
        CurvePoint(epsilon=epsilon, k=k, n=data.n, value=value, low=value, high=value)
        for epsilon in dict.fromkeys([0.0, *model.epsilons])
    ]
    return Curve(model=model.name, norm=model.norm, target="chance", attack="best constant answer", points=points)
