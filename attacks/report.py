"""`EvaluationReport`: the schema of a finished evaluation, its JSON and its digest.

Pages and plots render from this JSON alone. A major version breaks, a minor one adds; readers ignore unknown keys.

    1.0   the first
    1.1   `checks[].applies`: false where a check concerns another serving mode; absent means true
    1.2   cold runs (`audits`), what attackers made (`surrogates`), baselines and the attacks on them; `on`,
          `surrogate`, `epsilons`, `attempted` and `cold` of an attack; figures of random serving; equal-accuracy noise
          in the headline; `remedy` of a check; `gallery`. `raw` lists cold runs only, and its `n` may be less than
          all points
    1.3   `subject.datatype`: how inputs are sent; absent means FP32
"""

import json
from typing import Any, Self

from pydantic import Field, ValidationError

from attacks.canonical import canonical_json, content_digest, without
from attacks.curves import curves_of
from attacks.schema import (
    Artifact,
    AttackResult,
    AuditResult,
    BaselineResult,
    CheckResult,
    CleanResult,
    Curve,
    Data,
    Environment,
    GalleryItem,
    Headline,
    NotRun,
    Part,
    Status,
    Subject,
    SuiteInfo,
    SurrogateResult,
    ThreatModelResult,
    Transfer,
    since,
)
from ensemble.errors import ArtifactError

SCHEMA = "levelset/evaluation-report"
SCHEMA_VERSION = "1.3"
#: What no digest covers: times, and where and when the work was done.
VOLATILE = frozenset({"seconds", "run", "report_digest"})


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
    attacks_on_baselines: list[AttackResult] = since("1.2", [])
    audits: list[AuditResult] = since("1.2", [])
    surrogates: list[SurrogateResult] = since("1.2", [])
    baselines: list[BaselineResult] = since("1.2", [])
    gallery: list[GalleryItem] = since("1.2", [])
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
        digest = _document_digest(text)
        if report.report_digest not in ("", digest):
            raise ArtifactError(
                f"evaluation report: expected the digest {report.report_digest}, got {digest}; "
                "the document was changed after it was written: run the evaluation again"
            )
        return report

    @classmethod
    def json_schema(cls) -> str:
        """Return the JSON schema of the document, indented: the content of `attacks/report.schema.json`.

        Fields that a minor version added carry it as `since`; they are left out of a document while they have their
        default.
        """
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"{SCHEMA}/{SCHEMA_VERSION}",
            **cls.model_json_schema(by_alias=True),
        }
        return json.dumps(schema, indent=1, sort_keys=True) + "\n"

    @property
    def curves(self) -> list[Curve]:
        """Accuracy against epsilon: for each threat model every judge's worst case, each raw attack, and chance."""
        return curves_of(self.threat_models, self.clean, self.data)


def _document_digest(text: str | bytes) -> str:
    """Return the digest of a document as it stands: its own version's, keys that this one does not know included."""
    try:
        return content_digest(without(json.loads(text), VOLATILE))
    except ValueError:
        return "none (a number in it is NaN or infinite)"
