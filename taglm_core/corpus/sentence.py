"""One sentence, as a reader yields it and as a stored corpus holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a raw file.

    Attributes:
        tokens: the words as they stand in the file, never empty.
        tags: one tag a token as it stands in the file, or None for unlabelled text.
        document: number of the document, from 0 over all files read.
        line: 1-based number of the line where the sentence begins.
        path: the file, for messages.
        token_lines: line of each token; empty where a token is a line and the next token the next line.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None
    document: int
    line: int
    path: str = ""
    token_lines: tuple[int, ...] = field(default=(), compare=False)

    def line_of(self, position: int) -> int:
        """Return the line of a token."""
        return self.token_lines[position] if self.token_lines else self.line + position


@dataclass(frozen=True, slots=True)
class StoredSentence:
    """A sentence of a stored corpus.

    Attributes:
        sentence_id: its position in the corpus, from 0.
        document_id: number of its document.
        tokens: the words.
        tags: BIOES tags, or None for unlabelled text.
        source_tags: the tags as they stood in the file, or None for unlabelled text.
    """

    sentence_id: int
    document_id: int
    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None
    source_tags: tuple[str, ...] | None


def map_tokens(tokens: tuple[str, ...], token_map: Mapping[str, str]) -> tuple[str, ...]:
    """Write tokens as the language models' text does (`embedding.token_map`)."""
    return tuple(token_map.get(token, token) for token in tokens) if token_map else tokens


@dataclass
class ReadCounts:
    """Everything that a reader meets besides sentences; complete once the reader is consumed.

    Attributes:
        files: files read.
        document_marks: `-DOCSTART-` lines.
        empty_lines: lines of nothing but white space.
        comment_lines: lines that begin with `#` and hold no token.
        last_path: the file read last, for messages.
        notes: peculiarities of a file, for people.
        met: how often anything else was met, by name (`spans`, `spans_dropped_cut`, `rejected_records`, ...).
        oddities: the first spans that were changed or dropped, as `file:line: ...`.
    """

    files: int = 0
    document_marks: int = 0
    empty_lines: int = 0
    comment_lines: int = 0
    last_path: str = ""
    notes: list[str] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    oddities: list[str] = field(default_factory=list)
