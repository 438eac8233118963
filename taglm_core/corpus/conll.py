r"""Reader for CoNLL columns.

A token a line, columns separated by spaces or tabs, a blank line after each sentence::

    -DOCSTART- -X- O O

    U.N.     NNP I-NP I-ORG
    official NN  I-NP O

Which column is the word and which the tag is configuration; columns counted from the end are negative.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from taglm_core.corpus.files import open_text
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.errors import InputError

DOCUMENT_MARK = "-DOCSTART-"
MAX_SENTENCE_TOKENS = 100_000
"""More tokens without a blank line are a file in another format, not a sentence."""

_TAG = re.compile(r"O|[BIESLU]-.+", re.DOTALL)
_COLUMNS_REMEDY = "correct the line, or set labelled.columns to the columns of this file"


def read_conll(
    paths: Iterable[Path],
    *,
    word_column: int,
    tag_column: int | None,
    counts: ReadCounts | None = None,
) -> Iterator[Sentence]:
    """Yields the sentences of CoNLL files, in order.

    A new file and a `-DOCSTART-` line open a document; the mark is never a sentence and may have any number of
    columns.

    Args:
        paths: files, read one after the other.
        word_column: index of the word, from 0, or negative from the end.
        tag_column: index of the tag, the same way; None reads words alone (for text to be tagged).
        counts: filled with what else was met.

    Raises:
        InputError: a line with another number of columns than the file's first token line, a column that is not
            there, a tag that is neither `O` nor a prefix of B I E S L U with a type.
    """
    counts = ReadCounts() if counts is None else counts
    document = -1
    for path in paths:
        counts.files += 1
        counts.last_path = str(path)
        document += 1
        in_document = False  # a mark at the top of a file opens no second document
        state = _File(path, word_column, tag_column)
        for number, line in open_text(path, counts):
            columns = [column for column in re.split("[ \t]+", line) if column]
            is_mark = bool(columns) and state.is_document_mark(columns)
            if columns and not is_mark and not line.isspace():
                state.add(number, line, columns)
                in_document = True
                continue
            if state.tokens:
                yield state.finish(document)
            if is_mark:
                counts.document_marks += 1
                document += in_document
                in_document = False
            else:
                counts.empty_lines += 1
        if state.tokens:
            yield state.finish(document)


@dataclass
class _File:
    """The sentence being read and the layout of the file it is in."""

    path: Path
    word_column: int
    tag_column: int | None
    width: int = 0
    width_line: int = 0
    first_line: int = 0
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    known_tags: set[str] = field(default_factory=set)

    def is_document_mark(self, columns: list[str]) -> bool:
        """Whether the word column, or the first one (short marks stand alone on the line), is the mark."""
        if columns[0] == DOCUMENT_MARK:
            return True
        inside = -len(columns) <= self.word_column < len(columns)
        return inside and columns[self.word_column] == DOCUMENT_MARK

    def add(self, number: int, line: str, columns: list[str]) -> None:
        """Takes one token line."""
        if len(columns) != self.width:
            self._set_width(number, line, columns)
        if "\r" in line:
            self._refuse(number, "a carriage return inside the line", "LF or CRLF line ends", "convert the line ends")
        if self.tag_column is not None:
            tag = columns[self.tag_column]
            if tag not in self.known_tags:
                self._check_tag(number, tag)
            self.tags.append(tag)
        if not self.tokens:
            self.first_line = number
        self.tokens.append(columns[self.word_column])
        if len(self.tokens) > MAX_SENTENCE_TOKENS:
            self._refuse(
                self.first_line,
                f"more than {MAX_SENTENCE_TOKENS:,} tokens without a blank line",
                "a blank line after each sentence",
                "separate the sentences by blank lines",
            )

    def finish(self, document: int) -> Sentence:
        """Gives the sentence read so far and starts the next."""
        tags = None if self.tag_column is None else tuple(self.tags)
        sentence = Sentence(tuple(self.tokens), tags, document, self.first_line, str(self.path))
        self.tokens, self.tags = [], []
        return sentence

    def _set_width(self, number: int, line: str, columns: list[str]) -> None:
        shown = f"{len(columns)} columns ({_shorten(line)!r})"
        if self.width:
            self._refuse(number, shown, f"{self.width} as in line {self.width_line}", _COLUMNS_REMEDY)
        self.width, self.width_line = len(columns), number
        for name, column in (("word", self.word_column), ("tag", self.tag_column)):
            if column is not None and not -self.width <= column < self.width:
                self._refuse(
                    number, shown, f"a {name} in column {column} (the first is 0, the last is -1)", _COLUMNS_REMEDY
                )

    def _check_tag(self, number: int, tag: str) -> None:
        if not _TAG.fullmatch(tag):
            self._refuse(
                number,
                f"the tag {_shorten(tag)!r}",
                "O, or one of B- I- E- S- (L- U-) followed by a type",
                "correct the tag, or set labelled.columns so that the tag column is the right one",
            )
        self.known_tags.add(tag)

    def _refuse(self, line: int, found: str, expected: str, remedy: str) -> None:
        raise InputError(self.path, line, found, expected, remedy)


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
