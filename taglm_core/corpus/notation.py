"""Notation of a tag: its prefix, its type, and the sign for O.

| notation | an entity of two words              | source                                  |
|----------|-------------------------------------|-----------------------------------------|
| prefix   | B-PER I-PER, b-PER, B_PER, M-PER    | the usual one; M and W as in BMES, BMEWO |
| suffix   | PER-B PER-I                         |                                         |
| bare     | B I                                 | data of one type, such as word segments |
| plain    | PER PER                             | types alone; adjacent entities merge    |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache


class Notation(StrEnum):
    """Positions of prefix and type in a tag."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    BARE = "bare"
    PLAIN = "plain"

    @classmethod
    def with_prefix(cls) -> tuple[Notation, ...]:
        """Return the notations that have prefixes; the usual one first."""
        return (cls.PREFIX, cls.SUFFIX, cls.BARE)


STANDARD = re.compile(r"O|[BIESLU]-.+", re.DOTALL)
"""Tags that need no conversion."""

EXPECTED = {
    Notation.PREFIX: "O, or one of B- I- E- S- (L- U- M- W-) followed by a type",
    Notation.SUFFIX: "O, or a type followed by one of -B -I -E -S (-L -U -M -W)",
    Notation.BARE: "O, or one of B I E S (L U M W) without a type",
    Notation.PLAIN: "O, or a type without a prefix",
}
"""The tags of each notation, as a phrase that fits after "expected"."""

BARE_TYPE = "ENTITY"
"""Type of entities whose tags have none."""

_SYMBOLS = frozenset(("O", "o", "0", "_", "-"))
_OUTSIDE = _SYMBOLS | {"OTHER", "Other", "other", "OUT", "Out", "out", "NONE", "None", "none", "NULL", "null"}
_PREFIX = re.compile(r"(?P<prefix>[BIESLUMW])(?P<joint>[-_:/|.=\u2010-\u2015])(?P<kind>.+)", re.DOTALL | re.IGNORECASE)
_SUFFIX = re.compile(r"(?P<kind>.+)(?P<joint>[-_:/|.=\u2010-\u2015])(?P<prefix>[BIESLUMW])", re.DOTALL | re.IGNORECASE)
_BARE = re.compile(r"(?P<prefix>[BIESLUMW])-?", re.IGNORECASE)
_PATTERNS = {Notation.PREFIX: _PREFIX, Notation.SUFFIX: _SUFFIX, Notation.BARE: _BARE}
_BRACKETS = re.compile(r"(\([^()*\s]+)*\*\)*")
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


def is_word_for_outside(tag: str) -> bool:
    """Return whether a tag stands for O, but could be a type as well."""
    return tag in _OUTSIDE - _SYMBOLS


def is_bracket(tag: str) -> bool:
    """Return whether a tag belongs to the bracket style of CoNLL-2005 and OntoNotes: `(PER*`, `*`, `*)`."""
    return _BRACKETS.fullmatch(tag) is not None


def joined_prefixes(tags: Sequence[str]) -> list[str]:
    """Return the tags with a prefix and no joint, such as BORG and IORG; none unless most tags are so."""
    kinds = {tag: tag[1:] for tag in tags if len(tag) > 1 and tag[0] in "BIESLUMW"}
    begun = {kind for tag, kind in kinds.items() if tag[0] == "B"} & {
        kind for tag, kind in kinds.items() if tag[0] != "B"
    }
    found = [tag for tag, kind in kinds.items() if kind in begun]
    return found if 2 * len(found) > len(tags) else []


def choose_notation(tags: Mapping[str, int]) -> Notation:
    """Return the notation that fits most of the entity tags; PLAIN if none fits half of them.

    Args:
        tags: how often each tag occurs.
    """
    entity_tags = {tag: count for tag, count in tags.items() if tag.strip() and tag not in _OUTSIDE}
    fits = {
        notation: sum(count for tag, count in entity_tags.items() if canonical(tag, notation) is not None)
        for notation in Notation.with_prefix()
    }
    best = max(fits, key=lambda notation: fits[notation])  # the first of equals: PREFIX
    return best if 2 * fits[best] >= sum(entity_tags.values()) else Notation.PLAIN


def style_of(tag: str, notation: Notation) -> str:
    """Describe how a tag that the notation has differs from the standard, as a phrase that fits after "it has"."""
    if canonical(tag, notation) == "O":
        return "another word for O"
    if notation is Notation.SUFFIX:
        return "the type before the prefix"
    if notation is Notation.BARE:
        return "a prefix and no type"
    if notation is Notation.PLAIN:
        return "a type and no prefix"
    parts = _PREFIX.fullmatch(tag)
    assert parts is not None
    if parts["prefix"].upper() in _STANDARD_NAMES:
        return "a prefix of BMES or BMEWO"
    if parts["prefix"].islower():
        return "a lower-case prefix"
    return f"{parts['joint']!r} after the prefix" if parts["joint"] != "-" else "the prefix before the type"
