"""From shard results to a report: pure, and independent of the order in which shards finished."""

from collections.abc import Mapping
from typing import Any

from attacks.assembly import assemble_report
from attacks.evaluation import Evaluation
from attacks.findings import gather
from attacks.report import EvaluationReport
from ensemble.errors import InputError


def merge_planned(
    evaluation: Evaluation, keys: list[str], results: Mapping[str, Mapping[str, Any]]
) -> EvaluationReport:
    """Return the report of complete results.

    Args:
        evaluation: the context the shards ran in.
        keys: the keys of the plan, in its order.
        results: shard key -> result; keys of other shards are ignored.

    Returns:
        The sealed report.

    Raises:
        InputError: a shard of the plan has no result, or a result lies under another shard's key.
    """
    missing = [key for key in keys if key not in results]
    if missing:
        raise InputError(
            f"merging an evaluation: expected a result for each of {len(keys)} shards, got none for {len(missing)} "
            f"(first: {missing[0][:12]}); run the missing shards first"
        )
    ordered = [results[key] for key in keys]
    for key, result in zip(keys, ordered, strict=True):
        if result.get("key") != key:
            raise InputError(
                f"merging an evaluation: expected the result of shard {key[:12]}, got one with the key "
                f"{str(result.get('key'))[:12]}; store each result under its own shard's key"
            )
    return assemble_report(gather(evaluation, ordered))
