"""The page of an ensemble says what its record says: agreement, worst site, places in the valley, cost.

Seen to fail when: the best site is shown for the worst; a strip is drawn although coordinates are missing; the base's
place is left out of the range; the cost of the ensemble is divided by the base without the members.
"""

import pytest

from service.web import model_page
from service.web.model_page import cost_share, model_view
from service.web.pages import render_model
from tests.service.web import samples
from tests.service.web.markup import Page

COSTS = {"rows": 64, "base": 0.001, "member": 0.0012, "ensemble": 0.006}


def test_each_member_shows_its_worst_site() -> None:
    """Agreement comes from the record, the residual from the site with the largest one."""
    view = model_view(samples.model(members=2, generation=samples.generation(2)))
    assert [member.agreement for member in view.members] == pytest.approx([0.98, 0.97])
    assert (view.members[1].residual, view.members[1].worst_site) == ("0.11", "conv1 -> conv2")
    assert view.members[1].condition == "21"


def test_strips_hold_the_base_and_every_member() -> None:
    """Places lie in order of the coordinates; a site without coordinates has no strip."""
    (strip,) = model_view(samples.model(members=3, generation=samples.generation(3))).strips
    assert strip.site == "conv1 -> conv2"
    assert (strip.low, strip.base, strip.high) == ("−2", "10", "10")
    assert strip.base_at == model_page.RIGHT
    width = model_page.RIGHT - model_page.LEFT
    assert strip.marks == pytest.approx([model_page.LEFT + width * part for part in (10 / 12, 5 / 12, 0)])


def test_a_record_of_an_earlier_version_has_a_page() -> None:
    """Without generation record and costs the page says what is missing."""
    text = Page.of(render_model(samples.model())).text
    assert "no coordinates" in text
    assert "Nothing is measured" in text


def test_costs_are_multiples_of_the_base() -> None:
    """Six milliseconds for eight members are three quarters of eight base networks."""
    assert cost_share(COSTS, 8) == pytest.approx(0.75)
    assert cost_share({}, 8) is None
    view = model_view(samples.model(), costs=COSTS)
    assert [row.ratio for row in view.costs] == ["1.00", "1.20", "6.00", "0.75"]
    assert "0.75 times" in view.cost_note


def test_many_members_are_not_all_listed() -> None:
    """Beyond a bound members are counted, not listed."""
    view = model_view(samples.model(members=70, generation=samples.generation(70)))
    assert (len(view.members), view.hidden) == (64, 6)
