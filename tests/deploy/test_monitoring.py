"""Dashboard and alert rules ask for metrics and labels that the service has."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.observability.instruments import Instruments
from service.observability.metrics import Histogram

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "levelset.rules.yml").read_text())["groups"][0][
    "rules"
]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "levelset.json").read_text())
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]
_SELECTOR = re.compile(r"\b(levelset_[a-z_]+)(?:{([^}]*)})?")
_BY = re.compile(r"by \(([^)]*)\)")


def known() -> dict[str, set[str]]:
    """Return every sample name that the service may expose, with its labels."""
    found: dict[str, set[str]] = {}
    for family in Instruments().families():
        labels = set(family._labels)  # type: ignore[attr-defined]
        if isinstance(family, Histogram):
            found |= {
                family.name + "_bucket": labels | {"le"},
                family.name + "_sum": labels,
                family.name + "_count": labels,
            }
        else:
            found[family.name] = labels
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_ask_for_what_there_is(expression: str) -> None:
    """Every metric and label of every expression exists, and brackets are in pairs."""
    metrics = known()
    used = _SELECTOR.findall(expression)
    assert used or expression.startswith("up{")
    groups = {name.strip() for group in _BY.findall(expression) for name in group.split(",")}
    for name, matchers in used:
        assert name in metrics
        asked = {matcher.partition("=")[0].strip("!~ ") for matcher in matchers.split(",") if matcher}
        assert asked <= metrics[name], expression
        assert groups <= metrics[name], expression
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing)
    if "histogram_quantile" in expression:
        assert all(name.endswith("_bucket") for name, _ in used)
        assert "le" in groups


def test_every_metric_is_on_the_dashboard() -> None:
    """What the service counts can be seen somewhere."""
    shown = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    assert [family.name for family in Instruments().families() if family.name not in shown] == []


def test_every_alert_says_what_to_do() -> None:
    """Each rule has its own name, a severity, and says what happened and what to look at."""
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) >= 8
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "action"} <= set(rule["annotations"])


def test_panels_do_not_lie_on_each_other() -> None:
    """Ids are unique and the grid's cells are used once."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, two in combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= two["x"] or two["x"] + two["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= two["y"] or two["y"] + two["h"] <= one["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_the_scrape_shows_a_key() -> None:
    """The example reads the rules beside it and sends a key from a file."""
    example = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert (DEPLOY / "prometheus" / example["rule_files"][0]).is_file()
    (scrape,) = example["scrape_configs"]
    assert "credentials_file" in scrape["authorization"]
