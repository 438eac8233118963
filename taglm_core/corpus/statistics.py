"""Statistics of stored corpora and of their overlap, by DuckDB over the Parquet files.

`unnest` stands in SELECT position throughout: as a table function DuckDB joins it and runs out of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from taglm_core.corpus.database import DatabaseLimits, open_database
from taglm_core.corpus.parquet import corpus_files

_QUANTILES = (0.5, 0.9, 0.99)

# A sentence as 16 bytes; tokens hold no spaces, so joining them loses nothing.
_FINGERPRINT = "md5_number(array_to_string(tokens, ' '))"

# One row an entity, from BIOES tags: an entity is the run of tags from its B or S on.
_MENTIONS = """
SELECT kind, string_agg(token, ' ' ORDER BY position) AS surface, count(*) AS length
FROM (
    SELECT *, sum((tag[1] IN ('B', 'S'))::INTEGER) OVER (PARTITION BY sentence_id ORDER BY position) AS number
    FROM (
        SELECT sentence_id, tag[3:] AS kind, tag, token, position
        FROM (
            SELECT sentence_id, unnest(tokens) AS token, unnest(tags) AS tag,
                   generate_subscripts(tokens, 1) AS position
            FROM read_parquet(?) WHERE tags IS NOT NULL
        )
        WHERE tag <> 'O'
    )
)
GROUP BY sentence_id, number, kind
"""


def corpus_statistics(corpus_dir: Path, limits: DatabaseLimits) -> dict[str, object]:
    """Describe a stored corpus.

    Args:
        corpus_dir: folder of a stored corpus.
        limits: resources of DuckDB.

    Returns:
        sentences, documents, tokens, types (distinct words), length (tokens a sentence: mean, quantiles, longest),
        duplicate_sentences (beyond the first of each), and for labelled corpora entities by type and entity_lengths
        (entities of 1, 2, ... tokens).
    """
    files = [str(path) for path in corpus_files(corpus_dir)]
    with open_database(limits) as database:
        sentences, documents, tokens, longest, quantiles, distinct = database.execute(
            "SELECT count(*), count(DISTINCT document_id), sum(len(tokens)), max(len(tokens)),"
            f" quantile_disc(len(tokens), {list(_QUANTILES)}), count(DISTINCT {_FINGERPRINT}) FROM read_parquet(?)",
            [files],
        ).fetchall()[0]
        types = database.execute(
            "SELECT count(*) FROM (SELECT DISTINCT word FROM (SELECT unnest(tokens) AS word FROM read_parquet(?)))",
            [files],
        ).fetchall()[0][0]
        mentions = database.execute(
            f"SELECT kind, length, count(*) FROM ({_MENTIONS}) GROUP BY ALL ORDER BY ALL", [files]
        ).fetchall()
    entities: dict[str, int] = {}
    entity_lengths: dict[int, int] = {}
    for kind, length, number in mentions:
        entities[kind] = entities.get(kind, 0) + number
        entity_lengths[length] = entity_lengths.get(length, 0) + number
    return {
        "sentences": sentences,
        "documents": documents,
        "tokens": tokens,
        "types": types,
        "length": {
            "mean": tokens / sentences,
            **{f"p{round(100 * q)}": value for q, value in zip(_QUANTILES, quantiles, strict=True)},
            "longest": longest,
        },
        "duplicate_sentences": sentences - distinct,
        "entities": entities,
        "entity_lengths": {str(length): entity_lengths[length] for length in sorted(entity_lengths)},
    }


def overlap(dirs: Mapping[str, Path], limits: DatabaseLimits) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Compute for each ordered pair of corpora how much of the one is also in the other.

    Args:
        dirs: folders of stored corpora by name.
        limits: resources of DuckDB.

    Returns:
        For A and B, at [A][B]: `sentences` of A that B has token by token and their `sentence_share` of A;
        `mentions` of entities (words and type) of A that B has and their `mention_share` of A;
        both None if A or B has no entity.
    """
    names = list(dirs)
    with open_database(limits) as database:
        for number, name in enumerate(names):
            files = [str(path) for path in corpus_files(dirs[name])]
            database.execute(
                f"CREATE TEMP TABLE sentences_{number} AS"
                f" SELECT {_FINGERPRINT} AS item, count(*) AS n FROM read_parquet(?) GROUP BY item",
                [files],
            )
            database.execute(
                f"CREATE TEMP TABLE mentions_{number} AS"
                f" SELECT kind || ' ' || surface AS item, count(*) AS n FROM ({_MENTIONS}) GROUP BY item",
                [files],
            )
        return {a: {b: _compare(database, i, j) for j, b in enumerate(names) if i != j} for i, a in enumerate(names)}


def _compare(database: duckdb.DuckDBPyConnection, i: int, j: int) -> dict[str, float | int | None]:
    result: dict[str, float | int | None] = {}
    for table, share in (("sentences", "sentence_share"), ("mentions", "mention_share")):
        seen, total, others = database.execute(
            f"SELECT coalesce(sum(n) FILTER (item IN (SELECT item FROM {table}_{j})), 0), coalesce(sum(n), 0),"
            f" (SELECT count(*) FROM {table}_{j}) FROM {table}_{i}"
        ).fetchall()[0]
        comparable = total and others  # unlabelled text has no entities to compare
        result[table] = int(seen) if comparable else None
        result[share] = int(seen) / int(total) if comparable else None
    return result
