"""One sentence, as a reader yields it and as a stored corpus holds it."""

from __future__ import annotations

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
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None
    document: int
    line: int
    path: str = ""


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
        empty_texts: rows and documents without a text.
        last_path: the file read last, for messages.
        notes: peculiarities of a file, for people.
    """

    files: int = 0
    document_marks: int = 0
    empty_lines: int = 0
    comment_lines: int = 0
    empty_texts: int = 0
    last_path: str = ""
    notes: list[str] = field(default_factory=list)
