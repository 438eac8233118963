"""The predictions of one tagger on one corpus split: ``predictions.parquet`` and conlleval's text format.

Columns, one row per sentence in corpus order: ``sentence_id`` int64, ``tokens``, ``gold`` and ``predicted``
list<string> (BIOES), ``confidence`` list<float32>, null where the tagger gives none, and ``span_confidence``
list<float32>, one for each predicted span in the order of ``conlleval_spans``, null likewise. The same predictions give
the same bytes for the same pyarrow version: an evaluation's digest is the digest of what was predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taglm_core.errors import InputError, MismatchError
from taglm_core.evaluation.spans import bioes_to_iob2, conlleval_spans

_SCHEMA = pa.schema(
    [
        pa.field("sentence_id", pa.int64(), nullable=False),
        pa.field("tokens", pa.list_(pa.string()), nullable=False),
        pa.field("gold", pa.list_(pa.string()), nullable=False),
        pa.field("predicted", pa.list_(pa.string()), nullable=False),
        pa.field("confidence", pa.list_(pa.float32()), nullable=True),
        pa.field("span_confidence", pa.list_(pa.float32()), nullable=True),
    ]
)
_SENTENCES_PER_ROW_GROUP = 50_000
CONLLEVAL_BOUNDARY = "-X-"
"""What the original conlleval takes in the first column for the end of a sentence."""

Strings = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Predictions:
    """Tokens, gold and predicted tags (BIOES) of every sentence, [B] lists of [T].

    Attributes:
        sentence_ids: the corpus's number of each sentence.
        tokens: as in the corpus.
        gold: the corpus's tags.
        predicted: the tagger's tags.
        confidence: per token between 0 and 1, None for a sentence without; None where there is none at all.
        span_confidence: per predicted span, likewise.

    Raises:
        MismatchError: the lists differ in length, or a sentence's tokens and tags do.
    """

    sentence_ids: Sequence[int]
    tokens: Strings
    gold: Strings
    predicted: Strings
    confidence: Sequence[Sequence[float] | None] | None = None
    span_confidence: Sequence[Sequence[float] | None] | None = None

    def __post_init__(self) -> None:
        columns: dict[str, Sequence[Sequence[object] | None]] = {"gold": self.gold, "predicted": self.predicted}
        if self.confidence is not None:
            columns["confidence"] = self.confidence
        whole = {"tokens": self.tokens, **columns}
        if self.span_confidence is not None:
            whole["span_confidence"] = self.span_confidence
        for name, column in whole.items():
            if len(column) != len(self.sentence_ids):
                raise MismatchError(
                    f"predictions: found {name} of {len(column)} sentences; expected {len(self.sentence_ids)}, one per "
                    "sentence id; tag the whole split again"
                )
        for name, column in columns.items():
            for sentence_id, tokens, values in zip(self.sentence_ids, self.tokens, column, strict=True):
                if values is not None and len(values) != len(tokens):
                    raise MismatchError(
                        f"predictions, sentence {sentence_id}: found {len(values)} {name} values; expected "
                        f"{len(tokens)}, one per token; evaluation data is never cut or re-tokenised: tag it again"
                    )
        for sentence_id, tags, values in zip(
            self.sentence_ids, self.predicted, self.span_confidence or (), strict=False
        ):
            spans = conlleval_spans(tags)
            if values is not None and len(values) != len(spans):
                raise MismatchError(
                    f"predictions, sentence {sentence_id}: found {len(values)} span_confidence values; expected "
                    f"{len(spans)}, one per predicted span; tag it again"
                )


def check_same_tokens(expected: Strings, found: Strings, sentence_ids: Sequence[int] | None = None) -> None:
    """Assert that gold tokens in are predicted tokens out, sentence by sentence.

    Args:
        expected: the corpus's tokens.
        found: the tokens that were tagged.
        sentence_ids: the corpus's numbers for the message; counted from 0 where absent.

    Raises:
        MismatchError: naming the first sentence and token that differ.
    """
    if len(expected) != len(found):
        raise MismatchError(
            f"found predictions for {len(found)} sentences; expected {len(expected)}, all of the corpus; "
            "tag the whole split again"
        )
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        if list(one) != list(other):
            where = number if sentence_ids is None else sentence_ids[number]
            position = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
            if position is None:
                what = f"found {len(other)} tokens; expected {len(one)}"
            else:
                what = f"token {position}: found {other[position]!r}; expected {one[position]!r}"
            raise MismatchError(
                f"predictions, sentence {where}, {what}; they belong to another corpus or to another version of "
                "this one: evaluate again with the corpus that was tagged"
            )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write ``predictions.parquet``; the same predictions give the same bytes."""
    B = len(predictions.sentence_ids)
    columns = [
        pa.array(predictions.sentence_ids, type=pa.int64()),
        *(
            pa.array(column, type=pa.list_(pa.string()))
            for column in (predictions.tokens, predictions.gold, predictions.predicted)
        ),
        *(
            pa.array(column or [None] * B, type=pa.list_(pa.float32()))
            for column in (predictions.confidence, predictions.span_confidence)
        ),
    ]
    table = pa.Table.from_arrays(columns, schema=_SCHEMA)
    pq.write_table(table, path, compression="zstd", row_group_size=_SENTENCES_PER_ROW_GROUP)


def read_predictions(path: Path) -> Predictions:
    """Read what ``write_predictions`` wrote.

    Raises:
        InputError: it is no Parquet file or has other columns.
    """
    remedy = "evaluate the tagger again"
    try:
        table = pq.read_table(path, partitioning=None)
    except pa.ArrowInvalid as error:
        raise InputError(path, None, f"no readable Parquet ({error})", "predictions.parquet", remedy) from error
    if not table.schema.equals(_SCHEMA):
        found = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        expected = ", ".join(f"{field.name} {field.type}" for field in _SCHEMA)
        raise InputError(path, None, f"columns {found}", expected, remedy)
    columns = {name: table.column(name).to_pylist() for name in _SCHEMA.names}
    given = {
        name: None if all(row is None for row in columns[name]) else columns[name]
        for name in ("confidence", "span_confidence")
    }
    return Predictions(
        sentence_ids=columns["sentence_id"],
        tokens=columns["tokens"],
        gold=columns["gold"],
        predicted=columns["predicted"],
        **given,
    )


def write_conlleval(path: Path, predictions: Predictions) -> None:
    """Write ``token gold predicted`` lines with a blank line after each sentence, as conlleval reads them.

    The tags are mapped to IOB2, because conlleval does not know BIOES's S. White space inside a token or a type becomes
    ``_``, because it separates the columns. A token ``-X-`` becomes ``_-X-_``: conlleval takes it for a sentence's end.
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for tokens, gold, predicted in zip(predictions.tokens, predictions.gold, predictions.predicted, strict=True):
            rows = zip(tokens, bioes_to_iob2(gold), bioes_to_iob2(predicted), strict=True)
            lines = [f"{_column(token)} {_column(one)} {_column(other)}\n" for token, one, other in rows]
            file.write("".join(lines) + "\n")


def _column(text: str) -> str:
    """Return text that conlleval reads as one column, and as no sentence's end."""
    joined = "_".join(text.split()) or "_"
    return f"_{joined}_" if joined == CONLLEVAL_BOUNDARY else joined
