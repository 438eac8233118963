"""Where taggers err: seen and new entities, known and unknown words, length, kinds of mistakes. SQL over predictions.

Spans are read by conlleval's rules from tags mapped to IOB2, as everywhere. *Seen* and *known* refer to the whole
training split, whatever words a tagger's vocabulary leaves out. A correct span has the same words on both sides, so
each stratum has a precision, a recall and an F1 of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from taglm_core.corpus.database import DatabaseLimits, open_database
from taglm_core.errors import MismatchError
from taglm_core.evaluation.spans import Counts

STRATA: Mapping[str, tuple[str, ...]] = {
    "entity": ("seen in training", "seen as another type", "new, of known words", "new, with an unknown word"),
    "length": ("1 token", "2 tokens", "3 tokens", "4 tokens and more"),
}
"""Strata by group, in the order of reports."""

OUTCOMES = ("correct", "wrong type", "wrong boundaries", "wrong type and boundaries", "missed", "spurious")
"""Outcomes of a gold span, and *spurious*: a predicted span that overlaps no gold span.

A predicted span has no outcome if another prediction fits the gold span that it overlaps better; the strata count it.
"""

WORDS = ("all tokens, known", "all tokens, unknown", "entity tokens, known", "entity tokens, unknown")
"""Kinds of tokens: whether the training split has the word, whether it is part of a gold entity."""


class TokenCounts(NamedTuple):
    """Tokens, and those whose tag (mapped to IOB2) is right."""

    tokens: int
    correct: int


class Mistake(NamedTuple):
    """A mistake and how often it was made, all seeds together; None where a side has no span.

    Attributes:
        outcome: one of `OUTCOMES`.
        gold: words of the gold span.
        gold_type: its type.
        predicted: words of the predicted span that overlaps it (the first one).
        predicted_type: its type.
        times: how often.
    """

    outcome: str
    gold: str | None
    gold_type: str | None
    predicted: str | None
    predicted_type: str | None
    times: int


@dataclass(frozen=True)
class VariantErrors:
    """One variant's errors; every tuple has an entry per seed.

    Attributes:
        strata: gold, predicted and correct spans by group and stratum (`STRATA`).
        outcomes: number of spans by outcome (`OUTCOMES`).
        words: tokens by kind (`WORDS`).
        confusions: spans of one type taken for another, boundaries right or not, by `"gold > predicted"`.
        mistakes: the most frequent ones of each outcome; empty unless asked for.
    """

    strata: Mapping[str, Mapping[str, tuple[Counts, ...]]]
    outcomes: Mapping[str, tuple[int, ...]]
    words: Mapping[str, tuple[TokenCounts, ...]]
    confusions: Mapping[str, tuple[int, ...]]
    mistakes: tuple[Mistake, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VariantErrors:
        """Restore what `to_dict` returned, also after a trip through a JSON file."""
        return cls(
            {
                group: {name: tuple(Counts(*seed) for seed in seeds) for name, seeds in strata.items()}
                for group, strata in data["strata"].items()
            },
            {name: tuple(seeds) for name, seeds in data["outcomes"].items()},
            {name: tuple(TokenCounts(*seed) for seed in seeds) for name, seeds in data["words"].items()},
            {name: tuple(seeds) for name, seeds in data["confusions"].items()},
            tuple(Mistake(*mistake) for mistake in data["mistakes"]),
        )


def analyse_errors(
    predictions: Mapping[str, Sequence[Path]],
    train: Sequence[Path],
    limits: DatabaseLimits,
    *,
    mistakes: int = 0,
) -> dict[str, VariantErrors]:
    """Analyse the errors of each variant.

    Args:
        predictions: ``predictions.parquet`` of each seed, by variant.
        train: Parquet files of the training data of the taggers: the training split, or that and dev. Without any,
            no word is known and no entity seen.
        limits: resources of DuckDB.
        mistakes: number of mistakes of each outcome to name, the most frequent first.

    Raises:
        MismatchError: the training split has no tags.
    """
    with open_database(limits) as database:
        database.execute(_MACROS)
        _read_train(database, [str(path) for path in train])
        database.execute("CREATE TEMP TABLE known_words AS SELECT DISTINCT word FROM token")
        database.execute(_SPANS.format(table="train_span", word_known="true"))
        database.execute("CREATE TEMP TABLE seen AS SELECT DISTINCT type, words FROM train_span")
        database.execute("CREATE TEMP TABLE seen_words AS SELECT DISTINCT words FROM seen")
        return {variant: _variant(database, paths, mistakes) for variant, paths in predictions.items()}


# A span is a run of tokens; `begins` is conlleval's rule on IOB2: at B, and at I after O or another type.
_MACROS = """
CREATE MACRO to_iob2(tag) AS translate(tag[1], 'ES', 'IB') || tag[2:];
"""

_READ = """
SELECT '{side}' AS side, {sentence} AS sentence_id, position, word, to_iob2(tag) AS tag
FROM (
    SELECT filename, sentence_id, unnest(tokens) AS word, unnest({side}) AS tag,
           generate_subscripts(tokens, 1) AS position
    FROM read_parquet($files, filename = true)
)
"""
# Each corpus numbers its sentences from 0.
_READ_TRAIN = f"CREATE TEMP TABLE token AS {_READ.format(side='tags', sentence='(filename, sentence_id)')}"
_NO_TRAIN = """
CREATE TEMP TABLE token (side VARCHAR, sentence_id BIGINT, position BIGINT, word VARCHAR, tag VARCHAR)
"""
_READ_BOTH = (
    f"CREATE OR REPLACE TEMP TABLE token AS {_READ.format(side='gold', sentence='sentence_id')}"
    f" UNION ALL {_READ.format(side='predicted', sentence='sentence_id')}"
)

_SPANS = """
CREATE OR REPLACE TEMP TABLE {table} AS
SELECT side, sentence_id, any_value(type) AS type, min(position) AS first, max(position) AS last, count(*) AS length,
       string_agg(word, ' ' ORDER BY position) AS words, bool_and({word_known}) AS known
