r"""Reader for CoNLL columns.

A token a line, columns separated by spaces or tabs, a blank line after each sentence::

    -DOCSTART- -X- O O

    # sent_id = 1
    U.N.     NNP I-NP I-ORG
    official NN  I-NP O

Which column is the word and which the tag is configuration; columns counted from the end are negative.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from taglm_core.corpus.bad_lines import MAX_NAMED, BadLine, error_of
from taglm_core.corpus.files import open_text
from taglm_core.corpus.notation import STANDARD, Notation, canonical
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.errors import InputError

DOCUMENT_MARK = "-DOCSTART-"
MAX_SENTENCE_TOKENS = 100_000
"""More tokens without a blank line are a file in another format, not a sentence."""

MAX_BAD_TAGS = 1000
"""So many different tags that are none are told apart; all further ones are counted together."""

_DOCUMENT_COMMENT = re.compile(r"#[ \t]*(newdoc([ \t]+id[ \t]*=.*)?|begin document\b.*)")
_KNOWN_COMMENT = re.compile(
    rf"{_DOCUMENT_COMMENT.pattern}|#[ \t]*(newpar([ \t]+id[ \t]*=.*)?|end document\b.*)"
    r"|#[ \t]*(sent_id|text(_\w+)?|source|global\.columns)[ \t]*=.*"
)
_KEY_COMMENT = re.compile(r"#[ \t]*[A-Za-z_][\w.:-]*([ \t]+id)?[ \t]*=.*")
_FREE_COMMENT = re.compile(r"#+([ \t].*)?")
_RANGE = re.compile(r"\d+[-.]\d+")
_COLUMNS_REMEDY = "correct the line, or set labelled.columns to the columns of this file"


class Separator(StrEnum):
    """What stands between two columns: a run of spaces and tabs, or one tab."""

    SPACE = "space"
    TAB = "tab"


@dataclass
class TagUse:
    """How often a tag occurs, and where.

    Attributes:
        canonical: the tag in standard form, None if it is no tag.
        first: file and line of the first one.
        count: how often it occurs.
        places: of a tag that is none: the first `MAX_NAMED`, as (number of the file, line).
    """

    canonical: str | None
    first: tuple[Path, int]
    count: int = 0
    places: list[tuple[int, int]] = field(default_factory=list)


class ConllReader:
    """Sentences of CoNLL files, in order; lines that cannot be read are collected, and most of them left out.

    A new file, a `-DOCSTART-` line, `# newdoc` and `#begin document` open a document; the mark is never a sentence and
    may have any number of columns.

    Args:
        paths: files, read one after the other.
        word_column: index of the word, from 0, or negative from the end.
        tag_column: index of the tag, the same way; None reads words alone (for text to be tagged).
        separator: what separates columns.
        notation: how tags are written.
        counts: filled with what else was met.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        word_column: int,
        tag_column: int | None,
        separator: Separator = Separator.SPACE,
        notation: Notation = Notation.PREFIX,
        counts: ReadCounts | None = None,
    ) -> None:
        self.paths, self.word_column, self.tag_column = list(paths), word_column, tag_column
        self.separator, self.notation = separator, notation
        self.counts = ReadCounts() if counts is None else counts
        self.tags: dict[str, TagUse] = {}
        self.bad_tags = 0  # different tags that are none
        self.has_tabs = False
        self._files: list[_File] = []

    def __iter__(self) -> Iterator[Sentence]:
        document = -1
        for path in self.paths:
            self.counts.files += 1
            self.counts.last_path = str(path)
            document += 1
            in_document = False  # a mark at the top of a file opens no second document
            file = _File(path, len(self._files), self)
            self._files.append(file)
            for number, line in open_text(path):
                columns = file.split(line)
                comment = bool(columns) and line[0] == "#" and file.is_comment(line, columns)
                mark = bool(columns) and not comment and file.is_document_mark(columns)
                if columns and not comment and not mark:
                    file.add(number, line, columns)
                    in_document = True
                    continue
                self.counts.comment_lines += comment
                self.counts.document_marks += mark
                self.counts.empty_lines += not columns
                if file.tokens:
                    yield file.finish(document)
                if mark or (comment and _DOCUMENT_COMMENT.fullmatch(line)):
                    document += in_document
                    in_document = False
            if file.tokens:
                yield file.finish(document)

    def canonical(self, tag: str) -> str | None:
        """Return a tag that was read in standard form; None if it is no tag."""
        use = self.tags.get(tag)
        return None if use is None else use.canonical

    def bad_columns(self) -> int:
        """Return how many lines have faults other than their tag."""
        return sum(file.bad_columns() for file in self._files)

    def bad_lines(self) -> int:
        """Return how many lines cannot be read."""
        return self.bad_columns() + sum(use.count for use in self.tags.values() if use.canonical is None)

    def error(self) -> InputError:
        """Return the error that names the first bad lines."""
        tags = [(place, tag) for tag, use in self.tags.items() for place in use.places]
        by_tag = (
            (number, line, self._files[number].bad_tag(line, tag)) for (number, line), tag in sorted(tags)[:MAX_NAMED]
        )
        by_column = ((file.number, bad.line, bad) for file in self._files for bad in file.named())
        merged = heapq.merge(by_tag, by_column, key=lambda found: found[:2])
        lacking = sum(file.bad_columns() - 1 for file in self._files if file.missing)  # all lines of a file: one fault
        return error_of((bad for _, _, bad in itertools.islice(merged, MAX_NAMED)), self.bad_lines() - lacking)


