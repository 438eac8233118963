"""The layout of labelled files: column separator, notation of tags, tag scheme."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from taglm_core.corpus.conll import ConllReader
from taglm_core.corpus.conll_faults import Columns, Separator
from taglm_core.corpus.content import describe_content
from taglm_core.corpus.files import BOM, open_text, read_blocks
from taglm_core.corpus.notation import (
    STANDARD,
    Notation,
    choose_notation,
    is_bracket,
    is_outside,
    is_word_for_outside,
    joined_prefixes,
    style_of,
)
from taglm_core.corpus.scheme_evidence import SchemeEvidence
from taglm_core.corpus.schemes import Scheme
from taglm_core.errors import InputError

_LOOKED_AT = 2000  # lines in which another tag column is looked for


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read labelled files.

    Attributes:
        scheme: the tag scheme.
        separator: the column separator.
        notation: the notation of tags.
        tag: column or key of the tags, where it was found and not configured (CoNLL-U).
    """

    scheme: Scheme
    separator: Separator = Separator.SPACE
    notation: Notation = Notation.PREFIX
    tag: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return what differs from the usual layout, and the scheme."""
        data = {"scheme": str(self.scheme)}
        if self.separator is not Separator.SPACE:
            data["separator"] = str(self.separator)
        if self.notation is not Notation.PREFIX:
            data["notation"] = str(self.notation)
        if self.tag:
            data["tag"] = self.tag
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, str]) -> Layout:
        """Restore what `to_dict` returned."""
        return cls(
            Scheme(data["scheme"]),
            Separator(data.get("separator", Separator.SPACE)),
            Notation(data.get("notation", Notation.PREFIX)),
            data.get("tag", ""),
        )


@dataclass(frozen=True, slots=True)
class FoundLayout:
    """A layout, and the reasons for it.

    Attributes:
        layout: the layout.
        evidence: what the tags show about their scheme.
        remarks: unusual properties of the files.
        doubts: points that a person should check.
    """

    layout: Layout
    evidence: SchemeEvidence
    remarks: list[str]
    doubts: list[str]


def find_layout(
    paths: Sequence[Path],
    *,
    word: int,
    tag: int,
    separator: Separator | None = None,
    scheme: Scheme | None = None,
    strict: bool = False,
) -> FoundLayout:
    """Find the one layout in which all files can be read.

    Columns separated by white space and the usual notation come first, so that a file that fits them is never read in
    another way.

    Args:
        paths: the labelled files, all splits together.
        word: column of the word.
        tag: column of the tag.
        separator: what separates columns; None finds out.
        scheme: the tag scheme; None finds out.
        strict: as for `SchemeEvidence.decide`.

    Raises:
        InputError: no layout fits all lines; the error names lines that the best one cannot read.
    """
    attempts: list[_Attempt] = []
    for candidate in (Separator.SPACE, Separator.TAB) if separator is None else (separator,):
        if attempts and not attempts[0].reader.has_tabs:
            break
        attempts.append(_attempt(paths, Columns(word, tag, candidate), scheme))
        if not attempts[-1].reader.bad_lines():
            break
    best = min(reversed(attempts), key=lambda attempt: (attempt.reader.wrong_widths(), attempt.reader.bad_lines()))
    if best.reader.bad_lines() or best.style is not None:
        raise _in_another_format(best.style or best.reader.error())
    reader, evidence = best.reader, best.evidence
    layout = Layout(scheme or evidence.decide(strict=strict), reader.columns.separator, reader.columns.notation)
    remarks = [*_separator_remark(attempts, best), *_style_remarks(reader)]
    return FoundLayout(layout, evidence, remarks, [] if strict else list(scheme_doubts(evidence, scheme)))


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


def _attempt(paths: Sequence[Path], columns: Columns, scheme: Scheme | None) -> _Attempt:
    """Read all files in the usual notation and, where lines are left over, in the one that most tags have."""
    reader = ConllReader(paths, columns)
    evidence = _read(reader)
    if not reader.bad_lines():
        return _Attempt(reader, evidence)
    tags = reader.tag_counts()
    notation = choose_notation(tags)
    if notation is Notation.PREFIX:
        return _Attempt(reader, evidence)
    if notation is Notation.PLAIN and scheme is not Scheme.IO:
        is_column_fault = reader.wrong_widths() > 0 and not any(map(is_outside, tags))
        is_fault_of_some_files = is_column_fault or reader.has_sound_file()
        return _Attempt(reader, evidence, None if is_fault_of_some_files else _unread_style(reader))
    again = ConllReader(paths, replace(columns, notation=notation))
    return _Attempt(again, _read(again), _word_for_outside(again) if notation is Notation.PLAIN else None)


def _read(reader: ConllReader) -> SchemeEvidence:
    evidence = SchemeEvidence()
    for sentence in reader:
        tags = [reader.canonical(tag) or "O" for tag in sentence.tags or ()]
        evidence.add(tags, sentence)
    return evidence


def _word_for_outside(reader: ConllReader) -> InputError | None:
    """Refuse types without O, but with a word that may mean it."""
    words = [tag for tag in reader.tags if is_word_for_outside(tag)]
    if not words or any(tag.canonical == "O" for tag in reader.tags.values()):
        return None
    return InputError(
        *reader.tags[words[0]].first,
        f"types without prefixes, and {words[0]!r} but no O",
        "O for tokens outside entities",
        f"write O instead of {words[0]}",
    )


def _in_another_format(error: InputError) -> InputError:
    """Return the error that names the format of a file that has no columns at all; the same error for other files."""
    head = next(read_blocks(Path(error.path)), b"").removeprefix(BOM)
    what = describe_content(head)
    if what is None:
        return error
    remedy = "convert the file: a word, a space and its tag in each line, and a blank line after each sentence"
    return InputError(error.path, 1, what, "CoNLL columns", remedy)


def _unread_style(reader: ConllReader) -> InputError:
    """Name the style of tags that have no prefixes."""
    counts = reader.tag_counts()
    tags = [tag for tag in reader.tags if tag in counts and tag.strip() and not is_outside(tag)]
    path, line = reader.tags[tags[0]].first if tags else (reader.paths[0], 1)
    shown = ", ".join(repr(tag) for tag in tags[:3])
    other_column = f"set labelled.columns.tag to {_tag_column(path, reader.columns)}"
    joined = joined_prefixes(tags)
    io = "set labelled.scheme: io (adjacent entities of one type are then read as one)"
    if any(is_bracket(tag) for tag in tags):
        found = f"tags in the bracket style of CoNLL-2005 and OntoNotes ({shown})"
        remedy = f"convert the file to IOB2, or {other_column}"
    elif all(tag[0] == tag[-1] == '"' for tag in tags):
        found, remedy = f"tags in quotation marks ({shown})", "export the columns without quotation marks"
    elif joined:
        found = f"prefixes that nothing separates from their types ({', '.join(map(repr, joined[:3]))})"
        remedy = f"write a hyphen after each prefix, or {other_column}"
    elif any(map(is_outside, counts)):
        found, remedy = f"types without prefixes ({shown})", f"{io}, or {other_column}"
    else:
        found = f"a tag column without O and without prefixes ({shown})"
        remedy = f"{other_column}; if these are types, write O for tokens outside entities and {io}"
    return InputError(path, line, found, "tags such as B-PER, I-PER and O", remedy)


def _tag_column(path: Path, columns: Columns) -> str:
    """Name the column that holds tags, from the beginning of a file."""
    lines = (line for _, line in itertools.islice(open_text(path), _LOOKED_AT))
    separator = "\t" if columns.separator is Separator.TAB else None
    rows = [row for line in lines if len(row := line.split(separator)) > 1]
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    for number, values in enumerate(zip(*(row for row in rows if len(row) == width), strict=True)):
        tags = [value for value in values if STANDARD.fullmatch(value)]
        entity = next((tag for tag in tags if tag != "O"), None)
        if entity is not None and 10 * len(tags) >= 9 * len(values):
            return f"{number}, where {entity} stands (it is {columns.tag} now)"
    return f"the column of the tags (it is {columns.tag} now)"


def _separator_remark(attempts: Sequence[_Attempt], best: _Attempt) -> Iterator[str]:
    if best is not attempts[0]:
        first = attempts[0].reader.error()
        yield (
            "columns are read as separated by tabs, because a space is part of a token: read with spaces as separators "
            f"too, {first.path}:{first.line} has {first.found}. labelled.separator sets the separator"
        )


def _style_remarks(reader: ConllReader) -> Iterator[str]:
    """Say which tags are not written as usual, by style."""
    counts = reader.tag_counts()
    styles: dict[str, list[str]] = {}
    for tag in reader.tags:
        if not STANDARD.fullmatch(tag):
            styles.setdefault(style_of(tag, reader.columns.notation), []).append(tag)
    for style, tags in styles.items():
        count, (path, line) = sum(counts[tag] for tag in tags), reader.tags[tags[0]].first
        yield (
            f"the tag {tags[0]!r} ({path}:{line}) is read as {reader.canonical(tags[0])!r}: it has {style}. "
            f"Tags of this style: {count:,}"
        )


def scheme_doubts(evidence: SchemeEvidence, scheme: Scheme | None) -> Iterator[str]:
    """Yield what a person should look at in the tags, where the scheme is given or found (None)."""
    if scheme is None:
        doubt = evidence.doubt()
        if doubt is not None:
            yield doubt
        return
    looks_like = evidence.decide(strict=True)
    if evidence.broken(scheme) > evidence.broken(looks_like):
        yield (
            f"labelled.scheme is {scheme}, but the tags look like {looks_like} (tags that break {scheme}: "
            f"{evidence.broken(scheme):,}). Set labelled.scheme: {looks_like} or auto"
        )
