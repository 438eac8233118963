"""Tag schemes: their rules, and conversion to BIOES and to spans.

| tag sequence            | IOB1 | IOB2 | BIOES | BIOS | IOE  | IO          |
|-------------------------|------|------|-------|------|------|-------------|
| one entity of two words | I I  | B I  | B E   | B I  | I E  | I I         |
| one of one word         | I    | B    | S     | S    | E    | I           |
| two touching, same type | I B  | B B  | S S   | S S  | E E  | (one of two) |

BILOU is BIOES by other names (L is E, U is S). A type may contain hyphens: only the first one separates. All schemes
are read by conlleval's rules, so a sequence that breaks its scheme has entities, too: it is read, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Span(NamedTuple):
    """An entity: its type, and its tokens from `start` up to, not including, `end`."""

    type: str
    start: int
    end: int


class Scheme(StrEnum):
    """How tags mark where an entity begins and ends."""

    IOB1 = "iob1"
    IOB2 = "iob2"
    BIOES = "bioes"
    BIOS = "bios"
    IOE = "ioe"
    IO = "io"


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules of a scheme.

    Attributes:
        prefixes: prefixes that it writes.
        begins_with_b: whether I and E stand only after B or I of their type.
        must_go_on: prefixes that only I or E of the same type may follow.
    """

    prefixes: str
    begins_with_b: bool = False
    must_go_on: str = ""


_RULES = {
    Scheme.IOB1: _Rules("BI"),
    Scheme.IOB2: _Rules("BI", begins_with_b=True),
    Scheme.BIOES: _Rules("BIES", begins_with_b=True, must_go_on="BI"),
    Scheme.BIOS: _Rules("BIS", begins_with_b=True, must_go_on="B"),
    Scheme.IOE: _Rules("IE"),
    Scheme.IO: _Rules("I"),
}


class Violation(NamedTuple):
    """A tag that its scheme forbids.

    Attributes:
        position: index of the tag, from 0.
        tag: the tag.
        rule: what the scheme demands, as a phrase that fits after "expected".
    """

    position: int
    tag: str
    rule: str


