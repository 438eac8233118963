"""Reader for unlabelled text: one pre-tokenised sentence a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from taglm_core.corpus.files import open_text
from taglm_core.corpus.sentence import ReadCounts, Sentence


def read_text(paths: Iterable[Path], *, counts: ReadCounts | None = None) -> Iterator[Sentence]:
    """Yield the sentences of text files, in order.

    Tokens are separated by white space of any kind (Unicode). A line without tokens ends a document and is never a
    sentence; so does the end of a file.

    Args:
        paths: files, read one after the other.
        counts: filled with what else was met.

    Raises:
        InputError: a file that cannot be read as UTF-8 lines.
    """
    counts = ReadCounts() if counts is None else counts
    document = -1
    for path in paths:
        counts.files += 1
        counts.last_path = str(path)
        name = str(path)
        document += 1
        in_document = False
        for number, line in open_text(path, counts):
            tokens = line.split()
            if tokens:
                in_document = True
                yield Sentence(tuple(tokens), None, document, number, name)
            else:
                counts.empty_lines += 1
                document += in_document
                in_document = False
