"""Numbers and names as a reader sees them: one way to write each, in HTML and in Markdown alike."""

from collections.abc import Mapping
from typing import Final

NARROW: Final = "\u202f"  # a narrow space that does not break, between a number and its unit
DASH: Final = "\N{EN DASH}"
MINUS: Final = "\N{MINUS SIGN}"

THREATS: Final = {
    "stolen_base": "Stolen base network",
    "fresh_members": "Fresh members of the attacker",
    "lgv_surrogate": "Weight-space surrogate (LGV)",
    "retrained_surrogate": "Retrained surrogate",
    "member_to_member": "One leaked member",
    "white_box": "White box",
    "score_query": "Score queries",
    "decision_query": "Label queries",
    "noise": "Uniform noise (no attacker)",
}
TARGETS: Final = {
    "ensemble": "served ensemble",
    "network": "served network",
    "base": "base network",
    "weight_noise_equal_norm": "weight noise, equal norm",
    "weight_noise_equal_accuracy": "weight noise, equal accuracy",
    "independent_ensemble": "independent ensemble",
    "scrambled_control": "scrambled control",
    "chance": "chance",
}
SHORT: Final = {
    "ensemble": "ensemble",
    "network": "network",
    "base": "base",
    "weight_noise_equal_norm": "noise, norm",
    "weight_noise_equal_accuracy": "noise, acc.",
    "independent_ensemble": "independent",
    "scrambled_control": "scrambled",
}
NORMS: Final = {"linf": "L\N{INFINITY}", "l2": "L2", "l1": "L1", "l0": "L0"}


def threat_title(name: str) -> str:
    """Return the heading of a threat model; an unknown name is shown as it came, underscores as spaces."""
    return THREATS.get(name, name.replace("_", " "))


def target_label(name: str) -> str:
    """Return the words for an evaluated network, for instance `member 3` for `member-3`."""
    return TARGETS.get(name, name.replace("_", " ").replace("member-", "member "))


def target_short(name: str) -> str:
    """Return the same in a few letters, for the edge of a heat map: `m3`."""
    return SHORT.get(name, name.replace("_", " ").replace("member-", "m"))


def norm_label(name: str) -> str:
    """Return the usual sign of a norm, for instance `L∞` for `linf`."""
    return NORMS.get(name.lower(), name)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in [0, 1] as a percentage; None, a rate without enough cases, becomes a dash."""
    return DASH if value is None else f"{100 * value:.{digits}f}{NARROW}%"


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Return the interval of a share as `[41.2, 55.8] %`; a dash when there is none."""
    if low is None or high is None:
        return DASH
    return f"[{100 * low:.{digits}f}, {100 * high:.{digits}f}]{NARROW}%"


def points(value: float | None, digits: int = 1) -> str:
    """Return a difference of shares in percentage points with its sign, for instance `+3.5`."""
    if value is None:
        return DASH
    text = f"{100 * abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def epsilon(value: float) -> str:
    """Return a radius in input units: a short decimal as it is, otherwise as k/255 where it is one.

    Examples:
        >>> epsilon(0.2), epsilon(8 / 255), epsilon(0)
        ('0.2', '8/255', '0')
    """
    steps = value * 255
    whole = round(steps)
    if whole > 0 and abs(steps - whole) < 1e-3 and abs(float(f"{value:.2g}") - value) > 1e-9:
        return f"{whole}/255"
    return f"{value:.6g}"


def epsilon_both(value: float) -> str:
    """Return a radius in input units with its size in steps of 1/255 beside it: `0.3 (76.5/255)`."""
    short = epsilon(value)
    if short.endswith("/255"):
        return f"{short} ({value:.4g})"
    return f"{short} ({255 * value:.4g}/255)"


def number(value: float | int | None) -> str:
    """Return a count or a measurement: thousands apart, four significant digits for fractions."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}".replace(",", NARROW).replace("-", MINUS)
    return f"{value:.4g}".replace("-", MINUS)


def seconds(value: float | None) -> str:
    """Return a duration: `0.42 s`, `42 s`, `4 min 05 s`, `2 h 03 min`."""
    if value is None:
        return DASH
    if value < 1:
        return f"{value:.2g}{NARROW}s"
    if value < 60:
        return f"{value:.3g}{NARROW}s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60:02d}{NARROW}s"
    return f"{whole // 3600}{NARROW}h {whole % 3600 // 60:02d}{NARROW}min"


def p_value(value: float | None) -> str:
    """Return a p-value: three digits, `< 0.001` below them."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def short_digest(value: str | None) -> str:
    """Return the first twelve digits of a digest; a dash when there is none."""
    if not value:
        return DASH
    return value.removeprefix("sha256:")[:12]


def short_id(value: str) -> str:
    """Return an id cut after its first eight random letters, `job-d07eb017…`; a short one as it is."""
    kind, dash, rest = value.rpartition("-")
    return value if len(rest) <= 12 else f"{kind}{dash}{rest[:8]}\N{HORIZONTAL ELLIPSIS}"


def flat(value: object) -> str:
    """Return a JSON value in one line: names with values, numbers in four digits, lists with commas."""
    if isinstance(value, Mapping):
        return "; ".join(f"{str(name).replace('_', ' ')} {_inner(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_inner(item) for item in value) or "none"
    if value is None:
        return DASH
    return number(value) if isinstance(value, int | float) else str(value)


def _inner(value: object) -> str:
    return f"({flat(value)})" if isinstance(value, Mapping) and value else flat(value)
