r"""Reader for CoNLL columns.

A token a line, columns separated by spaces or tabs, a blank line after each sentence::

    -DOCSTART- -X- O O

    # sent_id = 1
    U.N.     NNP I-NP I-ORG
    official NN  I-NP O

Which column is the word and which the tag is configuration; columns counted from the end are negative.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from taglm_core.corpus.bad_lines import error_of
from taglm_core.corpus.conll_faults import Columns, FileFaults, Width
from taglm_core.corpus.files import open_text
from taglm_core.corpus.notation import STANDARD, canonical
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.errors import InputError

DOCUMENT_MARK = "-DOCSTART-"
MAX_SENTENCE_TOKENS = 100_000
"""More tokens without a blank line are a file in another format, not a sentence."""

MAX_BAD_TAGS = 1000
"""Most malformed tags that are counted one by one; all further ones are counted together."""

_DOCUMENT_COMMENT = re.compile(r"#[ \t]*(newdoc([ \t]+id[ \t]*=.*)?|begin document\b.*)")
_KNOWN_COMMENT = re.compile(
    rf"{_DOCUMENT_COMMENT.pattern}|#[ \t]*(newpar([ \t]+id[ \t]*=.*)?|end document\b.*)"
    r"|#[ \t]*(sent_id|text(_\w+)?|source|global\.columns)[ \t]*=.*"
)
_KEY_COMMENT = re.compile(r"#[ \t]*[A-Za-z_][\w.:-]*([ \t]+id)?[ \t]*=.*")
_FREE_COMMENT = re.compile(r"#+([ \t].*)?")


@dataclass(frozen=True, slots=True)
class KnownTag:
    """A tag that was read.

    Attributes:
        tag: the tag, or `...` for one of many malformed ones.
        canonical: the tag in standard form, None if it is malformed.
        first: file and line of its first occurrence.
    """

    tag: str
    canonical: str | None
    first: tuple[Path, int]


class ConllReader:
    """Sentences of CoNLL files, in order; lines that cannot be read are collected (`bad_lines`, `error`).

    A new file, a `-DOCSTART-` line, `# newdoc` and `#begin document` open a document; the mark is never a sentence and
    may have any number of columns.

    Args:
        paths: files, read one after the other.
        columns: where word and tag are, and how they are written.
        counts: receives counts of everything else in the files.
    """

    def __init__(self, paths: Iterable[Path], columns: Columns, counts: ReadCounts | None = None) -> None:
        self.paths, self.columns = list(paths), columns
        self.counts = ReadCounts() if counts is None else counts
        self.tags: dict[str, KnownTag] = {}
        self.has_tabs = False
        self._bad_tags = 0  # number of distinct malformed tags
        self._faults: list[FileFaults] = []

    def __iter__(self) -> Iterator[Sentence]:
        document = -1
        for path in self.paths:
            self.counts.files += 1
            self.counts.last_path = str(path)
            document += 1
            in_document = False  # a mark at the top of a file opens no second document
            file = _File(path, self)
            self._faults.append(file.faults)
            for number, line in open_text(path, self.counts):
                columns = self.columns.split(line)
                comment = bool(columns) and line[0] == "#" and file.is_comment(line, columns)
                mark = DOCUMENT_MARK in line and file.is_document_mark(columns)
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
        known = self.tags.get(tag)
        return None if known is None else known.canonical

    def tag_counts(self) -> Counter[str]:
        """Return how often each tag occurs, in lines with the usual number of columns."""
        return sum((faults.tags() for faults in self._faults), Counter())

    def has_sound_file(self) -> bool:
        """Return whether a file with entities has no bad line."""
        return any(not faults.count() and any(tag != "O" for tag in faults.tags()) for faults in self._faults)

    def wrong_widths(self) -> int:
        """Return how many lines have a wrong number of columns."""
        return sum(faults.wrong_widths() for faults in self._faults)

    def bad_lines(self) -> int:
        """Return how many lines cannot be read."""
        return sum(faults.count() for faults in self._faults)

    def error(self) -> InputError:
        """Return the error that names the first bad lines."""
        named = [faults.named() for faults in self._faults]
        return error_of((line for lines, _ in named for line in lines), sum(count for _, count in named))

    def know(self, tag: str, path: Path, number: int) -> KnownTag:
        """Take a tag that was not met before, and return what is known of it."""
        standard = canonical(tag, self.columns.notation)
        self._bad_tags += standard is None
        kept = tag if standard is not None or self._bad_tags <= MAX_BAD_TAGS else "..."
        return self.tags.setdefault(kept, KnownTag(kept, standard, (path, number)))


def read_conll(paths: Iterable[Path], columns: Columns, *, counts: ReadCounts | None = None) -> Iterator[Sentence]:
    """Yield the sentences of CoNLL files, in order; arguments as for `ConllReader`.

    Raises:
        InputError: some lines cannot be read: another number of columns than most lines of the file, a missing column,
            a malformed tag. It is raised at the end and names the first of them.
    """
    reader = ConllReader(paths, columns, counts)
    yield from reader
    if reader.bad_lines():
        raise reader.error()


@dataclass
class _File:
    """The sentence being read, and the file it is in."""

    path: Path
    reader: ConllReader
    width: int = 0  # columns of the first token line
    has_tabs: bool = False  # whether that line has
    first_line: int = 0
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = self.reader.columns
        self.faults = FileFaults(self.path, self.columns)
        self.current = Width(0)  # what is known of lines as wide as the last one

    def is_document_mark(self, columns: list[str]) -> bool:
        """Return whether the word column or the first column (short marks stand alone on the line) is the mark."""
        return columns[0] == DOCUMENT_MARK or self._at(columns, self.columns.word) == DOCUMENT_MARK

    def is_comment(self, line: str, columns: list[str]) -> bool:
        """Return whether a line with `#` in front is a comment: no token line, and before a sentence's first token."""
        if self.tokens:
            return False
        if self._has_key(line, columns):
            return True
        tag = self._at(columns, self.columns.tag) or ""
        is_tag = self.columns.tag is None or canonical(tag, self.columns.notation) is not None
        alike = len(columns) == self.width and ("\t" in line) == self.has_tabs
        if STANDARD.fullmatch(tag) or (alike and (is_tag or self.has_tabs)):
            return False
        return _FREE_COMMENT.fullmatch(line) is not None

    def _has_key(self, line: str, columns: list[str]) -> bool:
        """Return whether a line has the form `# key = value`; a whole token line counts only with a known key."""
        if _KNOWN_COMMENT.fullmatch(line):
            return True
        tag = self._at(columns, self.columns.tag) or ""
        is_token = self.width in (0, len(columns)) and STANDARD.fullmatch(tag)
        return not is_token and _KEY_COMMENT.fullmatch(line) is not None

    def add(self, number: int, line: str, columns: list[str]) -> None:
        """Take one token line."""
        if "\r" in line:
            self._refuse(number, "a carriage return inside the line", "LF or CRLF line ends", "convert the line ends")
        if line[0] == "#" and self._has_key(line, columns):
            self.faults.inner_comment(number, line)
            return
        if not self.width:
            self.width, self.has_tabs = len(columns), "\t" in line
        if not self.reader.has_tabs and "\t" in line:
            self.reader.has_tabs = True
        if self.current.columns != len(columns):
            self.current = self.faults.width(len(columns))
        width = self.current
        width.add(number, line)
        if width.word is None or (width.tag is None and self.columns.tag is not None):
            return  # the file lacks a column, or the line is a bad one
        word = columns[width.word]
        if width.word:
            self.faults.index(number, line, columns[0])
        if not word:
            self.faults.empty_word(width, number, line)
            return
        if width.tag is not None:
            self._add_tag(width, number, columns[width.tag])
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
        """Return the sentence read so far, and start the next."""
        tags = None if self.columns.tag is None else tuple(self.tags)
        sentence = Sentence(tuple(self.tokens), tags, document, self.first_line, str(self.path))
        self.tokens, self.tags = [], []
        return sentence

    def _add_tag(self, width: Width, number: int, tag: str) -> None:
        known = self.reader.tags.get(tag) or self.reader.know(tag, self.path, number)
        width.tags[known.tag] += 1
        if known.canonical is None:
            self.faults.bad_tag(width, number, tag)
        self.tags.append(tag)

    def _at(self, columns: list[str], column: int | None) -> str | None:
        """Return the value of a column; None if there is no such column."""
        if column is None or not -len(columns) <= column < len(columns):
            return None
        return columns[column]

    def _refuse(self, line: int, found: str, expected: str, remedy: str) -> None:
        raise InputError(self.path, line, found, expected, remedy)
