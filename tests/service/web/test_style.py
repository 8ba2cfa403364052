"""Text can be read on its ground in light, in dark and in print.

Mutations seen to fail: `--soft` lightened to #8a94a0; the dark accent kept from light; a token missing in dark.
"""

import re

import pytest

from service.web.rendering import report_style, static_folder

TEXT_ON = [
    (text, ground)
    for text, grounds in {
        "ink": ("paper", "card", "quiet-back"),
        "soft": ("paper", "card", "quiet-back"),
        "accent": ("paper", "card", "quiet-back"),
        "bad": ("bad-back", "card"),
        "warn": ("warn-back", "card"),
        "good": ("good-back", "card"),
    }.items()
    for ground in grounds
]


def palettes() -> dict[str, dict[str, str]]:
    """Return the colours of the light, dark and print themes; dark and print override light."""
    tokens = (static_folder() / "tokens.css").read_text(encoding="utf-8")
    light, _, dark = tokens.partition("@media (prefers-color-scheme: dark)")
    printed = report_style().partition("@media print")[2].partition("}")[0]
    base = colours(light)
    return {"light": base, "dark": base | colours(dark), "print": base | colours(printed)}


def colours(text: str) -> dict[str, str]:
    """Return every colour token of a style."""
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text))


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2 of a colour `#rrggbb`."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_formula_has_its_known_ends() -> None:
    """Black on white is 21, a colour on itself 1, and the textbook grey #767676 on white 4.54."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#123456", "#123456") == pytest.approx(1)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_text_has_enough_contrast(theme: str, text: str, ground: str) -> None:
    """Every pair of text and ground that the pages use reaches 4.5, the AA level for small text."""
    palette = palettes()[theme]
    assert contrast(palette[text], palette[ground]) >= 4.5, (palette[text], palette[ground])


def test_every_theme_sets_every_colour() -> None:
    """The dark theme overrides each colour of the light one: none shines through by accident."""
    tokens = (static_folder() / "tokens.css").read_text(encoding="utf-8")
    light, _, dark = tokens.partition("@media (prefers-color-scheme: dark)")
    assert set(colours(dark)) == set(colours(light))


def test_styles_use_known_colours_only() -> None:
    """Every variable that a style sheet asks for is a token."""
    known = set(re.findall(r"--([a-z-]+):", (static_folder() / "tokens.css").read_text(encoding="utf-8")))
    for style in (report_style(), (static_folder() / "pages.css").read_text(encoding="utf-8")):
        assert set(re.findall(r"var\(--([a-z-]+)\)", style)) <= known
