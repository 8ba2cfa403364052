"""What an ensemble is worth: published attacks, paired statistics, automatic checks, a report that says its limits."""

from attacks.data import DataDescription, LabelledData
from attacks.evaluate import evaluate
from attacks.report import EvaluationReport
from attacks.suites import SUITES, Suite, suite_named
from attacks.threat import ThreatModel, default_threat

__all__ = [
    # the question
    "DataDescription",
    "LabelledData",
    "ThreatModel",
    "default_threat",
    # the attacks
    "SUITES",
    "Suite",
    "suite_named",
    # the answer
    "EvaluationReport",
    "evaluate",
]
