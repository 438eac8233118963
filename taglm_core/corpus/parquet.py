"""A stored corpus: `sentences-00000.parquet`, `sentences-00001.parquet`, ... in one folder.

The same sentences give the same bytes: no time, path or machine is written into the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taglm_core.corpus.schemes import Scheme, SchemeEvidence, SchemeViolation, to_bioes
from taglm_core.corpus.sentence import ReadCounts, Sentence, StoredSentence
from taglm_core.errors import DamagedObject, InputError

SCHEMA = pa.schema(
    [
        pa.field("sentence_id", pa.int64(), nullable=False),
        pa.field("document_id", pa.int64(), nullable=False),
        pa.field("tokens", pa.list_(pa.string()), nullable=False),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("source_tags", pa.list_(pa.string())),
    ]
)
"""`tags` are BIOES, `source_tags` as in the file; both null for unlabelled text."""

_BUFFER_TOKENS = 1_000_000  # so many tokens are held as Python strings at most
_ROW_GROUP_BYTES = 256 * 2**20  # a row group of very long sentences is closed early


@dataclass(frozen=True)
class CorpusCounts:
    """What a corpus holds.

    Attributes:
        files: raw files read (0 for a corpus drawn from another).
        sentences: sentences.
        documents: documents that hold a sentence.
        document_marks: `-DOCSTART-` lines of the raw files.
        empty_lines: blank lines of the raw files.
        tokens: tokens.
        longest: tokens of the longest sentence.
        entities: entities by type, sorted by type; empty for unlabelled text.
        boundaries: for IOB1 sources, how often a B tag stood where the scheme needs none (`b_after_o`,
            `b_after_other_type`: accepted) and where it does (`b_after_same_type`).
    """

    files: int
    sentences: int
    documents: int
    document_marks: int
    empty_lines: int
    tokens: int
    longest: int
    entities: dict[str, int]
    boundaries: dict[str, int]

    def to_dict(self) -> dict[str, object]:
        """Gives the counts for JSON, with the sum of the entities."""
        return {**asdict(self), "entities_total": sum(self.entities.values())}


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


class CorpusWriter:
    """Writes batches of `SCHEMA` into files of a fixed number of sentences, numbering and counting them.

    Where files and row groups end depends on the sentences alone, not on how they came in batches.

    Args:
        out_dir: made if absent; corpus files that are there already are replaced.
        sentences_per_file: sentences in each file but the last.
        row_group: sentences in each row group.
    """

    def __init__(self, out_dir: Path, *, sentences_per_file: int, row_group: int) -> None:
        if sentences_per_file < 1 or row_group < 1:
            raise ValueError("sentences_per_file and row_group must be at least 1")
        self._out_dir, self._per_file, self._row_group = out_dir, sentences_per_file, row_group
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self._pending_bytes = 0
        self._file: pq.ParquetWriter | None = None
        self._files = 0
        self._rows_in_file = 0
        self._sentences = self._documents = self._tokens = self._longest = 0
        self._last_document: int | None = None
        self._entities: Counter[str] = Counter()
        out_dir.mkdir(parents=True, exist_ok=True)
        for left_over in out_dir.glob("sentences-*.parquet"):  # of an attempt that did not end
            left_over.unlink()

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            while self._pending_rows:
                self._write_row_group()
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Takes a batch; its sentence ids are replaced by the position in this corpus."""
        for start in range(0, batch.num_rows, self._row_group):
            part = batch.slice(start, self._row_group)
            self._pending.append(part)
            self._pending_rows += part.num_rows
            self._pending_bytes += part.nbytes
            while self._pending_rows >= self._row_group or self._pending_bytes > _ROW_GROUP_BYTES:
                self._write_row_group()

    def counts(self, read: ReadCounts, boundaries: dict[str, int]) -> CorpusCounts:
        """Gives the counts of all that was written.

        Raises:
            InputError: nothing was.
        """
        if not self._sentences:
            raise InputError(
                read.last_path or self._out_dir,
                None,
                f"no sentence ({read.files} files read, {read.empty_lines:,} empty lines)",
                "at least one sentence",
                "check that the configured files hold sentences in the configured format",
            )
        return CorpusCounts(
            files=read.files,
            sentences=self._sentences,
            documents=self._documents,
            document_marks=read.document_marks,
            empty_lines=read.empty_lines,
            tokens=self._tokens,
            longest=self._longest,
            entities=dict(sorted(self._entities.items())),
            boundaries=boundaries,
        )

    def _write_row_group(self) -> None:
        table = pa.Table.from_batches(self._pending, schema=SCHEMA)
        rows = min(self._row_group, table.num_rows, self._per_file - self._rows_in_file)
        rest = table.slice(rows)
        self._pending = rest.to_batches() if rest.num_rows else []
        self._pending_rows = rest.num_rows
        self._pending_bytes = sum(batch.nbytes for batch in self._pending)
        ids = pa.array(range(self._sentences, self._sentences + rows), pa.int64())
        group = table.slice(0, rows).set_column(0, SCHEMA.field("sentence_id"), ids).combine_chunks()
        self._count(group)
        if self._file is None:
            name = f"sentences-{self._files:05d}.parquet"
            self._file = pq.ParquetWriter(self._out_dir / name, SCHEMA, compression="zstd")
            self._files += 1
        self._file.write_table(group, row_group_size=rows)
        self._rows_in_file += rows
        if self._rows_in_file == self._per_file:
            self._file.close()
            self._file, self._rows_in_file = None, 0

    def _count(self, group: pa.Table) -> None:
        lengths = pc.list_value_length(group["tokens"])
        documents = group["document_id"].to_numpy()
        changes = int((documents[1:] != documents[:-1]).sum())
        self._documents += changes + (self._last_document != int(documents[0]))
        self._last_document = int(documents[-1])
        self._sentences += group.num_rows
        self._tokens += pc.sum(lengths).as_py()
        self._longest = max(self._longest, pc.max(lengths).as_py())
        for entry in pc.value_counts(pc.list_flatten(group["tags"])).to_pylist():
            if entry["values"][0] in "BS":
                self._entities[entry["values"][2:]] += entry["counts"]


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
