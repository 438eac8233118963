"""Words of a text by frequency, and the choice of held-out sentences.

A sentence is held out by the hash of its normalised text, so duplicates fall on one side and neither the order nor
the growth of the text moves a sentence. Normalised: tokens joined by one space, A-Z lower-cased. Only A-Z, because
full lower-casing differs between Python, DuckDB and Arrow and between their Unicode versions, and this decision must
be the same everywhere and for ever.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taglm_core.corpus.database import DatabaseLimits, open_database
from taglm_core.corpus.hashing import UINT64_SPAN
from taglm_core.corpus.parquet import corpus_files
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.errors import InputError

WORDS_FILE = "words.parquet"
WORDS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int32(), nullable=False),
        pa.field("word", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)

_NORMALISED_SQL = f"translate(array_to_string(tokens, ' '), '{string.ascii_uppercase}', '{string.ascii_lowercase}')"


def is_heldout(normalised: bytes, fraction: float) -> bool:
    """Return whether a sentence is held out of training.

    Args:
        normalised: tokens joined by one space, A-Z lower-cased (`bytes.lower`), UTF-8.
        fraction: of all sentences, 0 <= fraction < 1.
    """
    digest = hashlib.md5(normalised, usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little") < _threshold(fraction)


def heldout_mask(texts: Iterable[str], fraction: float) -> np.ndarray:
    """Return for each sentence (tokens joined by one space) whether it is held out: [B] bool."""
    return np.fromiter((is_heldout(text.encode().lower(), fraction) for text in texts), dtype=bool)


def heldout_sql(fraction: float) -> str:
    """Return the same decision as an SQL condition over a column `tokens` of lists of strings."""
    return f"(md5_number_lower({_NORMALISED_SQL})::HUGEINT < {_threshold(fraction)}::HUGEINT)"


def _threshold(fraction: float) -> int:
    if not 0 <= fraction < 1:
        raise ValueError(f"held-out fraction is {fraction}, must be at least 0 and below 1")
    return int(fraction * UINT64_SPAN)


def count_words(
    corpus_dir: Path,
    out_file: Path,
    limits: DatabaseLimits,
    *,
    heldout_fraction: float,
    min_count: int,
) -> dict[str, int]:
    """Write the words of the training part of a corpus: `BOUNDARY`, then by (count descending, UTF-8 bytes).

    Args:
        corpus_dir: folder of a stored corpus.
        out_file: Parquet file of `WORDS_SCHEMA`; the id is the row. The boundary's count is the number of training
            sentences, because it is predicted once in each.
        heldout_fraction: part of the sentences whose words are not counted.
        min_count: rarer words are left out.
        limits: resources of DuckDB.

    Returns:
        sentences and tokens of both parts, distinct words of the training part, words written, tokens they cover.

    Raises:
        InputError: every sentence is held out.
    """
    files = [str(path) for path in corpus_files(corpus_dir)]
    with open_database(limits) as database:
        sentences, tokens = database.execute(
            "SELECT count(*), sum(len(tokens)) FROM read_parquet(?)", [files]
        ).fetchall()[0]
        # A boundary appended to each sentence counts the training sentences among the words. The condition stays in
        # WHERE: beside unnest, DuckDB would compute it once a token (measured: 25 times slower).
        database.execute(
            "CREATE TEMP TABLE words AS SELECT word, count(*) AS n FROM"
            f" (SELECT unnest(list_append(tokens, '{BOUNDARY}')) AS word FROM read_parquet(?)"
            f"  WHERE NOT {heldout_sql(heldout_fraction)}) GROUP BY word",
            [files],
        )
        train_sentences, train_tokens, distinct = database.execute(
            "SELECT coalesce(max(n) FILTER (word = $1), 0), coalesce(sum(n) FILTER (word <> $1), 0),"
            " count(*) FILTER (word <> $1) FROM words",
            [BOUNDARY],
        ).fetchall()[0]
        if not train_sentences:
            raise InputError(
                corpus_dir,
                None,
                f"no training sentence ({sentences:,} sentences, all held out)",
                "text to train on",
                "lower the held-out fraction or add text",
            )
        reader = database.sql(
            "SELECT word, n FROM words WHERE n >= $1 AND word <> $2 ORDER BY n DESC, word",
            params=[min_count, BOUNDARY],
        ).to_arrow_reader(100_000)
        written, covered = _write_words(out_file, train_sentences, reader)
    return {
        "train_sentences": train_sentences,
        "heldout_sentences": sentences - train_sentences,
        "train_tokens": train_tokens,
        "heldout_tokens": tokens - train_tokens,
        "distinct_words": distinct,
        "words": written,
        "covered_tokens": covered,
    }


def read_words(words_file: Path) -> pa.Table:
    """Read a words file: columns id, word, count, with `BOUNDARY` in row 0."""
    return pq.read_table(words_file, schema=WORDS_SCHEMA)


def _write_words(out_file: Path, boundaries: int, reader: Iterable[pa.RecordBatch]) -> tuple[int, int]:
    """Write the boundary and the batches (word, n) with ids; return the number of words and of their tokens."""
    out_file.parent.mkdir(parents=True, exist_ok=True)
    written = covered = 0
    with pq.ParquetWriter(out_file, WORDS_SCHEMA, compression="zstd") as writer:
        first = pa.table([[0], [BOUNDARY], [boundaries]], schema=WORDS_SCHEMA)
        pending = [first]
        for batch in reader:
            ids = np.arange(written + 1, written + 1 + batch.num_rows, dtype=np.int32)
            counts = batch.column(1).cast(pa.int64())
            pending.append(pa.table([pa.array(ids), batch.column(0), counts], schema=WORDS_SCHEMA))
            written += batch.num_rows
            covered += int(counts.to_numpy().sum())
        # In one piece, because how DuckDB cuts its batches must not decide the bytes.
        writer.write_table(pa.concat_tables(pending).combine_chunks(), row_group_size=100_000)
    return written, covered