FROM (
    SELECT *, sum(begins::INTEGER) OVER sentence AS number
    FROM (
        SELECT *, tag[3:] AS type,
               tag <> 'O' AND (tag[1] = 'B' OR lag(tag[3:], 1, '') OVER sentence <> tag[3:]) AS begins
        FROM token
        WINDOW sentence AS (PARTITION BY side, sentence_id ORDER BY position)
    )
    WINDOW sentence AS (PARTITION BY side, sentence_id ORDER BY position)
)
WHERE tag <> 'O'
GROUP BY side, sentence_id, number
"""

# Each side has a span at most once: two with the same boundaries and type are a hit.
_JUDGED = f"""
CREATE OR REPLACE TEMP TABLE judged AS
SELECT *, count(*) OVER (PARTITION BY sentence_id, first, last, type) = 2 AS correct,
       CASE WHEN (type, words) IN (SELECT (type, words) FROM seen) THEN '{STRATA["entity"][0]}'
            WHEN words IN (FROM seen_words) THEN '{STRATA["entity"][1]}'
            WHEN known THEN '{STRATA["entity"][2]}' ELSE '{STRATA["entity"][3]}' END AS entity,
       CASE length WHEN 1 THEN '{STRATA["length"][0]}' WHEN 2 THEN '{STRATA["length"][1]}'
                   WHEN 3 THEN '{STRATA["length"][2]}' ELSE '{STRATA["length"][3]}' END AS length_class
FROM span
"""

_STRATA = """
SELECT {column}, count(*) FILTER (side = 'gold'), count(*) FILTER (side = 'predicted'),
       count(*) FILTER (side = 'gold' AND correct)
FROM judged GROUP BY {column}
"""

# One row a gold span with the best of what overlaps it (the right type before others, then the first), and one a
# predicted span that overlaps none.
_OUTCOMES = """
CREATE OR REPLACE TEMP TABLE outcome AS
WITH gold AS (SELECT * FROM judged WHERE side = 'gold'), predicted AS (SELECT * FROM judged WHERE side = 'predicted')
SELECT CASE WHEN gold.correct THEN 'correct'
            WHEN predicted.words IS NULL THEN 'missed'
            WHEN predicted.first = gold.first AND predicted.last = gold.last THEN 'wrong type'
            WHEN predicted.type = gold.type THEN 'wrong boundaries' ELSE 'wrong type and boundaries' END AS outcome,
       gold.words AS gold, gold.type AS gold_type, predicted.words AS predicted, predicted.type AS predicted_type
FROM gold LEFT JOIN predicted ON predicted.sentence_id = gold.sentence_id
     AND predicted.first <= gold.last AND predicted.last >= gold.first
QUALIFY row_number() OVER (PARTITION BY gold.sentence_id, gold.first
    ORDER BY predicted.first = gold.first AND predicted.last = gold.last DESC, predicted.type = gold.type DESC,
             predicted.first) = 1
