"""Draw a corpus from another one: a random part of it, or the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from taglm_core.corpus.hashing import mix64
from taglm_core.corpus.parquet import count_sentences, iter_batches
from taglm_core.corpus.parquet_writer import CorpusCounts, CorpusWriter
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import InputError


def split_corpus(
    source_dir: Path,
    out_dir: Path,
    *,
    seed: int,
    count: int | None,
    fraction: float | None,
    complement: bool,
    sentences_per_file: int = 200_000,
    row_group: int = 50_000,
) -> CorpusCounts:
    """Write a random draw of a stored corpus, or its complement, in the order of the source.

    Sentence ids are numbered anew, document ids kept. Draws by the same seed are nested: 100 sentences are among the
    first 200. Drawn are the sentences whose hash of (seed, position) is smallest, so no library's generator matters.

    Args:
        source_dir: folder of a stored corpus.
        out_dir: folder to write.
        seed: another seed, another draw.
        count: number of sentences to draw; either this or
        fraction: part of the sentences to draw, between 0 and 1, rounded to whole sentences.
        complement: write the sentences that were not drawn.
        sentences_per_file: sentences in each file but the last.
        row_group: sentences in each Parquet row group.

    Raises:
        InputError: more sentences are asked for than there are, or nothing would be written.
        ValueError: not exactly one of count and fraction is given, or the fraction is outside 0..1.
    """
    total = count_sentences(source_dir)
    drawn = _number_to_draw(total, count, fraction)
    written = total - drawn if complement else drawn
    if drawn > total or written == 0:
        raise InputError(
            source_dir,
            None,
            f"{total:,} sentences",
            f"enough to draw {drawn:,} of them" + (" and leave a rest" if complement else " (at least one)"),
            "set labelled.dev_sentences to a smaller number"
            if fraction is None
            else "set labelled.train_fraction to a larger share",
        )
    limit = np.partition(mix64(np.arange(total), seed), drawn - 1)[drawn - 1] if drawn else None
    position = 0
    with CorpusWriter(out_dir, sentences_per_file=sentences_per_file, row_group=row_group) as writer:
        for batch in iter_batches(source_dir, batch_size=row_group):
            ids = np.arange(position, position + batch.num_rows)
            position += batch.num_rows
            is_drawn = np.zeros(len(ids), bool) if limit is None else mix64(ids, seed) <= limit
            chosen = batch.filter(pa.array(is_drawn != complement))
            if chosen.num_rows:
                writer.write(chosen)
    return writer.counts(ReadCounts())


def _number_to_draw(total: int, count: int | None, fraction: float | None) -> int:
    if (count is None) == (fraction is None):
        raise ValueError("give either count or fraction")
    if count is not None:
        if count < 0:
            raise ValueError(f"count is {count}, must not be negative")
        return count
    assert fraction is not None
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}, must lie between 0 and 1")
    return round(fraction * total)