_CANONICAL = {"L": "E", "U": "S"}


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into its BIOES prefix and its type, `O` into ("O", ""); expects a tag in standard form."""
    prefix, _, kind = tag.partition("-")
    return _CANONICAL.get(prefix, prefix), kind


def to_spans(tags: Sequence[str]) -> list[Span]:
    """Return the entities of a tag sequence, in order.

    The rule is conlleval's, for all schemes: an entity begins at B and S, and at I and E unless an entity of that type
    is open. It ends after E and S, and where it does not go on.

    Args:
        tags: T tags of any scheme.
    """
    spans: list[Span] = []
    kind, start = "", -1  # the open entity; start -1: none
    for position, tag in enumerate(tags):
        prefix, tag_kind = split_tag(tag)
        goes_on = prefix in ("I", "E") and start >= 0 and tag_kind == kind
        if start >= 0 and not goes_on:
            spans.append(Span(kind, start, position))
            start = -1
        if prefix == "O":
            continue
        if not goes_on:
            kind, start = tag_kind, position
        if prefix in ("E", "S"):
            spans.append(Span(kind, start, position + 1))
            start = -1
    if start >= 0:
        spans.append(Span(kind, start, len(tags)))
    return spans


def from_spans(spans: Iterable[Span], length: int, scheme: Scheme) -> tuple[str, ...]:
    """Write entities as tags.

    Args:
        spans: entities that don't overlap, in order.
        length: T, the number of tokens.
        scheme: the scheme to write: IOB1, IOB2 or BIOES.
    """
    tags = ["O"] * length
    last_kind, last_end = "", -1
    for kind, start, end in spans:
        tags[start:end] = [f"I-{kind}"] * (end - start)
        touches = start == last_end and kind == last_kind
        if scheme is not Scheme.IOB1 or touches:
            tags[start] = f"B-{kind}"
        if scheme is Scheme.BIOES:
            tags[end - 1] = f"S-{kind}" if end - start == 1 else f"E-{kind}"
        last_kind, last_end = kind, end
    return tuple(tags)


def violations(tags: Sequence[str], scheme: Scheme) -> list[Violation]:
    """Return the tags that the scheme forbids, at most one violation a tag.

    IOB1 forbids nothing but the prefixes E and S: real IOB1 files have a few B where I was due.
    """
    rules, name = _RULES[scheme], scheme.upper()
    found = []
    before, kind_before = "O", ""
    for position, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        inside = before in ("B", "I") and kind_before == kind  # of an entity of this tag's type
        if prefix != "O" and prefix not in rules.prefixes:
            found.append(Violation(position, tag, f"no prefix but {_listed(rules.prefixes)} in a corpus in {name}"))
        elif rules.begins_with_b and prefix in ("I", "E") and not inside:
            found.append(Violation(position, tag, f"B-{kind} or I-{kind} before it, as {name} demands"))
        elif before in rules.must_go_on and not (prefix in ("I", "E") and inside):
            due = _either("IE", rules, kind_before)
            found.append(Violation(position, tag, f"{due} here, as {name} demands"))
        before, kind_before = prefix, kind
    if before in rules.must_go_on and (not found or found[-1].position < len(tags) - 1):
        due = _either("ES", rules, kind_before)
        found.append(Violation(len(tags) - 1, tags[-1], f"{due} at the end of an entity, as {name} demands"))
    return found


def _either(prefixes: str, rules: _Rules, kind: str) -> str:
    """Join those of the prefixes that the scheme writes, as tags: `I-PER or E-PER`."""
    return " or ".join(f"{prefix}-{kind}" for prefix in prefixes if prefix in rules.prefixes)


def _listed(prefixes: str) -> str:
    """Join the prefixes as words: `B, I and S`."""
    return " and ".join(", ".join(prefixes).rsplit(", ", 1))


@dataclass(frozen=True)
class AllowedTags:
    """The sequences that a scheme allows, as tables over K tags.

    Attributes:
        start: whether a sentence may begin with the tag [K].
        follow: whether the second tag may follow the first [K][K], from and to.
        end: whether a sentence may end with the tag [K].
    """

    start: tuple[bool, ...]
    follow: tuple[tuple[bool, ...], ...]
    end: tuple[bool, ...]


def allowed_tags(tags: Sequence[str], scheme: Scheme) -> AllowedTags:
    """Return what a scheme writes, as tables: a sequence fits if and only if `from_spans` makes it of its entities.

    For IOB1 that is stricter than `violations`, which reads a B that no touching entity calls for.

    Args:
        tags: K tags; those that a scheme never writes (E and S in IOB2) are allowed nowhere.
        scheme: the scheme: IOB1, IOB2 or BIOES.
    """
    ends = [not _is_open(tag, scheme) and _is_written(tag, scheme) for tag in tags]
    return AllowedTags(
        tuple(_may_follow("O", tag, scheme) for tag in tags),
        tuple(tuple(_is_written(one, scheme) and _may_follow(one, other, scheme) for other in tags) for one in tags),
        tuple(ends),
    )


def _is_written(tag: str, scheme: Scheme) -> bool:
    prefix = split_tag(tag)[0]
    return prefix == "O" or prefix in _RULES[scheme].prefixes


def _is_open(tag: str, scheme: Scheme) -> bool:
    return split_tag(tag)[0] in _RULES[scheme].must_go_on


def _may_follow(one: str, other: str, scheme: Scheme) -> bool:
    """Return whether one tag may follow another; the beginning of a sentence is like O."""
    (before, kind), (prefix, other_kind) = split_tag(one), split_tag(other)
    inside = before in ("B", "I") and kind == other_kind  # of an entity of the second tag's type
    if not _is_written(other, scheme):
        return False
    if _is_open(one, scheme):
        return inside and prefix in ("I", "E")
    if scheme is Scheme.IOB1:
        return inside if prefix == "B" else True
    return inside if prefix in ("I", "E") else True


def to_bioes(tags: Sequence[str]) -> tuple[str, ...]:
    """Convert a tag sequence of any scheme to BIOES; tags that break their scheme are read as conlleval reads them."""
    return from_spans(to_spans(tags), len(tags), Scheme.BIOES)
