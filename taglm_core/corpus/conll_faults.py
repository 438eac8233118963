"""Faults of one CoNLL file: the lines that cannot be read.

The right number of columns is that of most lines, so it is known only at the end of the file.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from taglm_core.corpus.bad_lines import MAX_NAMED, BadLine
from taglm_core.corpus.notation import EXPECTED, Notation, canonical, style_of

_HEADERS = ("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "entity", "iob", "bio")
_SEPARATED_VALUES = re.compile(r"[,;]\s*\"?(O|[BIESLUMW]-[^,;]+)\"?$")
_RANGE = re.compile(r"\d+[-.]\d+")


class Separator(StrEnum):
    """What stands between two columns: a run of spaces and tabs, or one tab."""

    SPACE = "space"
    TAB = "tab"


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the word and the tag of a line are, and how they are written.

    Attributes:
        word: index of the word, from 0, or negative from the end.
        tag: index of the tag, the same way; None for files of words alone.
        separator: what separates columns.
        notation: how tags are written.
    """

    word: int
    tag: int | None
    separator: Separator = Separator.SPACE
    notation: Notation = Notation.PREFIX

    def split(self, line: str) -> list[str]:
        """Return the columns of a line; none for a blank line."""
        if not line or line.isspace():
            return []
        if self.separator is Separator.TAB:
            return [column.strip(" ") or column[:1] for column in line.split("\t")]  # a blank may be a token
        return [column for column in re.split("[ \t]+", line) if column]


@dataclass
class Faults:
    """Bad lines: the first `MAX_NAMED`, and how many there are."""

    first: list[BadLine] = field(default_factory=list)
    count: int = 0

    def add(self, line: BadLine) -> None:
        """Take the next bad line."""
        self.count += 1
        if len(self.first) < MAX_NAMED:
            self.first.append(line)


@dataclass
class Width:
    """Lines with one number of columns.

    Attributes:
        columns: the number of columns.
        word: index of the word, from 0; None if there is no such column.
        tag: index of the tag, the same way.
        count: number of such lines.
        examples: the first `MAX_NAMED` lines, as (line number, text).
        tags: how often each tag occurs.
        faults: lines whose word or tag cannot be read.
    """

    columns: int
    word: int | None = None
    tag: int | None = None
    count: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)

    def add(self, number: int, line: str) -> None:
        """Count a token line."""
        self.count += 1
        if self.count <= MAX_NAMED:
            self.examples.append((number, _shorten(line)))