UNION ALL
SELECT 'spurious', NULL, NULL, words, type
FROM predicted ANTI JOIN gold ON predicted.sentence_id = gold.sentence_id
     AND predicted.first <= gold.last AND predicted.last >= gold.first
"""

_CONFUSIONS = """
SELECT gold_type || ' > ' || predicted_type, count(*) FROM outcome
WHERE outcome IN ('wrong type', 'wrong type and boundaries') GROUP BY ALL
"""

_WORDS = """
SELECT CASE WHEN word IN (FROM known_words) THEN 'known' ELSE 'unknown' END AS word, gold.tag <> 'O' AS entity,
       count(*), count(*) FILTER (gold.tag = predicted.tag)
FROM (FROM token WHERE side = 'gold') AS gold
     JOIN (SELECT sentence_id, position, tag FROM token WHERE side = 'predicted') AS predicted
     USING (sentence_id, position)
GROUP BY ALL
"""

_MISTAKES = """
SELECT * FROM (
    SELECT outcome, gold, gold_type, predicted, predicted_type, count(*) AS times FROM mistake GROUP BY ALL
)
QUALIFY row_number() OVER (PARTITION BY outcome ORDER BY times DESC, gold, gold_type, predicted, predicted_type) <= ?
ORDER BY outcome, times DESC, gold, gold_type, predicted, predicted_type
"""


def _read_train(database: duckdb.DuckDBPyConnection, files: list[str]) -> None:
    if not files:
        database.execute(_NO_TRAIN)
        return
    untagged = database.execute("SELECT count(*) FROM read_parquet(?) WHERE tags IS NULL", [files]).fetchall()
    if untagged[0][0]:
        raise MismatchError("error analysis: found training sentences without tags; expected the tagger's split")
    database.execute(_READ_TRAIN, {"files": files})


def _variant(database: duckdb.DuckDBPyConnection, paths: Sequence[Path], mistakes: int) -> VariantErrors:
    found = []
    for number, path in enumerate(paths):
        found.append(_seed(database, path))
        new = "INSERT INTO mistake" if number else "CREATE OR REPLACE TEMP TABLE mistake AS"
        database.execute(f"{new} SELECT * FROM outcome WHERE outcome <> 'correct'")
    named = database.execute(_MISTAKES, [mistakes]).fetchall() if mistakes else []
    confused = {name for seed in found for name in seed.confusions}
    order = {outcome: index for index, outcome in enumerate(OUTCOMES)}
    return VariantErrors(
        {
            group: {name: tuple(seed.strata[name] for seed in found) for name in names}
            for group, names in STRATA.items()
        },
        {name: tuple(seed.outcomes[name] for seed in found) for name in OUTCOMES},
        {name: tuple(seed.words[name] for seed in found) for name in WORDS},
        {name: tuple(seed.confusions.get(name, 0) for seed in found) for name in sorted(confused)},
        tuple(sorted((Mistake(*row) for row in named), key=lambda mistake: order[mistake.outcome])),
    )


class _Seed(NamedTuple):
    """Errors of one tagger: strata of all groups, outcomes, words, confused types, by name."""

    strata: dict[str, Counts]
    outcomes: dict[str, int]
    words: dict[str, TokenCounts]
    confusions: dict[str, int]


def _seed(database: duckdb.DuckDBPyConnection, path: Path) -> _Seed:
    database.execute(_READ_BOTH, {"files": [str(path)]})
    database.execute(_SPANS.format(table="span", word_known="word IN (FROM known_words)"))
    database.execute(_JUDGED)
    database.execute(_OUTCOMES)
    strata = {name: Counts(0, 0, 0) for names in STRATA.values() for name in names}
    for column in ("entity", "length_class"):
        for name, *counts in database.execute(_STRATA.format(column=column)).fetchall():
            strata[name] = Counts(*counts)
    outcomes = dict.fromkeys(OUTCOMES, 0)
    outcomes |= dict(database.execute("SELECT outcome, count(*) FROM outcome GROUP BY outcome").fetchall())
    confusions = dict(database.execute(_CONFUSIONS).fetchall())
    return _Seed(strata, outcomes, _words(database.execute(_WORDS).fetchall()), confusions)


def _words(rows: Iterable[tuple[str, bool, int, int]]) -> dict[str, TokenCounts]:
    found = dict.fromkeys(WORDS, TokenCounts(0, 0))
    for word, entity, tokens, correct in rows:
        for which in ("all", "entity") if entity else ("all",):
            name = f"{which} tokens, {word}"
            found[name] = TokenCounts(found[name].tokens + tokens, found[name].correct + correct)
    return found
