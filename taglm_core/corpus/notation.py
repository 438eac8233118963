"""How one tag is written: which part is the prefix, which the type, and what stands for O.

| notation | an entity of two words              | source                                  |
|----------|-------------------------------------|-----------------------------------------|
| prefix   | B-PER I-PER, b-PER, B_PER, M-PER    | the usual one; M and W as in BMES, BMEWO |
| suffix   | PER-B PER-I                         |                                         |
| bare     | B I                                 | data of one type, such as word segments |
| plain    | PER PER                             | types alone; adjacent entities merge    |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache


class Notation(StrEnum):
    """Where a tag has its prefix and its type."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    BARE = "bare"
    PLAIN = "plain"


STANDARD = re.compile(r"O|[BIESLU]-.+", re.DOTALL)
"""Tags that need no conversion."""

BARE_TYPE = "ENTITY"
"""Type of entities whose tags have none."""

_SYMBOLS = frozenset(("O", "o", "0", "_", "-"))
_OUTSIDE = _SYMBOLS | {"OTHER", "Other", "other", "OUT", "Out", "out", "NONE", "None", "none", "NULL", "null"}
_PREFIX = re.compile(r"(?P<prefix>[BIESLUMW])(?P<joint>[-_:/|])(?P<kind>.+)", re.DOTALL | re.IGNORECASE)
_SUFFIX = re.compile(r"(?P<kind>.+)(?P<joint>[-_:/|])(?P<prefix>[BIESLUMW])", re.DOTALL | re.IGNORECASE)
_BARE = re.compile(r"(?P<prefix>[BIESLUMW])-?", re.IGNORECASE)
_PATTERNS = {Notation.PREFIX: _PREFIX, Notation.SUFFIX: _SUFFIX, Notation.BARE: _BARE}
_BRACKETS = re.compile(r"\*|\([^()*\s]+\*?\)?|\*\)+")
_STANDARD_NAMES = {"M": "I", "W": "S"}


@lru_cache(maxsize=10_000)
def canonical(tag: str, notation: Notation) -> str | None:
    """Return the tag as `O` or as B, I, E, S, L or U with a hyphen and a type; None if the notation has no such tag."""
    if notation is Notation.PLAIN:
        if tag in _SYMBOLS:
            return "O"
        return f"I-{tag}" if tag and not STANDARD.fullmatch(tag) else None
    if notation is Notation.PREFIX and STANDARD.fullmatch(tag):
        return tag
    if tag in _OUTSIDE:
        return "O"
    parts = _PATTERNS[notation].fullmatch(tag)
    if parts is None:
        return None
    prefix = parts["prefix"].upper()
    return f"{_STANDARD_NAMES.get(prefix, prefix)}-{parts.groupdict().get('kind', BARE_TYPE)}"


def is_outside(tag: str) -> bool:
    """Return whether a tag stands for O."""
    return tag in _OUTSIDE


def is_bracket(tag: str) -> bool:
    """Return whether a tag belongs to the bracket style of CoNLL-2005 and OntoNotes: `(PER*`, `*`, `*)`."""
    return _BRACKETS.fullmatch(tag) is not None


def choose_notation(tags: Mapping[str, int]) -> Notation:
    """Return the notation that fits most of the entity tags; PLAIN if none fits half of them.

    Args:
        tags: how often each tag occurs.
    """
    entity_tags = {tag: count for tag, count in tags.items() if tag not in _OUTSIDE}
    fits = {
        notation: sum(count for tag, count in entity_tags.items() if canonical(tag, notation) is not None)
        for notation in _PATTERNS
    }
    best = max(fits, key=lambda notation: fits[notation])  # the first of equals: PREFIX
    return best if 2 * fits[best] >= sum(entity_tags.values()) else Notation.PLAIN


def style_of(tag: str, notation: Notation) -> str:
    """Describe how a tag differs from the standard, as a phrase that fits after "the tags have"."""
    if canonical(tag, notation) == "O":
        return "another word for O"
    if notation is Notation.SUFFIX:
        return "the type before the prefix"
    if notation is Notation.BARE:
        return "prefixes and no types"
    if notation is Notation.PLAIN:
        return "types and no prefixes"
    parts = _PREFIX.fullmatch(tag)
    assert parts is not None
    if parts["prefix"].upper() in _STANDARD_NAMES:
        return "the prefixes of BMES or BMEWO"
    return "lower-case prefixes" if parts["prefix"].islower() else f"{parts['joint']!r} after the prefix"
