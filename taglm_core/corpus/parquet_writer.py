"""Writing Arrow batches as the files of a stored corpus, numbered and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import InputError

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

_ROW_GROUP_BYTES = 256 * 2**20  # a row group of very long sentences is closed early


_WHERE_ANY = ("comment_lines", "repaired_tags", "repairs", "empty_texts")


@dataclass(frozen=True)
class CorpusCounts:
    """Counts of a corpus.

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
        comment_lines: lines of the raw files that begin with `#` and hold no token.
        repaired_tags: tags that break their scheme and were read as conlleval reads them.
        repairs: the first of them, as `file:line: found ...; expected ...`.
        empty_texts: rows of the raw files without a text.
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
    comment_lines: int = 0
    repaired_tags: int = 0
    repairs: tuple[str, ...] = ()
    empty_texts: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return the counts for JSON, with the sum of the entities; comments and repairs only where there are any."""
        data = {**asdict(self), "entities_total": sum(self.entities.values())}
        return {name: value for name, value in data.items() if value or name not in _WHERE_ANY}


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
        """Write a batch; its sentence ids become the position in this corpus."""
        for start in range(0, batch.num_rows, self._row_group):
            part = batch.slice(start, self._row_group)
            self._pending.append(part)
            self._pending_rows += part.num_rows
            self._pending_bytes += part.nbytes
            while self._pending_rows >= self._row_group or self._pending_bytes > _ROW_GROUP_BYTES:
                self._write_row_group()

    def counts(
        self, read: ReadCounts, boundaries: dict[str, int] | None = None, repaired: int = 0, repairs: Sequence[str] = ()
    ) -> CorpusCounts:
        """Return the counts of all that was written.

        Args:
            read: counts of the reader.
            boundaries: as in `CorpusCounts`; so are the others.
            repaired: `repaired_tags`.
            repairs: the first of them.

        Raises:
            InputError: nothing was.
        """
        if not self._sentences:
            raise InputError(
                read.last_path or self._out_dir,
                None,
                f"no sentence (files read: {read.files}, empty lines: {read.empty_lines:,})",
                "at least one sentence",
                "give files that hold sentences",
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
            boundaries=boundaries or {},
            comment_lines=read.comment_lines,
            repaired_tags=repaired,
            repairs=tuple(repairs),
            empty_texts=read.empty_texts,
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
