"""Perplexity of any text, against a softmax computed by hand, word by word."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from taglm_core.config.language_model import Direction
from taglm_core.lm import scoring
from taglm_core.lm.model import TrainedLm
from taglm_core.lm.scoring import score_sentences, score_text
from taglm_core.nn.lm_network import LmState
from tests.lm.conftest import Small

TEXT = [("w3", "w1", "Unseen-Word", "w7"), ("w2",), ("w5", "1984", "w5", "w9", "w11", "w3"), ("Oslo", "w4")] * 3
BOTH = [Direction.FORWARD, Direction.BACKWARD]


def by_hand(lm: TrainedLm, sentence: Sequence[str], state: LmState) -> tuple[list[float], LmState]:
    """Losses in reading order, and the state after the last word: one word at a time, a log-softmax over all."""
    table = lm.table(["< S >", *sentence])
    softmax, losses = lm.network.softmax, []
    order = list(range(1, len(sentence) + 1))[:: -1 if lm.direction is Direction.BACKWARD else 1]
    for read, target in zip([0, *order], [*order, 0], strict=True):
        states, state = lm.network(table.distinct(np.array([read])), torch.zeros(1, 1, dtype=torch.int64), state)
        scores = (states[0, 0].double() @ softmax.weight.double().T + softmax.bias.double()).log_softmax(0)
        losses.append(-float(scores[table.targets[target]]))
    return losses, state


@pytest.fixture(params=BOTH)
def lm(request: pytest.FixtureRequest, small: Small, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainedLm]:
    """Each direction, with blocks and windows so small that the text does not fit into one."""
    monkeypatch.setattr(scoring, "BLOCK_TOKENS", 9)
    monkeypatch.setattr(scoring, "POSITIONS", 7)
    monkeypatch.setattr(scoring, "BATCH", 3)
    with torch.no_grad():
        yield replace(small.lm, direction=request.param)


def test_every_word_and_mark_has_its_exact_probability(lm: TrainedLm) -> None:
    """From the break state and carried on through the text; placed as the sentence stands, its mark last."""
    step = -1 if lm.direction is Direction.BACKWARD else 1
    state = lm.break_state
    found = list(score_sentences(lm, TEXT))
    assert [score.tokens for score in found] == TEXT
    for score in found:
        alone, _ = by_hand(lm, score.tokens, lm.break_state)
        carried, state = by_hand(lm, score.tokens, state)
        assert score.from_break == pytest.approx([*alone[:-1][::step], alone[-1]], rel=1e-5)
        assert score.carried == pytest.approx([*carried[:-1][::step], carried[-1]], rel=1e-5)
        assert score.unknown.tolist() == [not token.startswith("w") for token in score.tokens] + [False]


def test_a_text_is_its_words_and_one_mark_a_sentence(lm: TrainedLm) -> None:
    """Perplexities, predictions and unknown rate are those of the sentences together."""
    total = score_text(lm, iter(TEXT))
    alone, carried, state = [], [], lm.break_state
    for tokens in TEXT:
        alone += by_hand(lm, tokens, lm.break_state)[0]
        losses, state = by_hand(lm, tokens, state)
        carried += losses
    assert (total.sentences, total.predictions) == (12, 13 * 3 + 12)
    assert total.unknown == pytest.approx(9 / 51)
    assert total.from_break == pytest.approx(math.exp(sum(alone) / 51), rel=1e-5)
    assert total.carried == pytest.approx(math.exp(sum(carried) / 51), rel=1e-5)


def test_a_flipped_token_changes_nothing_that_was_predicted_before_it(lm: TrainedLm) -> None:
    """Neither in its own sentence, from where the model reads, nor in those before it; and no other from break."""
    flipped = list(TEXT)
    flipped[6] = ("w5", "1984", "w5", "w9", "w8", "w3")
    before, after = list(score_sentences(lm, TEXT)), list(score_sentences(lm, flipped))
    # rounding (other words of a block) is about 1e-7
    moved = [[np.abs(one - two) > 1e-5 for one, two in ((a.from_break, b.from_break), (a.carried, b.carried))]
             for a, b in zip(before, after, strict=True)]  # fmt: skip
    still = slice(5, 6) if lm.direction is Direction.BACKWARD else slice(0, 4)
    for part in moved[6]:
        assert not part[still].any()
        assert part[4]
    assert not any(part.any() for pair in moved[:6] for part in pair)
    assert not any(from_break.any() for from_break, _ in moved[7:])
    assert moved[7][1].any()  # the state goes on


def test_block_sizes_change_no_number(lm: TrainedLm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond rounding: memory is bounded, the text is read the same."""
    small = score_text(lm, TEXT)
    monkeypatch.setattr(scoring, "BLOCK_TOKENS", 10**6)
    monkeypatch.setattr(scoring, "POSITIONS", 10**6)
    whole = score_text(lm, TEXT)
    assert (small.from_break, small.carried) == pytest.approx((whole.from_break, whole.carried), rel=1e-6)


def test_no_sentence_is_no_perplexity(lm: TrainedLm) -> None:
    """An error, no number."""
    with pytest.raises(ValueError, match="no sentence"):
        score_text(lm, [])
