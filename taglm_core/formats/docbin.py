"""spaCy's DocBin: documents with tokens and entities, written by `DocBin.to_disk`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import InputError, MissingLibrary
from taglm_core.formats.offsets import GivenSpan
from taglm_core.formats.span_reader import AnnotatedText

_DAMAGED = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, EOFError, zlib.error,
            struct.error, AssertionError, RecursionError)  # fmt: skip


def read_docbin(paths: Sequence[Path], counts: ReadCounts) -> Iterator[AnnotatedText]:
    """Yield the documents of DocBin files; a record is a document, from 1.

    Tokens are those of the file. Tokens without annotation are counted, and so are spans outside of `doc.ents`.

    Raises:
        MissingLibrary: spaCy is not installed.
        InputError: not readable, or no DocBin.
    """
    try:
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab
    except ImportError:
        raise MissingLibrary(
            f"{paths[0]}: DocBin files are read by spaCy, which is not installed; install the extra with "
            '`pip install "taglm[spacy]"`, or export JSON lines'
        ) from None
    for path in paths:
        counts.files += 1
        counts.last_path = str(path)
        try:
            documents = list(DocBin().from_bytes(path.read_bytes()).get_docs(Vocab()))
        except OSError as error:
            raise InputError(path, None, f"an error while reading ({error.strerror})", "a readable file",
                             "check that you may read it") from error  # fmt: skip
        except _DAMAGED as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
            raise InputError(path, None, f"no readable DocBin ({reason})", "a file that spaCy's DocBin.to_disk wrote",
                             "write the file again, or set labelled.format") from error  # fmt: skip
        for number, document in enumerate(documents, start=1):
            yield _document(document, str(path), number, counts)


def _document(document: Any, path: str, number: int, counts: ReadCounts) -> AnnotatedText:
    missing = sum(token.ent_iob == 0 for token in document)
    others = sum(len(group) for group in document.spans.values())
    for name, count in (("tokens_without_annotation", missing), ("spans_outside_of_ents", others)):
        if count:
            counts.met[name] += count
    places = [(token.idx, token.idx + len(token)) for token in document]
    starts = [token.i for token in document if token.is_sent_start] if document.has_annotation("SENT_START") else None
    spans = [GivenSpan(((entity.start_char, entity.end_char),), entity.label_, number) for entity in document.ents]
    return AnnotatedText(document.text, spans, path, number, places, starts)
