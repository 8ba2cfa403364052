"""The form of a new evaluation makes the body that the API takes, and proposes what is usual.

Seen to fail when: a fraction is read as its numerator; an empty field is sent; the radii of three channels are proposed
for one; a problem inside a list is not shown at its field.
"""

import pytest

from service.jobs.specs import EvaluateJob
from service.web.forms import evaluate_form, radii, specification
from tests.service.web import samples


def test_the_fields_make_a_job() -> None:
    """Every field lands at its place in the specification, which the API's own schema takes."""
    fields = {
        "target": "digits",
        "data.name": "digits",
        "data.split": "test",
        "data.n": "64",
        "threat.norm": "l2",
        "threat.epsilons": "1, 3/2",
        "suite.name": "quick",
        "mode": "vote",
        "seed": "7",
        "priority": "2",
        "max_seconds": "",
        "unknown": "x",
    }
    job = EvaluateJob.model_validate(specification(fields))
    assert (job.target, job.data.n, job.threat.norm, job.threat.epsilons) == ("digits", 64, "l2", [1.0, 1.5])
    assert (job.mode, job.seed, job.priority, job.max_seconds) == ("vote", 7, 2, None)


def test_an_empty_number_of_images_means_all() -> None:
    """A field without text is left out, so that the schema's own default holds."""
    assert "n" not in specification({"target": "digits", "data.name": "digits", "data.n": " "})["data"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1, 0.2 0.3", [0.1, 0.2, 0.3]),
        ("8/255", [8 / 255]),
        ("8/0", ["8/0"]),
        ("1/2/3", ["1/2/3"]),
        ("much", ["much"]),
        (" , ", []),
    ],
)
def test_radii_are_decimals_or_fractions(text: str, expected: list[float | str]) -> None:
    """What is no number stays as it was typed: the schema refuses it and repeats it."""
    assert radii(text) == expected


def test_the_target_decides_what_is_proposed() -> None:
    """Data set and radii are those of the ensemble that the page was asked for."""
    colour = samples.model(name="street", dataset="cifar10", input_shape=[3, 32, 32])
    models = [samples.model(), colour]
    first = evaluate_form(models, samples.OFFERS, values={})
    second = evaluate_form(models, samples.OFFERS, values={"target": "street"})
    assert (first.value("data.name"), first.value("threat.epsilons")) == ("digits", "0.1, 0.2")
    assert (second.value("data.name"), second.value("threat.epsilons")) == ("cifar10", "2/255, 8/255")


def test_what_was_typed_is_kept() -> None:
    """After a refusal the form holds what the reader wrote, not what is usual."""
    assert samples.form(values={"data.n": "many"}).value("data.n") == "many"


@pytest.mark.parametrize("path", ["threat.epsilons", "threat.epsilons.0"])
def test_problems_stand_at_their_fields(path: str) -> None:
    """A problem of one entry of a list is shown at the list; one of no field at the top."""
    form = samples.form({path: "expected a number", "nobody.knows": "what"})
    assert "expected a number" in form.problem("threat.epsilons")
    assert form.problem("") == "nobody.knows: what"
    assert form.problem("seed") == ""
