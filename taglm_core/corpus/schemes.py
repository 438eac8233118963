"""Tag schemes: what they allow, which one a corpus uses, conversion to BIOES and to spans.

| tag sequence            | IOB1 | IOB2 | BIOES |
|-------------------------|------|------|-------|
| one entity of two words | I I  | B I  | B E   |
| one of one word         | I    | B    | S     |
| two touching, same type | I B  | B B  | S S   |

BILOU is BIOES by other names (L is E, U is S). A type may contain hyphens: only the first one separates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from taglm_core.errors import InputError

Span = tuple[str, int, int]
"""An entity: type, first token, token after the last."""


class Scheme(StrEnum):
    """How tags mark where an entity begins and ends."""

    IOB1 = "iob1"
    IOB2 = "iob2"
    BIOES = "bioes"


class SchemeViolation(ValueError):
    """A tag sequence that a scheme forbids.

    Args:
        position: index of the tag that breaks the rule, from 0.
        tag: that tag.
        rule: the rule, as a phrase that fits after "expected".
    """

    def __init__(self, position: int, tag: str, rule: str) -> None:
        self.position, self.tag, self.rule = position, tag, rule
        super().__init__(f"tag {tag!r} at position {position}: {rule}")

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.position, self.tag, self.rule)


_CANONICAL = {"L": "E", "U": "S"}


def split_tag(tag: str) -> tuple[str, str]:
    """Splits a tag into its BIOES prefix and its type; `O` gives ("O", "")."""
    prefix, _, kind = tag.partition("-")
    return _CANONICAL.get(prefix, prefix), kind


def to_spans(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """Gives the entities of a tag sequence, in order.

    For IOB1 this is conlleval's rule: an entity begins at B, and at I after O or another type. A valid IOB2 or BIOES
    sequence has one reading, and this gives it; validity is what `check_tags` is for.

    Args:
        tags: T tags.
        scheme: their scheme. The reading is the same for all of them on valid input.
    """
    spans: list[Span] = []
    kind, start = "", -1  # the open entity; start -1: none
    for position, tag in enumerate(tags):
        prefix, tag_kind = split_tag(tag)
        goes_on = prefix in ("I", "E") and start >= 0 and tag_kind == kind
        if start >= 0 and not goes_on:
            spans.append((kind, start, position))
            start = -1
        if prefix == "O":
            continue
        if not goes_on:
            kind, start = tag_kind, position
        if prefix in ("E", "S") and scheme is Scheme.BIOES:
            spans.append((kind, start, position + 1))
            start = -1
    if start >= 0:
        spans.append((kind, start, len(tags)))
    return spans


def from_spans(spans: Iterable[Span], length: int, scheme: Scheme) -> tuple[str, ...]:
    """Writes entities as tags.

    Args:
        spans: entities that don't overlap, in order.
        length: T, the number of tokens.
        scheme: the scheme to write.
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


def check_tags(tags: Sequence[str], scheme: Scheme) -> None:
    """Refuses a sequence that the scheme forbids.

    IOB1 forbids nothing but the prefixes E and S: real IOB1 files have a few B where I was due.

    Raises:
        SchemeViolation: the first tag that breaks a rule.
    """
    if scheme is Scheme.BIOES:
        _check_bioes(tags)
        return
    previous = ("O", "")
    for position, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix in ("E", "S"):
            raise SchemeViolation(position, tag, f"only the prefixes B and I in a corpus in {scheme.upper()}")
        if scheme is Scheme.IOB2 and prefix == "I" and (previous[0] == "O" or previous[1] != kind):
            raise SchemeViolation(position, tag, f"B-{kind} or I-{kind} before it, as IOB2 demands")
        previous = (prefix, kind)


def _check_bioes(tags: Sequence[str]) -> None:
    open_kind: str | None = None  # type of an entity begun and not ended
    for position, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        if prefix in ("I", "E") and open_kind != kind:
            raise SchemeViolation(position, tag, f"B-{kind} or I-{kind} before it, as BIOES demands")
        if prefix in ("O", "B", "S") and open_kind is not None:
            raise SchemeViolation(position, tag, f"I-{open_kind} or E-{open_kind} here, as BIOES demands")
        open_kind = kind if prefix in ("B", "I") else None
    if open_kind is not None:
        rule = f"E-{open_kind} or S-{open_kind} at the end of an entity, as BIOES demands"
        raise SchemeViolation(len(tags) - 1, tags[-1], rule)


@dataclass(frozen=True)
class AllowedTags:
    """What a scheme allows, as tables over K tags.

    Attributes:
        start: whether a sentence may begin with the tag [K].
        follow: whether the second tag may follow the first [K][K], from and to.
        end: whether a sentence may end with the tag [K].
    """

    start: tuple[bool, ...]
    follow: tuple[tuple[bool, ...], ...]
    end: tuple[bool, ...]


_GOES_ON = {Scheme.IOB1: ("I",), Scheme.IOB2: ("I",), Scheme.BIOES: ("I", "E")}
"""Prefixes that continue an entity of their type."""

_MUST_GO_ON = {Scheme.IOB1: (), Scheme.IOB2: (), Scheme.BIOES: ("B", "I")}
"""Prefixes that only a continuation may follow."""


