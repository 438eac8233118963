"""A stored corpus: `sentences-00000.parquet`, `sentences-00001.parquet`, ... in one folder.

The same sentences give the same bytes: no time, path or machine is written into the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taglm_core.corpus.bad_lines import MAX_NAMED, BadLine, error_of
from taglm_core.corpus.notation import Notation, canonical
from taglm_core.corpus.parquet_writer import SCHEMA, CorpusCounts, CorpusWriter
from taglm_core.corpus.scheme_evidence import SchemeEvidence
from taglm_core.corpus.schemes import Scheme, to_bioes, violations
from taglm_core.corpus.sentence import ReadCounts, Sentence, StoredSentence
from taglm_core.errors import DamagedObject

__all__ = [
    "SCHEMA",
    "CorpusCounts",
    "corpus_files",
    "count_sentences",
    "iter_batches",
    "load_sentences",
    "read_corpus",
    "write_corpus",
    "write_text_batches",
]

_BUFFER_TOKENS = 1_000_000  # most tokens held as Python strings


def write_corpus(
    sentences: Iterable[Sentence],
    out_dir: Path,
    *,
    scheme: Scheme | None,
    notation: Notation = Notation.PREFIX,
    strict: bool = False,
    read: ReadCounts | None = None,
    sentences_per_file: int = 200_000,
    row_group: int = 50_000,
) -> CorpusCounts:
    """Write sentences as Parquet, tags converted to BIOES; memory holds one row group.

    Tags that break their scheme are read as conlleval reads them, and counted.

    Args:
        sentences: all with tags or all without.
        out_dir: made if absent; corpus files that are there already are replaced.
        scheme: scheme of the tags, None for unlabelled text.
        notation: how the tags are written.
        strict: refuse tags that break their scheme.
        read: the counts that the reader of `sentences` fills, taken over at the end.
        sentences_per_file: sentences in each file but the last.
        row_group: sentences in each Parquet row group.

    Raises:
        InputError: there is no sentence; or, with `strict`, tags break the scheme (the error names the first ones).
        ValueError: a sentence has tags without a scheme, or the other way round.
    """
    read = ReadCounts() if read is None else read
    tagging = None if scheme is None else _Tagging(scheme, notation)
    with CorpusWriter(out_dir, sentences_per_file=sentences_per_file, row_group=row_group) as writer:
        buffer = _Buffer()
        for sentence in sentences:
            if (sentence.tags is None) != (tagging is None):
                raise ValueError(f"tags {sentence.tags is not None}, scheme {scheme}: both or neither must be given")
            buffer.add(sentence, None if tagging is None else tagging.convert(sentence))
            if len(buffer.documents) == row_group or len(buffer.tokens) >= _BUFFER_TOKENS:
                writer.write(buffer.take())
        if buffer.documents:
            writer.write(buffer.take())
    if tagging is None:
        return writer.counts(read)
    if strict and tagging.broken:
        raise error_of(tagging.first, tagging.broken)
    return writer.counts(read, tagging.boundaries(), tagging.broken, [str(line) for line in tagging.first])


def write_text_batches(
    batches: Iterable[pa.RecordBatch],
    out_dir: Path,
    *,
    read: ReadCounts,
    sentences_per_file: int = 200_000,
    row_group: int = 50_000,
) -> CorpusCounts:
    """Write batches of sentences without tags, with the columns `document_id` and `tokens`; else as `write_corpus`."""
    with CorpusWriter(out_dir, sentences_per_file=sentences_per_file, row_group=row_group) as writer:
        for batch in batches:
            ids, nothing = pa.repeat(0, batch.num_rows), pa.nulls(batch.num_rows, pa.list_(pa.string()))
            columns = [ids.cast(pa.int64()), batch["document_id"], batch["tokens"], nothing, nothing]
            writer.write(pa.record_batch(columns, schema=SCHEMA))
    return writer.counts(read)


class _Tagging:
    """Conversion of tags to BIOES, with a count of tags that break their scheme."""

    def __init__(self, scheme: Scheme, notation: Notation) -> None:
        self._scheme, self._notation = scheme, notation
        self._evidence = SchemeEvidence()
        self.broken = 0
        self.first: list[BadLine] = []

    def convert(self, sentence: Sentence) -> tuple[str, ...]:
        source = sentence.tags or ()
        tags = [canonical(tag, self._notation) or "O" for tag in source]
        if self._scheme is Scheme.IOB1:
            self._evidence.add(tags, sentence)
        for position, _, rule in violations(tags, self._scheme):
            self.broken += 1
            if len(self.first) < MAX_NAMED:
                line, found = sentence.line_of(position), f"the tag {source[position]!r}"
                remedy = "correct the tag, or set labelled.strict: false to read it as conlleval does"
                self.first.append(BadLine(sentence.path, line, found, rule, remedy))
        return to_bioes(tags)

    def boundaries(self) -> dict[str, int]:
        """Count where a B tag stood, in IOB1."""
        if self._scheme is not Scheme.IOB1:
            return {}
        return {name: number for name, number in self._evidence.counts.items() if name.startswith("b_after")}


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
        """Return what was added as a batch without sentence ids (the writer numbers), and empty the buffer."""
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
    """Return the Parquet files of a corpus in order.

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
    """Yield a stored corpus in order, in batches of at most `batch_size` sentences.

    Args:
        corpus_dir: folder of a stored corpus.
        columns: names of `SCHEMA`, None for all.
        batch_size: sentences.

    Raises:
        DamagedObject: a file is not a Parquet file of a corpus.
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
    """Return the number of sentences from the files' footers alone."""
    return sum(pq.read_metadata(path).num_rows for path in corpus_files(corpus_dir))


def read_corpus(corpus_dir: Path, *, batch_size: int = 10_000) -> Iterator[StoredSentence]:
    """Yield the sentences of a stored corpus in order; memory holds one batch."""
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
    """Load (tokens, BIOES tags) of all sentences of a corpus that fits in memory; tags None for unlabelled text."""
    return [(sentence.tokens, sentence.tags) for sentence in read_corpus(corpus_dir)]
