"""Names chosen by users, made drawable: no formulas, no boxes, no endless lines."""

from __future__ import annotations

import functools
import textwrap

from matplotlib import font_manager, ft2font, rcParams
from matplotlib.figure import Figure
from matplotlib.text import Text

LONGEST = 30
"""Characters of a name in a figure; what is longer is cut."""

_BOXES = "Last Resort"  # matplotlib's own font of boxes
_REGULAR = {"style": "normal", "variant": "normal", "stretch": "normal", "weight": 400}


def drawable(name: str) -> str:
    """Return a name for a figure: cut, `$` literal, and `U+4EBA` for characters that no installed font has."""
    text = " ".join("".join(c if _is_drawable(c) else f" U+{ord(c):04X} " for c in name).split())
    if len(text) > LONGEST:
        whole_words = textwrap.shorten(text, LONGEST, placeholder="…")
        text = whole_words if len(whole_words) > 1 else f"{text[: LONGEST - 1]}…"
    return text.replace("$", r"\$")


def with_fonts(figure: Figure) -> Figure:
    """Set the text of a figure in the usual font, with installed fonts for the characters it lacks."""
    texts = figure.findobj(Text)
    missing = {ord(character) for text in texts for character in text.get_text()} - _usual_characters()
    families = dict.fromkeys(family for code in sorted(missing) if (family := _family_of(code)) is not None)
    if families:
        for text in texts:
            text.set_fontfamily([*rcParams["font.family"], *families])
    return figure


def _is_drawable(character: str) -> bool:
    return ord(character) in _usual_characters() or _family_of(ord(character)) is not None


@functools.cache
def _usual_characters() -> frozenset[int]:
    """Return the characters of the usual font, and line breaks."""
    return _characters(font_manager.findfont(font_manager.FontProperties())) | {ord("\n")}


@functools.cache
def _family_of(code: int) -> str | None:
    """Return an installed font family that has a character."""
    return next((family for family, characters in _installed().items() if code in characters), None)


@functools.cache
def _installed() -> dict[str, frozenset[int]]:
    """Return the characters of each installed family of upright text. Call only for characters the usual font lacks."""
    return {
        font.name: _characters(font.fname)
        for font in sorted(font_manager.fontManager.ttflist, key=lambda font: font.name)
        if not font.name.startswith((_BOXES, "cm", "STIX"))  # the others are matplotlib's for formulas
        and all(getattr(font, key) == value for key, value in _REGULAR.items())
    }


def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a font of bitmaps, say
        return frozenset()
