"""Labelled files outside of an experiment, read as the ingest stage reads those of an experiment."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.conll_faults import Columns, Separator
from taglm_core.corpus.layout import Layout, find_layout
from taglm_core.corpus.parquet import read_corpus, write_corpus
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import ReadCounts


@dataclass(frozen=True, slots=True)
class LabelledSentences:
    """Labelled sentences, B in number.

    Attributes:
        tokens: tokens of each sentence.
        tags: tags of each sentence in BIOES.
        documents: document of each sentence.
        layout: how the files were read.
        notes: points that a person should check, a line each.
    """

    tokens: list[tuple[str, ...]]
    tags: list[tuple[str, ...]]
    documents: list[int]
    layout: Layout
    notes: tuple[str, ...]


def read_labelled(
    paths: Sequence[Path],
    *,
    word: int = 0,
    tag: int = -1,
    separator: Separator | None = None,
    scheme: Scheme | None = None,
) -> LabelledSentences:
    """Read labelled CoNLL files.

    Args:
        paths: the files.
        word: column of the word, from 0, or negative from the end.
        tag: column of the tag, likewise.
        separator: what separates columns; None finds out.
        scheme: the tag scheme; None finds out.

    Raises:
        InputError: the files hold no sentence, or lines that cannot be read.
    """
    found = find_layout(paths, word=word, tag=tag, separator=separator, scheme=scheme)
    layout, read = found.layout, ReadCounts()
    sentences = read_conll(paths, Columns(word, tag, layout.separator, layout.notation), counts=read)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        counts = write_corpus(sentences, folder, scheme=layout.scheme, notation=layout.notation, read=read)
        stored = list(read_corpus(folder))
    notes = [*found.remarks, *found.doubts, *read.notes]
    if counts.repaired_tags:
        first = "\n  ".join(counts.repairs[:3])
        notes.append(
            f"tags that break the scheme {layout.scheme.upper()}: {counts.repaired_tags:,}. They are read as conlleval "
            f"reads them. The first of them:\n  {first}"
        )
    return LabelledSentences(
        [sentence.tokens for sentence in stored],
        [sentence.tags or () for sentence in stored],
        [sentence.document_id for sentence in stored],
        layout,
        tuple(notes),
    )