def allowed_tags(tags: Sequence[str], scheme: Scheme) -> AllowedTags:
    """Tables of what a scheme writes: a sequence fits if and only if it is what `from_spans` makes of its entities.

    For IOB1 that is stricter than `check_tags`, which reads a B that no touching entity calls for.

    Args:
        tags: K tags; those that a scheme never writes (E and S in IOB2) are allowed nowhere.
        scheme: the scheme.
    """
    ends = [not _is_open(tag, scheme) and _is_written(tag, scheme) for tag in tags]
    return AllowedTags(
        tuple(_may_follow("O", tag, scheme) for tag in tags),
        tuple(tuple(_is_written(one, scheme) and _may_follow(one, other, scheme) for other in tags) for one in tags),
        tuple(ends),
    )


def _is_written(tag: str, scheme: Scheme) -> bool:
    return scheme is Scheme.BIOES or split_tag(tag)[0] not in ("E", "S")


def _is_open(tag: str, scheme: Scheme) -> bool:
    return split_tag(tag)[0] in _MUST_GO_ON[scheme]


def _may_follow(one: str, other: str, scheme: Scheme) -> bool:
    """Whether one tag may follow another; the beginning of a sentence is like O."""
    (before, kind), (prefix, other_kind) = split_tag(one), split_tag(other)
    inside = before in ("B", "I") and kind == other_kind  # of an entity of the second tag's type
    if not _is_written(other, scheme):
        return False
    if _is_open(one, scheme):
        return inside and prefix in _GOES_ON[scheme]
    if scheme is Scheme.IOB1:
        return inside if prefix == "B" else True
    return inside if prefix in _GOES_ON[scheme] else True


def to_bioes(tags: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """Converts a tag sequence to BIOES.

    Raises:
        SchemeViolation: the sequence is not valid in its scheme.
    """
    check_tags(tags, scheme)
    return from_spans(to_spans(tags, scheme), len(tags), Scheme.BIOES)


_EVIDENCE = (
    "sentences",
    "e_or_s",
    "i_begins",
    "b_after_o",
    "b_after_same_type",
    "b_after_other_type",
    "invalid_in_bioes",
)


@dataclass
class SchemeEvidence:
    """What the tags of a corpus show about its scheme, collected in one pass over all its splits.

    One split alone may lack the tag that tells (a small IOB1 file whose entities all touch, say), hence all together.

    Attributes:
        counts: how often each kind of evidence was met.
        first: where it was met first, as (path, line, tag).
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_EVIDENCE, 0))
    first: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    _bioes_violation: tuple[str, int, SchemeViolation] | None = None

    def add(self, tags: Sequence[str], path: str, line: int) -> None:
        """Takes the tags of one sentence, the first of which stands at path:line, the others in the lines below."""
        self.counts["sentences"] += 1
        previous = ("O", "")
        for position, tag in enumerate(tags):
            if tag == "O":
                previous = ("O", "")
                continue
            current = split_tag(tag)
            name = _evidence_of(previous, current)
            if name is not None:
                self.counts[name] += 1
                self.first.setdefault(name, (path, line + position, tag))
            previous = current
        try:
            _check_bioes(tags)
        except SchemeViolation as violation:
            self.counts["invalid_in_bioes"] += 1
            if self._bioes_violation is None:
                self._bioes_violation = (path, line + violation.position, violation)

    def decide(self) -> Scheme:
        """Gives the one scheme that fits all splits; without any entity IOB2.

        Raises:
            InputError: E or S (L or U) tags together with sequences that BIOES forbids.
        """
        if self.counts["e_or_s"]:
            if self._bioes_violation is not None:
                path, line, violation = self._bioes_violation
                where = "{}:{} ({})".format(*self.first["e_or_s"])
                raise InputError(
                    path,
                    line,
                    f"the tag {violation.tag!r}",
                    f"{violation.rule} (the corpus is in BIOES, see {where})",
                    "write all splits in one tag scheme (IOB1, IOB2 or BIOES)",
                )
            return Scheme.BIOES
        return Scheme.IOB1 if self.counts["i_begins"] else Scheme.IOB2

    def doubt(self) -> str | None:
        """What a person should look at: a corpus that is IOB1 by few tags, as an IOB2 corpus with faults would be."""
        begun, usual = self.counts["i_begins"], self.counts["b_after_o"]
        if self.decide() is not Scheme.IOB1 or begun >= usual:
            return None
        return (
            f"the tags are read as IOB1, because {begun:,} entities begin with I ({{}}:{{}}, {{}} is the first); "
            f"{usual:,} begin with B, as in IOB2. The entities are the same either way; labelled.scheme: iob2 stops at "
            "each such tag"
        ).format(*self.first["i_begins"])

    def describe(self) -> dict[str, object]:
        """Gives the counts and the first places, for JSON."""
        first = {name: f"{path}:{line} ({tag})" for name, (path, line, tag) in self.first.items()}
        return {"scheme": self.decide().value, "counts": dict(self.counts), "first": first}


def _evidence_of(previous: tuple[str, str], current: tuple[str, str]) -> str | None:
    """Names what a tag other than O, after the tag before it (O at the start), is evidence of."""
    if current[0] in ("E", "S"):
        return "e_or_s"
    begins = previous[0] in ("O", "E", "S") or previous[1] != current[1]
    if current[0] == "I":
        return "i_begins" if begins else None
    if previous[0] == "O":
        return "b_after_o"
    return "b_after_same_type" if previous[1] == current[1] else "b_after_other_type"