class FileFaults:
    """The lines of a file that cannot be read.

    Args:
        path: the file.
        columns: where word and tag are.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path, self._columns = path, columns
        self._widths: dict[int, Width] = {}
        self._comments, self._ranges = Faults(), Faults()
        self._indexes = self._no_indexes = 0  # first columns, other than the word, that are numbers; that are none

    def width(self, columns: int) -> Width:
        """Return what is known of token lines with so many columns."""
        width = self._widths.get(columns)
        if width is None:
            word, tag = _index(self._columns.word, columns), _index(self._columns.tag, columns)
            width = self._widths[columns] = Width(columns, word, tag)
        return width

    def empty_word(self, width: Width, number: int, line: str) -> None:
        """Note a line without a word."""
        found, expected = f"an empty word ({_shorten(line)!r})", f"a word in column {self._columns.word}"
        remedy = (
            "write the word, or remove the line, or set labelled.columns.word to the column of the words "
            f"(it is {self._columns.word} now)"
        )
        width.faults.add(BadLine(self.path, number, found, expected, remedy))

    def bad_tag(self, width: Width, number: int, tag: str) -> None:
        """Note a line with a malformed tag."""
        if width.faults.count >= MAX_NAMED:  # nobody reads more of them
            width.faults.count += 1
            return
        notation = self._columns.notation
        found, expected, remedy = f"the tag {_shorten(tag)!r}", EXPECTED[notation], "correct the tag"
        if not tag.strip():
            found, remedy = "an empty tag", "write the tag (O outside entities)"
        other = next((other for other in Notation.with_prefix() if canonical(tag, other) is not None), None)
        if other is not None:
            found += f" (it has {style_of(tag, other)})"
            expected += ", as most tags are"
            remedy = "write all tags of all files in one style"
        elif tag and not tag[0].isascii() and (len(tag) == 1 or tag[1] in "-_"):
            found += f" (its first letter is U+{ord(tag[0]):04X}, {unicodedata.name(tag[0], 'a sign without a name')})"
            remedy = "write a Latin letter"
        elif tag.lower() in _HEADERS:
            remedy = "remove the line if it is a header, or correct the tag"
        remedy += f", or set labelled.columns.tag to the column of the tags (it is {self._columns.tag} now)"
        width.faults.add(BadLine(self.path, number, found, expected, remedy))

    def inner_comment(self, number: int, line: str) -> None:
        """Note a comment between two tokens."""
        found, expected = f"a comment inside a sentence ({_shorten(line)!r})", "comments between sentences alone"
        self._comments.add(BadLine(self.path, number, found, expected, "put a blank line before the comment"))

    def index(self, number: int, line: str, index: str) -> None:
        """Check a first column that is not the word: some lines of CoNLL-U have an index, but no word of their own."""
        if index.isdigit():
            self._indexes += 1
        elif _RANGE.fullmatch(index):
            found = f"a multiword token or an empty node of CoNLL-U ({_shorten(line)!r})"
            remedy = "remove the lines whose index is like 1-2 or 1.1"
            self._ranges.add(BadLine(self.path, number, found, "one line a word, and no others", remedy))
        else:
            self._no_indexes += 1

    def tags(self) -> Counter[str]:
        """Return how often each tag occurs, in lines with the usual number of columns."""
        return self._usual().tags

    def wrong_widths(self) -> int:
        """Return how many lines have another number of columns than most, or lack a configured column."""
        lines = sum(width.count for width in self._widths.values())
        return lines if self._lacking() else lines - self._usual().count

    def count(self) -> int:
        """Return how many lines cannot be read; all of them where a configured column is not there."""
        if self._lacking():
            return self.wrong_widths()
        return self.wrong_widths() + sum(faults.count for faults in self._others())

    def named(self) -> tuple[list[BadLine], int]:
        """Return the first bad lines in order, and how many there are; a column that is not there counts once."""
        lacking = self._lacking()
        if lacking is not None:
            return [lacking], 1
        usual = self._usual()
        lines = [line for faults in self._others() for line in faults.first]
        for width in self._widths.values():
            if width is not usual:
                lines += [self._wrong_width(width, number, text) for number, text in width.examples]
        return sorted(lines, key=lambda line: line.line)[:MAX_NAMED], self.count()

    def _others(self) -> list[Faults]:
        """Return faults of lines with the usual number of columns, and of lines without a token."""
        is_conllu = self._indexes > self._ranges.count and not self._no_indexes
        return [self._usual().faults, self._comments, *([self._ranges] if is_conllu else [])]

    def _usual(self) -> Width:
        """Return the number of columns that most lines have; among equals, that of the first line."""
        return max(self._widths.values(), key=lambda width: width.count, default=Width(0))

    def _lacking(self) -> BadLine | None:
        """Return the first line of a file that lacks a configured column."""
        usual, remedy = self._usual(), ""
        for name, column in (("word", self._columns.word), ("tag", self._columns.tag)):
            if usual.columns and column is not None and _index(column, usual.columns) is None:
                expected = f"a {name} in column {column} (the first is 0, the last is -1)"
                remedy = f"set labelled.columns.{name} to a number from {-usual.columns} to {usual.columns - 1}"
        if usual.columns == 1 and self._columns.tag is not None and (remedy or usual.faults.count):
            expected = "a word and a tag in columns of their own"
            remedy = "write a space or a tab between word and tag"
            if self._columns.separator is Separator.TAB:
                remedy = "write a tab between word and tag, or set labelled.separator to what separates the columns"
            elif _SEPARATED_VALUES.search(usual.examples[0][1]):
                remedy = "the columns are separated by commas or semicolons: export them separated by tabs"
        if not remedy:
            return None
        number, text = usual.examples[0]
        return BadLine(self.path, number, f"{_counted(usual.columns)} ({text!r})", expected, remedy)

    def _wrong_width(self, width: Width, number: int, text: str) -> BadLine:
        usual = self._usual()
        expected = f"{usual.columns} as in line {usual.examples[0][0]}"
        remedy = "correct the line"
        if width.columns > usual.columns and self._columns.separator is Separator.SPACE:
            remedy += " (where a word holds a space, write one tab between all columns)"
        if 2 * usual.count < sum(other.count for other in self._widths.values()):
            expected = "one token a line, with as many columns in each line"
            remedy = "convert the file to CoNLL columns"
        elif number == min(first.examples[0][0] for first in self._widths.values()):
            remedy = "remove the line if it is a header, or correct it"
        elif width.columns == 1 and self._columns.separator is Separator.TAB:
            remedy = "write one tab between two columns"
        return BadLine(self.path, number, f"{_counted(width.columns)} ({text!r})", expected, remedy)


def _index(column: int | None, columns: int) -> int | None:
    """Return the index of a column from 0; None if there is no such column."""
    if column is None or not -columns <= column < columns:
        return None
    return column % columns


def _counted(columns: int) -> str:
    return f"{columns} column{'' if columns == 1 else 's'}"


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
