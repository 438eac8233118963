"""Classes of unknown words by capitals, digits and suffix.

A word model that knows only "unknown" cannot tell a name from a number; most entity words are unknown to it.
"""

from __future__ import annotations

import re

_CAPITAL_SUFFIXES = ("ian", "ese", "ish", "son", "ton", "land", "s")
_LOWER_SUFFIXES = ("ing", "ed", "ly", "ion", "ment", "ity", "er", "ist", "al", "ic", "s")

SHAPES: tuple[str, ...] = (
    "digits",
    "number",  # digits with . , : / - % and the like
    "digits-and-letters",
    "punctuation",
    "initial",  # one capital, or capitals with dots (U.N.)
    "all-capitals",
    "capitals-hyphenated",
    "capitalised-hyphenated",
    "lower-hyphenated",
    "mixed-case",
    *(f"capitalised-{suffix}" for suffix in _CAPITAL_SUFFIXES),
    "capitalised",
    *(f"lower-{suffix}" for suffix in _LOWER_SUFFIXES),
    "lower",
    "other-letters",  # of scripts without case
)
"""Names of the classes; `shape_class` gives the position."""

_POSITION = {name: position for position, name in enumerate(SHAPES)}
_INITIAL = re.compile(r"[^\W\d_]|(?:[^\W\d_]\.)+")


def shape_class(word: str) -> int:
    """Return the class of a word, a position in `SHAPES`."""
    return _POSITION[_shape(word)]


def _shape(word: str) -> str:
    if word.isdigit():
        return "digits"
    has_letter = any(map(str.isalpha, word))
    if any(map(str.isdigit, word)):
        return "digits-and-letters" if has_letter else "number"
    if not has_letter:
        return "punctuation"
    if word.isupper():
        if _INITIAL.fullmatch(word):
            return "initial"
        return "capitals-hyphenated" if "-" in word else "all-capitals"
    if word.islower():
        return "lower-hyphenated" if "-" in word else _with_suffix("lower", word, _LOWER_SUFFIXES)
    if word.lower() == word.upper():
        return "other-letters"
    if not word[0].isupper():
        return "mixed-case"
    if "-" in word:
        return "capitalised-hyphenated"
    if word[1:].islower():
        return _with_suffix("capitalised", word, _CAPITAL_SUFFIXES)
    return "mixed-case"


def _with_suffix(kind: str, word: str, suffixes: tuple[str, ...]) -> str:
    for suffix in suffixes:
        if word.endswith(suffix) and len(word) >= len(suffix) + 2:  # a word, not the suffix alone
            return f"{kind}-{suffix}"
    return kind
