"""The schema of reports: committed, and compatible with what older versions wrote.

Seen to fail with: a field without a default added; a default of a later field written out; the reader refusing unknown
keys, which the committed file shows, too.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import attacks
from attacks import EvaluationReport
from attacks.canonical import content_digest, without
from attacks.report import SCHEMA_VERSION, VOLATILE
from attacks.schema import CheckResult

FILES = Path(__file__).parent / "reports"
#: One document per version: 1.1, and the one of 1.2 that the pages are tested with.
OLD = [*sorted(FILES.glob("*.json")), Path(__file__).parents[1] / "service" / "web" / "report-1.2.json"]
COMMITTED = Path(attacks.__file__).parent / "report.schema.json"


def test_the_committed_schema_is_the_generated_one() -> None:
    """Whoever changes a field writes the file again: COMMITTED.write_text(EvaluationReport.json_schema())."""
    assert COMMITTED.read_text(encoding="utf-8") == EvaluationReport.json_schema()
    assert SCHEMA_VERSION in json.loads(COMMITTED.read_text(encoding="utf-8"))["$id"]


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_report_of_an_older_version_is_read_as_it_was(path: Path) -> None:
    """Its digest is verified, it is written back byte for byte, and every page's numbers are there."""
    text = path.read_text(encoding="utf-8")
    report = EvaluationReport.from_json(text)
    assert report.schema_version < SCHEMA_VERSION
    assert report.digest == report.report_digest
    assert json.loads(report.to_json()) == json.loads(text)
    assert report.curves
    assert report.subject.datatype == "FP32"
    if report.schema_version == "1.1":
        assert report.audits == report.surrogates == report.baselines == []
        assert all(attack.cold for attack in report.attacks)


def _errors(document: Any) -> list[str]:
    schema = json.loads(COMMITTED.read_text(encoding="utf-8"))
    return [error.message for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_the_committed_schema_accepts_what_was_written(path: Path) -> None:
    """Documents of older versions keep to it, by a validator that knows nothing of our classes."""
    assert _errors(json.loads(path.read_text(encoding="utf-8"))) == []


def test_the_committed_schema_accepts_a_fresh_report_and_little_else(report: EvaluationReport) -> None:
    """A report of today keeps to it; one with a status missing or a count that is text does not."""
    document = json.loads(report.to_json())
    assert _errors(document) == []
    assert _errors({name: value for name, value in document.items() if name != "status"})
    assert _errors(document | {"data": document["data"] | {"n": "many"}})


def test_one_document_of_every_older_minor_version_is_read() -> None:
    """A version whose documents nobody tries is a promise nobody keeps; 1.0 is tried with the pages."""
    versions = {json.loads(path.read_text(encoding="utf-8"))["schema_version"] for path in OLD}
    assert versions == {f"1.{minor}" for minor in range(1, int(SCHEMA_VERSION.split(".")[1]))}


def _properties(node: Any) -> list[dict[str, Any]]:
    """Every property of an object in a JSON schema."""
    if isinstance(node, list):
        return [found for item in node for found in _properties(item)]
    if not isinstance(node, dict):
        return []
    return [*node.get("properties", {}).values(), *(found for item in node.values() for found in _properties(item))]


def test_fields_that_were_added_say_since_when() -> None:
    """An added field is not required and carries its version; no version is later than the schema's own."""
    found = {item["since"] for item in _properties(json.loads(EvaluationReport.json_schema())) if "since" in item}
    assert found == {"1.1", "1.2", "1.3"}


def test_an_added_field_is_left_out_while_it_says_nothing() -> None:
    """The default of a later field is its absence; another value is written."""
    check = CheckResult(id="A1", status="PASS", rule="", numbers={}, reason="")
    assert "applies" not in check.model_dump()
    assert "remedy" not in check.model_dump()
    assert check.model_copy(update={"remedy": "run again"}).model_dump()["remedy"] == "run again"


def test_a_later_minor_version_is_read(report: EvaluationReport) -> None:
    """Unknown keys anywhere are ignored, and the digest is the later version's own."""
    document = json.loads(report.to_json()) | {"schema_version": "1.9"}
    document["headline"]["new"] = 1
    document["attacks"][0]["new"] = {"deep": [1]}
    document["report_digest"] = content_digest(without(document, VOLATILE))
    assert EvaluationReport.from_json(json.dumps(document)).headline.sentence == report.headline.sentence
