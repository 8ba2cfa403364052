"""The page of a try says what happened to whom, and its form makes the body that the API takes.

Seen to fail when: a network that was wrong before counts as lost; members that hold are counted by the base's answer;
who is brought to the right answer `still` gives it; the upload does not win over the sample; the slider ends at the
usual radius.
"""

import pytest

from service.trying.orders import TryOrder
from service.web.try_page import order_of, try_result
from tests.service.web import samples


def test_the_sentence_says_who_falls() -> None:
    """The base falls, a member and the ensemble hold, in that order."""
    result = try_result(samples.answer(), samples.model())
    assert result.sentence == ("The base falls from 3 to 8; 1 of 2 members answer 3; the ensemble still answers 3.")
    assert [row.verdict for row in result.votes] == ["lost", "held", "held", "lost"]
    assert result.label == "3 (by the data set)"
    assert dict(result.facts)["Asked"] == "L∞ at most 8/255"


def test_who_was_wrong_before_is_not_lost() -> None:
    """An attack gets no credit for what was wrong from the start."""
    wrong = samples.answer(label={"value": 5, "source": "answer of the base"})
    result = try_result(wrong, samples.model(class_names=[f"c{k}" for k in range(10)]))
    assert {row.verdict for row in result.votes} == {"wrong before"}
    assert "answered 3 (c3) from the start" in result.sentence
    assert "; 0 of 2 members answer 5 (c5); " in result.sentence
    assert result.label == "5 (c5) (as the base answers)"
    turned = try_result(samples.answer(label={"value": 8, "source": "data set"}), samples.model())
    assert "The base answered 3 from the start" in turned.sentence


def test_the_form_makes_an_order() -> None:
    """What the browser posts is what the API takes."""
    fields = {"target": "digits", "dataset": "digits", "index": "3", "sha256": "", "surrogate": "ensemble"}
    fields |= {"attack": "fgsm", "norm": "linf", "epsilon": "0.2", "steps": "20", "seed": "1"}
    order = TryOrder.model_validate(order_of(fields))
    assert order.model_dump(mode="json")["image"] == {"dataset": "digits", "index": 3}
    assert (order.surrogate, order.epsilon, order.seed) == ("ensemble", 0.2, 1)
    uploaded = TryOrder.model_validate(order_of(fields | {"sha256": "a" * 64}))
    assert uploaded.model_dump(mode="json")["image"] == {"sha256": "a" * 64}


@pytest.mark.parametrize("changes", [{"attack": "apgd_ce", "norm": "l1"}, {"attack": "__init__"}, {"steps": "41"}])
def test_an_order_outside_the_offer_is_refused(changes: dict[str, str]) -> None:
    """Attacks are rows of a table, not names that are looked up; numbers have bounds."""
    fields = {"target": "digits", "dataset": "digits", "index": "0", "attack": "pgd"} | changes
    with pytest.raises(ValueError, match="validation error"):
        TryOrder.model_validate(order_of(fields))


def test_the_slider_reaches_twice_the_usual_radius() -> None:
    """The middle of the slider is the radius people report; colour images end at 16/255."""
    form = samples.try_form_of(models=[samples.model(name="street", input_shape=[3, 32, 32])])
    assert float(form.largest) == pytest.approx(16 / 255)
    assert float(form.notch) == pytest.approx(1 / 3 / 255)
    assert samples.try_form_of(values={"norm": "l2"}).largest == "3"
