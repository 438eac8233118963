"""A stored corpus: `sentences-00000.parquet`, `sentences-00001.parquet`, ... in one folder.

The same sentences give the same bytes: no time, path or machine is written into the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taglm_core.corpus.parquet_writer import SCHEMA, CorpusCounts, CorpusWriter
from taglm_core.corpus.schemes import Scheme, SchemeEvidence, SchemeViolation, to_bioes
from taglm_core.corpus.sentence import ReadCounts, Sentence, StoredSentence
from taglm_core.errors import DamagedObject, InputError

__all__ = [
    "SCHEMA",
    "CorpusCounts",
    "corpus_files",
    "count_sentences",
    "iter_batches",
    "load_sentences",
    "read_corpus",
    "write_corpus",
]

_BUFFER_TOKENS = 1_000_000  # so many tokens are held as Python strings at most


def write_corpus(
    sentences: Iterable[Sentence],
    out_dir: Path,
    *,
    scheme: Scheme | None,
    read: ReadCounts | None = None,
    sentences_per_file: int = 200_000,
    row_group: int = 50_000,
) -> CorpusCounts:
    """Writes sentences as Parquet, tags converted to BIOES; memory holds one row group.

    Args:
        sentences: all with tags or all without.
        out_dir: made if absent; corpus files that are there already are replaced.
        scheme: scheme of the tags, None for unlabelled text.
        read: the counts that the reader of `sentences` fills, taken over at the end.
        sentences_per_file: sentences in each file but the last.
        row_group: sentences in each Parquet row group.

    Raises:
        InputError: no sentence at all, or tags that the scheme forbids (with file and line).
        ValueError: a sentence with tags and no scheme, or the other way round.
    """
    read = ReadCounts() if read is None else read
    evidence = SchemeEvidence()
    with CorpusWriter(out_dir, sentences_per_file=sentences_per_file, row_group=row_group) as writer:
        buffer = _Buffer()
        for sentence in sentences:
            if (sentence.tags is None) != (scheme is None):
                raise ValueError(f"tags {sentence.tags is not None}, scheme {scheme}: both or neither must be given")
            tags = None
            if scheme is not None and sentence.tags is not None:
                tags = _convert(sentence, sentence.tags, scheme)
                if scheme is Scheme.IOB1:
                    evidence.add(sentence.tags, sentence.path, sentence.line)
            buffer.add(sentence, tags)
            if len(buffer.documents) == row_group or len(buffer.tokens) >= _BUFFER_TOKENS:
                writer.write(buffer.take())
        if buffer.documents:
            writer.write(buffer.take())
    boundaries = {name: number for name, number in evidence.counts.items() if name.startswith("b_after")}
    return writer.counts(read, boundaries if scheme is Scheme.IOB1 else {})


def _convert(sentence: Sentence, tags: tuple[str, ...], scheme: Scheme) -> tuple[str, ...]:
    try:
        return to_bioes(tags, scheme)
    except SchemeViolation as violation:
        raise InputError(
            sentence.path,
            sentence.line + violation.position,
            f"the tag {violation.tag!r}",
            violation.rule,
            "correct the tag, and write all splits in one tag scheme (IOB1, IOB2 or BIOES)",
        ) from violation


class _Buffer:
    """Sentences as flat lists, on their way to Arrow."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.documents: list[int] = []
        self.offsets: list[int] = [0]
        self.tokens: list[str] = []
        self.tags: list[str] = []
        self.source_tags: list[str] = []
        self.labelled = False

    def add(self, sentence: Sentence, tags: tuple[str, ...] | None) -> None:
        self.documents.append(sentence.document)
        self.tokens.extend(sentence.tokens)
        self.offsets.append(len(self.tokens))
        if tags is not None and sentence.tags is not None:
            self.labelled = True
            self.tags.extend(tags)
            self.source_tags.extend(sentence.tags)

    def take(self) -> pa.RecordBatch:
        """Gives what was added as a batch without sentence ids (the writer numbers), and empties the buffer."""
        offsets = pa.array(self.offsets, pa.int32())
        rows = len(self.documents)
        tags = source_tags = pa.nulls(rows, pa.list_(pa.string()))
        if self.labelled:
            tags, source_tags = (
                pa.ListArray.from_arrays(offsets, pa.array(values, pa.string()))
                for values in (self.tags, self.source_tags)
            )
        batch = pa.record_batch(
            [
                pa.nulls(rows, pa.int64()).fill_null(0),
                pa.array(self.documents, pa.int64()),
                pa.ListArray.from_arrays(offsets, pa.array(self.tokens, pa.string())),
                tags,
                source_tags,
            ],
            schema=SCHEMA,
        )
        self._clear()
        return batch


def corpus_files(corpus_dir: Path) -> list[Path]:
    """Gives the Parquet files of a corpus in order.

    Raises:
        DamagedObject: there is none.
    """
    files = sorted(corpus_dir.glob("sentences-*.parquet"))
    if not files:
        raise DamagedObject(f"{corpus_dir}: found no sentences-*.parquet, expected a stored corpus; run ingest again")
    return files


def iter_batches(
    corpus_dir: Path, columns: Sequence[str] | None = None, batch_size: int = 10_000
) -> Iterator[pa.RecordBatch]:
    """Yields a stored corpus in order, in batches of at most `batch_size` sentences.

    Args:
        corpus_dir: folder of a stored corpus.
        columns: names of `SCHEMA`, None for all.
        batch_size: sentences.

    Raises:
        DamagedObject: a file that is no such Parquet file.
    """
    for path in corpus_files(corpus_dir):
        try:
            with pq.ParquetFile(path) as file:
                names = None if columns is None else list(columns)
                yield from file.iter_batches(batch_size, columns=names, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise DamagedObject(
                f"{path}: found an unreadable file ({str(error).splitlines()[0]}), expected Parquet; run ingest again"
            ) from error


def count_sentences(corpus_dir: Path) -> int:
    """Gives the number of sentences from the files' footers alone."""
    return sum(pq.read_metadata(path).num_rows for path in corpus_files(corpus_dir))


def read_corpus(corpus_dir: Path, *, batch_size: int = 10_000) -> Iterator[StoredSentence]:
    """Yields the sentences of a stored corpus in order; memory holds one batch."""
    for batch in iter_batches(corpus_dir, SCHEMA.names, batch_size):
        columns = [batch.column(name).to_pylist() for name in SCHEMA.names]
        for sentence_id, document_id, tokens, tags, source_tags in zip(*columns, strict=True):
            yield StoredSentence(
                sentence_id,
                document_id,
                tuple(tokens),
                None if tags is None else tuple(tags),
                None if source_tags is None else tuple(source_tags),
            )


def load_sentences(corpus_dir: Path) -> list[tuple[tuple[str, ...], tuple[str, ...] | None]]:
    """Loads (tokens, BIOES tags) of all sentences of a corpus that fits in memory; tags None for unlabelled text."""
    return [(sentence.tokens, sentence.tags) for sentence in read_corpus(corpus_dir)]