def read_conll(
    paths: Iterable[Path],
    *,
    word_column: int,
    tag_column: int | None,
    separator: Separator = Separator.SPACE,
    notation: Notation = Notation.PREFIX,
    counts: ReadCounts | None = None,
) -> Iterator[Sentence]:
    """Yields the sentences of CoNLL files, in order; arguments as for `ConllReader`.

    Raises:
        InputError: at the end, with the first lines that cannot be read: another number of columns than the file's
            other lines, a column that is not there, a tag that the notation does not have.
    """
    reader = ConllReader(
        paths,
        word_column=word_column,
        tag_column=tag_column,
        separator=separator,
        notation=notation,
        counts=counts,
    )
    yield from reader
    if reader.bad_lines():
        raise reader.error()


@dataclass
class _Width:
    """Lines with one number of columns.

    Attributes:
        line: the first of them.
        count: how many there are.
        places: the first `MAX_NAMED`, as (line, text).
    """

    line: int
    count: int = 0
    places: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class _File:
    """The sentence being read, the layout of the file it is in, and the file's bad lines."""

    path: Path
    number: int
    reader: ConllReader
    width: int = 0  # columns of the first token line
    has_tabs: bool = False  # whether that line has
    indexes: int = 0  # lines whose first column is a number and not the word
    first_line: int = 0
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    widths: dict[int, _Width] = field(default_factory=dict)
    missing: BadLine | None = None  # a configured column that the file lacks
    faults: list[BadLine] = field(default_factory=list)
    fault_count: int = 0
    ranges: list[BadLine] = field(default_factory=list)
    range_count: int = 0  # lines whose first column is like 1-2 or 1.1, and not the word

    def split(self, line: str) -> list[str]:
        """Return the columns of a line; none for a blank line."""
        if not line or line.isspace():
            return []
        if self.reader.separator is Separator.TAB:
            return [column.strip(" ") or column[:1] for column in line.split("\t")]  # a blank may be a token
        return [column for column in re.split("[ \t]+", line) if column]

    def is_document_mark(self, columns: list[str]) -> bool:
        """Whether the word column, or the first one (short marks stand alone on the line), is the mark."""
        return columns[0] == DOCUMENT_MARK or self._at(columns, self.reader.word_column) == DOCUMENT_MARK

    def is_comment(self, line: str, columns: list[str]) -> bool:
        """Whether a line that begins with `#` is a comment: no token line, and before the first token of a sentence."""
        if self.tokens:
            return False
        if self._has_key(line, columns):
            return True
        tag = self._at(columns, self.reader.tag_column) or ""
        is_tag = self.reader.tag_column is None or canonical(tag, self.reader.notation) is not None
        alike = len(columns) == self.width and ("\t" in line) == self.has_tabs
        if STANDARD.fullmatch(tag) or (alike and (is_tag or self.has_tabs)):
            return False
        return _FREE_COMMENT.fullmatch(line) is not None

    def _has_key(self, line: str, columns: list[str]) -> bool:
        """Whether a line is a comment `# key = value` by its form; a whole token line is none, but for known keys."""
        if _KNOWN_COMMENT.fullmatch(line):
            return True
        tag = self._at(columns, self.reader.tag_column) or ""
        is_token = self.width in (0, len(columns)) and STANDARD.fullmatch(tag)
        return not is_token and _KEY_COMMENT.fullmatch(line) is not None

    def add(self, number: int, line: str, columns: list[str]) -> None:
        """Takes one token line."""
        if "\r" in line:
            self._refuse(number, "a carriage return inside the line", "LF or CRLF line ends", "convert the line ends")
        if line[0] == "#" and self._has_key(line, columns):
            self._fault(number, f"a comment inside a sentence ({_shorten(line)!r})",
                        "comments before the first token of a sentence", "put a blank line before it")  # fmt: skip
            return
        if not self._has_columns(number, line, columns):
            return
        reader = self.reader
        word = columns[reader.word_column]
        if columns[0] is not word:
            self._look_at_index(number, line, columns[0])
        if not word:
            self._fault(number, f"an empty word ({_shorten(line)!r})", f"a word in column {reader.word_column}",
                        "write the word, or remove the line")  # fmt: skip
            return
        if reader.tag_column is not None:
            tag = columns[reader.tag_column]
            use = reader.tags.get(tag)
            if use is None:
                use = self._meet(number, tag)
            use.count += 1
            if use.canonical is None and len(use.places) < MAX_NAMED:
                use.places.append((self.number, number))
            self.tags.append(tag)
        if not self.tokens:
            self.first_line = number
        self.tokens.append(word)
        if len(self.tokens) > MAX_SENTENCE_TOKENS:
            self._refuse(
                self.first_line,
                f"more than {MAX_SENTENCE_TOKENS:,} tokens without a blank line",
                "a blank line after each sentence",
                "separate the sentences by blank lines",
            )

    def finish(self, document: int) -> Sentence:
        """Gives the sentence read so far and starts the next."""
        tags = None if self.reader.tag_column is None else tuple(self.tags)
        sentence = Sentence(tuple(self.tokens), tags, document, self.first_line, str(self.path))
        self.tokens, self.tags = [], []
        return sentence

    def bad_columns(self) -> int:
        """How many lines have faults other than their tag."""
        if self.missing is not None:
            return sum(width.count for width in self.widths.values())
        usual = self._usual()
        others = sum(width.count for number, width in self.widths.items() if number != usual)
        return others + self.fault_count + (self.range_count if self._is_conllu() else 0)

    def named(self) -> list[BadLine]:
        """The first of them, in order."""
        if self.missing is not None:
            return [self.missing]
        usual = self._usual()
        bad = [
            BadLine(self.path, line, *self._wrong_width(number, text))
            for number, width in self.widths.items()
            if number != usual
            for line, text in width.places
        ]
        ranges = self.ranges if self._is_conllu() else []
        return sorted([*bad, *self.faults, *ranges], key=lambda found: found.line)[:MAX_NAMED]

    def bad_tag(self, line: int, tag: str) -> BadLine:
        """The line of a tag that is none."""
        found = f"the tag {_shorten(tag)!r}" if tag.strip() else "an empty tag"
        column = f"column {self.reader.tag_column}"
        remedy = f"correct the tag, or set labelled.columns.tag to the column of the tags (it is {column} now)"
        return BadLine(self.path, line, found, _EXPECTED_TAG[self.reader.notation], remedy)

    def _at(self, columns: list[str], column: int | None) -> str | None:
        if column is None or not -len(columns) <= column < len(columns):
            return None
        return columns[column]

    def _usual(self) -> int:
        """The number of columns that most lines have; the first line's among equals."""
        return max(self.widths, key=lambda number: self.widths[number].count, default=0)

    def _has_columns(self, number: int, line: str, columns: list[str]) -> bool:
        """Counts a line's columns; whether they are as many as in the first token line, and all that is needed."""
        count = len(columns)
        width = self.widths.get(count)
        if width is None:
            width = self.widths[count] = _Width(number)
        width.count += 1
        if width.count <= MAX_NAMED:
            width.places.append((number, _shorten(line)))
        if "\t" in line:
            self.reader.has_tabs = True
        if not self.width:
            self.width, self.has_tabs = count, "\t" in line
            self.missing = self._missing(number, line, columns)
        return count == self.width and self.missing is None

    def _missing(self, number: int, line: str, columns: list[str]) -> BadLine | None:
        for name, column in (("word", self.reader.word_column), ("tag", self.reader.tag_column)):
            if column is not None and self._at(columns, column) is None:
                return BadLine(
                    self.path,
                    number,
                    f"{_columns(len(columns))} ({_shorten(line)!r})",
                    f"a {name} in column {column} (the first is 0, the last is -1)",
                    f"set labelled.columns.{name} to a number from {-len(columns)} to {len(columns) - 1}",
                )
        return None

    def _wrong_width(self, number: int, text: str) -> tuple[str, str, str]:
        usual = self._usual()
        found, expected, remedy = f"{_columns(number)} ({text!r})", f"{usual} as in line {self.widths[usual].line}", ""
        if 2 * self.widths[usual].count < sum(width.count for width in self.widths.values()):
            expected = "one token a line, with as many columns in each line"
            remedy = "convert the file to CoNLL columns"
        elif number == 1 and self.reader.separator is Separator.TAB:
            remedy = "put one tab between two columns"
        return found, expected, remedy or _COLUMNS_REMEDY

    def _look_at_index(self, number: int, line: str, index: str) -> None:
        """Counts indices of words, and notes those of CoNLL-U's lines that hold no word of their own."""
        if index.isdigit():
            self.indexes += 1
        elif _RANGE.fullmatch(index):
            self.range_count += 1
            if len(self.ranges) < MAX_NAMED:
                self.ranges.append(BadLine(
                    self.path, number, f"a multiword token or an empty node of CoNLL-U ({_shorten(line)!r})",
                    "a line for each word and no others", "remove the lines whose index is like 1-2 or 1.1",
                ))  # fmt: skip

    def _is_conllu(self) -> bool:
        return self.indexes > self.range_count > 0

    def _meet(self, number: int, tag: str) -> TagUse:
        tags = self.reader.tags
        known = canonical(tag, self.reader.notation)
        if known is None:
            self.reader.bad_tags += 1
            if self.reader.bad_tags > MAX_BAD_TAGS:
                return tags.setdefault("...", TagUse(None, (self.path, number)))
        use = tags[tag] = TagUse(known, (self.path, number))
        return use

    def _fault(self, number: int, found: str, expected: str, remedy: str) -> None:
        self.fault_count += 1
        if len(self.faults) < MAX_NAMED:
            self.faults.append(BadLine(self.path, number, found, expected, remedy))

    def _refuse(self, line: int, found: str, expected: str, remedy: str) -> None:
        raise InputError(self.path, line, found, expected, remedy)


_EXPECTED_TAG = {
    Notation.PREFIX: "O, or one of B- I- E- S- (L- U- M- W-) followed by a type",
    Notation.SUFFIX: "O, or a type followed by one of -B -I -E -S (-L -U -M -W), as most tags have it",
    Notation.BARE: "O, or one of B I E S (L U M W) without a type, as most tags are",
    Notation.PLAIN: "O, or a type without a prefix, as most tags are",
}


def _columns(number: int) -> str:
    return f"{number} column{'' if number == 1 else 's'}"


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
