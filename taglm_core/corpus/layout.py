"""The layout of labelled files: what separates their columns, how tags are written, which scheme they follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taglm_core.corpus.conll import ConllReader, Separator
from taglm_core.corpus.notation import (
    STANDARD,
    Notation,
    choose_notation,
    is_bracket,
    is_outside,
    style_of,
)
from taglm_core.corpus.scheme_evidence import SchemeEvidence
from taglm_core.corpus.schemes import Scheme
from taglm_core.errors import InputError


@dataclass(frozen=True, slots=True)
class Layout:
    """How labelled files are to be read.

    Attributes:
        scheme: the tag scheme.
        separator: what separates columns.
        notation: how a tag is written.
    """

    scheme: Scheme
    separator: Separator = Separator.SPACE
    notation: Notation = Notation.PREFIX

    def to_dict(self) -> dict[str, str]:
        """Return what differs from the usual layout, and the scheme."""
        told = {"scheme": str(self.scheme)}
        if self.separator is not Separator.SPACE:
            told["separator"] = str(self.separator)
        if self.notation is not Notation.PREFIX:
            told["notation"] = str(self.notation)
        return told

    @classmethod
    def from_dict(cls, told: Mapping[str, str]) -> Layout:
        """Inverse of `to_dict`."""
        return cls(
            Scheme(told["scheme"]),
            Separator(told.get("separator", Separator.SPACE)),
            Notation(told.get("notation", Notation.PREFIX)),
        )


@dataclass(frozen=True, slots=True)
class FoundLayout:
    """A layout, and why it is that one.

    Attributes:
        layout: the layout.
        evidence: what the tags show about their scheme.
        remarks: what a person should know, a sentence or two each.
    """

    layout: Layout
    evidence: SchemeEvidence
    remarks: list[str]


def find_layout(
    paths: Sequence[Path],
    *,
    word_column: int,
    tag_column: int,
    separator: Separator | None = None,
    scheme: Scheme | None = None,
    strict: bool = False,
) -> FoundLayout:
    """Find the one layout in which all files can be read.

    Columns separated by white space and the usual notation come first, so that a file that fits them is never read in
    another way.

    Args:
        paths: the labelled files, all splits together.
        word_column: column of the word.
        tag_column: column of the tag.
        separator: what separates columns; None finds out.
        scheme: the tag scheme; None finds out.
        strict: as for `SchemeEvidence.decide`.

    Raises:
        InputError: no layout fits all lines; the lines that the best one leaves are named.
    """
    attempts: list[_Attempt] = []
    for candidate in (Separator.SPACE, Separator.TAB) if separator is None else (separator,):
        if attempts and not attempts[0].reader.has_tabs:
            break
        attempts.append(_attempt(ConllReader(
            paths, word_column=word_column, tag_column=tag_column, separator=candidate
        ), scheme))  # fmt: skip
        if not attempts[-1].reader.bad_lines():
            break
    best = min(reversed(attempts), key=lambda attempt: attempt.reader.bad_lines())
    if best.reader.bad_lines():
        raise best.style or best.reader.error()
    reader, evidence = best.reader, best.evidence
    layout = Layout(scheme or evidence.decide(strict=strict), reader.separator, reader.notation)
    remarks = [*_separator_remark(attempts, best), *_style_remarks(reader), *_scheme_remarks(evidence, scheme)]
    return FoundLayout(layout, evidence, remarks)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Files read in one layout.

    Attributes:
        reader: the reader, with what it found.
        evidence: what the tags show about their scheme.
        style: the error that names a style of tags that cannot be read.
    """

    reader: ConllReader
    evidence: SchemeEvidence
    style: InputError | None = None


