"""Predictions: round trip, same bytes, conlleval text, and nothing lost between corpus and prediction."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taglm_core.errors import InputError, MismatchError
from taglm_core.evaluation.predictions import (
    Predictions,
    check_same_tokens,
    read_predictions,
    write_conlleval,
    write_predictions,
)

TOKENS = [["Wien", "liegt", "an", "der", "Donau"], ["U.N.", "official"], []]
GOLD = [["S-LOC", "O", "O", "B-LOC", "E-LOC"], ["S-ORG", "O"], []]
PREDICTED = [["S-LOC", "O", "O", "O", "I-LOC"], ["S-ORG", "O"], []]


def _predictions(confidence: list[list[float] | None] | None = None) -> Predictions:
    return Predictions([7, 8, 11], TOKENS, GOLD, PREDICTED, confidence)


@pytest.mark.parametrize("confidence", [None, [[0.5, 1.0, 0.25, 0.125, 0.75], None, []]])
def test_round_trip_and_same_bytes(tmp_path: Path, confidence: list[list[float] | None] | None) -> None:
    """What was written is read back, and writing it again gives the same bytes."""
    written = _predictions(confidence)
    write_predictions(tmp_path / "one.parquet", written)
    assert read_predictions(tmp_path / "one.parquet") == written
    write_predictions(tmp_path / "other.parquet", read_predictions(tmp_path / "one.parquet"))
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()


def test_column_types_are_those_promised(tmp_path: Path) -> None:
    """Other programs find int64 ids, string lists and float32 confidence."""
    write_predictions(tmp_path / "p.parquet", _predictions([[0.5] * 5, [0.5] * 2, []]))
    schema = pq.read_schema(tmp_path / "p.parquet")
    assert schema.names == ["sentence_id", "tokens", "gold", "predicted", "confidence", "span_confidence"]
    assert schema.field("sentence_id").type == pa.int64()
    assert schema.field("confidence").type.value_type == pa.float32()


def test_conlleval_text_is_mapped_to_iob2(tmp_path: Path) -> None:
    """Lines are token, gold, predicted in IOB2, sentences end with a blank line, columns hold no white space.

    The mark that conlleval takes for a sentence's end is no token's text.
    """
    gold, predicted = [["B-A x", "E-A x"], ["O"]], [["S-A", "O"], ["E-A"]]
    write_conlleval(tmp_path / "p.txt", Predictions([0, 1], [["Wien", "1 1/2"], ["-X-"]], gold, predicted))
    assert (tmp_path / "p.txt").read_text() == "Wien B-A_x B-A\n1_1/2 I-A_x O\n\n_-X-_ O I-A\n\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predicted": [PREDICTED[0][:4], *PREDICTED[1:]]}, "sentence 7: found 4 predicted values; expected 5"),
        ({"gold": GOLD[:2]}, "found gold of 2 sentences; expected 3"),
        ({"confidence": [None, [0.5], None]}, "sentence 8: found 1 confidence values; expected 2"),
    ],
)
def test_lost_tokens_and_sentences_are_named(changes: dict[str, object], message: str) -> None:
    """Predictions that lost a token or a sentence cannot be made; the error says where."""
    with pytest.raises(MismatchError, match=message):
        Predictions(**{"sentence_ids": [7, 8, 11], "tokens": TOKENS, "gold": GOLD, "predicted": PREDICTED, **changes})


def test_gold_tokens_in_equal_predicted_tokens_out() -> None:
    """A changed, missing or extra token is found and named with its sentence."""
    check_same_tokens(TOKENS, [tuple(tokens) for tokens in TOKENS])
    with pytest.raises(MismatchError, match=r"sentence 8, token 0: found 'UN'; expected 'U\.N\.'"):
        check_same_tokens(TOKENS, [TOKENS[0], ["UN", "official"], []], [7, 8, 11])
    with pytest.raises(MismatchError, match="sentence 1, found 1 tokens; expected 2"):
        check_same_tokens(TOKENS, [TOKENS[0], ["U.N."], []])
    with pytest.raises(MismatchError, match="predictions for 2 sentences; expected 3"):
        check_same_tokens(TOKENS, TOKENS[:2])


def test_other_files_are_refused_with_what_was_found(tmp_path: Path) -> None:
    """Neither text nor a Parquet file with other columns is taken for predictions."""
    (tmp_path / "text.parquet").write_text("token O O\n")
    with pytest.raises(InputError, match="no readable Parquet"):
        read_predictions(tmp_path / "text.parquet")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="columns id int64"):
        read_predictions(tmp_path / "other.parquet")
