"""The sentences of a report: templates that are filled, never edited."""

from attacks.schema import Proportion, Status

LIMITS = (
    "Accuracy under the attacks listed is an upper bound: a better attack can only lower it. It says "
    "nothing about attacks that were not run (see not_run), other norms, larger radii, or inputs from elsewhere."
)
WITHHELD = "WITHHELD (a check failed)"


def percent(value: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * value:.1f} %"


def interval(of: Proportion) -> str:
    """Return a proportion as "X % [l, h]", or its counts where it is too small to state."""
    if of.value is None or of.low is None or of.high is None:
        return f"{of.k} of {of.n} (too few to state a rate)"
    return f"{percent(of.value)} [{100 * of.low:.1f}, {100 * of.high:.1f}]"


def radius_text(norm: str, epsilon: float, bounds: tuple[float, float]) -> str:
    """Return a radius in input units; in Linf, where one value is meant, also in 255ths of the box."""
    if norm != "linf":
        return f"{epsilon:.6g}"
    return f"{epsilon:.6g} ({255 * epsilon / (bounds[1] - bounds[0]):.3g}/255)"


def headline_sentence(
    status: Status,
    *,
    model: str,
    norm: str,
    radius: str,
    target: str,
    attacks: int,
    robust: tuple[Proportion, Proportion],
    noise: Proportion | None,
    expected: float | None,
    clean: tuple[Proportion, Proportion],
    chance: float,
    outcome: str,
) -> str:
    """Return the headline.

    Args:
        status: printed first, inside the sentence.
        model: the kind of attacker.
        norm: of the ball.
        radius: epsilon, printed.
        target: "ensemble" or "network".
        attacks: how many attacks the worst case is over.
        robust: accuracy of (target, base) under attack.
        noise: accuracy of weight noise of equal clean accuracy, None where it was not run.
        expected: expected accuracy of one request where a random member answers, else None.
        clean: clean accuracy of (target, base).
        chance: the best constant answer.
        outcome: of the comparison.

    Returns:
        The filled template.
    """
    drawn = "" if expected is None else f" with every member right, {percent(expected)} of requests in expectation,"
    noisy = "was not run" if noise is None else f"keeps {interval(noise)}"
    return (
        f"[{status.label}] On n = {robust[0].n} images, {norm} <= {radius}, the served {target} keeps "
        f"{interval(robust[0])}{drawn} under {model} ({attacks} attacks); the base network keeps "
        f"{interval(robust[1])}, equal-accuracy weight noise {noisy}, chance {percent(chance)}. "
        f"Clean accuracy {interval(clean[0])} against {interval(clean[1])}. Outcome: {outcome}. {LIMITS}"
    )