def _attempt(reader: ConllReader, scheme: Scheme | None) -> _Attempt:
    """Read all files in the usual notation and, where lines are left over, in the one that most tags have."""
    evidence = _read(reader)
    if not reader.bad_lines():
        return _Attempt(reader, evidence)
    uses = {tag: use.count for tag, use in reader.tags.items()}
    notation = choose_notation(uses)
    if notation is Notation.PLAIN and scheme is not Scheme.IO:
        style = _unread_style(reader)
        return _Attempt(reader, evidence, None if reader.bad_columns() and not any(map(is_outside, uses)) else style)
    if notation is Notation.PREFIX:
        return _Attempt(reader, evidence)
    again = ConllReader(
        reader.paths,
        word_column=reader.word_column,
        tag_column=reader.tag_column,
        separator=reader.separator,
        notation=notation,
    )
    return _Attempt(again, _read(again))


def _read(reader: ConllReader) -> SchemeEvidence:
    evidence = SchemeEvidence()
    for sentence in reader:
        tags = [reader.canonical(tag) or "O" for tag in sentence.tags or ()]
        evidence.add(tags, sentence.path, sentence.line)
    return evidence


def _unread_style(reader: ConllReader) -> InputError:
    """Name the style of tags that have no prefixes."""
    tags = [tag for tag in reader.tags if tag.strip() and not is_outside(tag)]
    path, line = reader.tags[tags[0]].first if tags else (reader.paths[0], 1)
    shown = ", ".join(repr(tag) for tag in tags[:3])
    column = f"(it is {reader.tag_column} now)"
    if any(is_bracket(tag) for tag in tags):
        return InputError(
            path,
            line,
            f"tags in the bracket style of CoNLL-2005 and OntoNotes ({shown})",
            "tags such as B-PER, I-PER and O",
            f"convert the file to IOB2, or set labelled.columns.tag to another column {column}",
        )
    if not any(is_outside(tag) for tag in reader.tags):
        return InputError(
            path,
            line,
            f"a tag column without O, and without prefixes ({shown})",
            "tags such as B-PER, I-PER and O",
            f"set labelled.columns.tag to the column of the tags {column}; where the tags are types without prefixes, "
            "write O for tokens outside entities and set labelled.scheme: io",
        )
    return InputError(
        path,
        line,
        f"types without prefixes ({shown})",
        "tags such as B-PER, I-PER and O",
        "set labelled.scheme: io (adjacent entities of one type are then read as one), or set labelled.columns.tag "
        f"to the column of the tags {column}",
    )


def _separator_remark(attempts: Sequence[_Attempt], best: _Attempt) -> Iterator[str]:
    if best is not attempts[0]:
        first = attempts[0].reader.error()
        yield (
            "columns are read as separated by tabs, because a space is part of a token: read with spaces as separators "
            f"too, {first.path}:{first.line} has {first.found}. labelled.separator sets the separator"
        )


def _style_remarks(reader: ConllReader) -> Iterator[str]:
    """Say which tags are not written as usual, by style."""
    styles: dict[str, list[str]] = {}
    for tag in reader.tags:
        if not STANDARD.fullmatch(tag):
            styles.setdefault(style_of(tag, reader.notation), []).append(tag)
    for style, tags in styles.items():
        count, (path, line) = sum(reader.tags[tag].count for tag in tags), reader.tags[tags[0]].first
        yield (
            f"the tags have {style}: {tags[0]!r} ({path}:{line}) is read as {reader.canonical(tags[0])!r}; "
            f"{count:,} tags are of this style"
        )


def _scheme_remarks(evidence: SchemeEvidence, scheme: Scheme | None) -> Iterator[str]:
    if scheme is None:
        doubt = evidence.doubt()
        if doubt is not None:
            yield doubt
        return
    looks_like = evidence.decide()
    if evidence.broken(scheme) > evidence.broken(looks_like):
        yield (
            f"labelled.scheme is {scheme}, but {evidence.broken(scheme):,} tags break it; the tags look like "
            f"{looks_like}. Set labelled.scheme: {looks_like} or auto"
        )
