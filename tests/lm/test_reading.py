"""What a state has seen, what perplexity counts, and the break state."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from taglm_core.config.language_model import Direction
from taglm_core.lm.reading import break_state, carried_perplexity, pad, perplexity_from_state, sentence_states
from tests.lm.conftest import WORDS, Small, states_of

SENTENCE = ("w3", "w1", "unseen-Word", "w7", "w7", "w2")


@pytest.mark.parametrize("direction", [Direction.FORWARD, Direction.BACKWARD])
def test_flipping_a_token_moves_only_the_states_that_have_read_it(small: Small, direction: Direction) -> None:
    """A forward state never sees the future, a backward one never the past; both see their own token."""
    lm = replace(small.lm, direction=direction)
    flipped = list(SENTENCE)
    flipped[2] = "w9"
    before, after = states_of(lm, [SENTENCE, tuple(flipped)], batch=2)
    differences = np.abs(before - after).max(axis=1)  # rounding (other rows of a product) is about 1e-7
    assert not ((differences > 1e-6) & (differences < 1e-4)).any()
    moved = [bool(difference > 1e-5) for difference in differences]
    expected = [False, False, True, True, True, True] if direction == "forward" else [True] * 3 + [False] * 3
    assert moved == expected


def test_a_backward_model_is_a_forward_model_of_the_reversed_sentence(small: Small) -> None:
    """Reversing the sentence and its embeddings turns one direction into the other."""
    (backward,) = states_of(replace(small.lm, direction=Direction.BACKWARD), [SENTENCE], batch=1)
    (forward,) = states_of(small.lm, [SENTENCE[::-1]], batch=1)
    assert np.array_equal(backward, forward[::-1])


def test_a_state_is_what_the_softmax_reads_after_that_word(small: Small) -> None:
    """The embedding of word k is the LSTM's output after `<S> w1 .. wk`, one word at a time, from the break state."""
    (found,) = states_of(small.lm, [SENTENCE[:2]], batch=1)
    network, state = small.lm.network, small.lm.break_state
    outputs = []
    for word in (0, 1 + WORDS.index("w3"), 1 + WORDS.index("w1")):
        numbers = np.array([[word]])
        states, state = network(small.table.distinct(numbers[0]), torch.zeros(1, 1, dtype=torch.int64), state)
        outputs.append(states[0, 0].detach().numpy())
    assert np.allclose(found, outputs[1:], atol=1e-6)


def test_batch_equals_one_by_one(small: Small) -> None:
    """Neighbours in a batch and padding change nothing beyond rounding."""
    sentences = [SENTENCE, SENTENCE[:1], SENTENCE[2:5], SENTENCE * 3]
    together = states_of(small.lm, sentences, batch=4)
    for sentence, states in zip(sentences, together, strict=True):
        (alone,) = states_of(small.lm, [sentence], batch=1)
        assert np.allclose(alone, states, atol=1e-6)


def test_perplexity_is_the_exact_softmax_over_words_and_marks(small: Small, sentences: list[np.ndarray]) -> None:
    """There are n + 1 predictions a sentence, by a softmax computed here from the weights."""
    unknown = torch.zeros(len(small.lm.vocabulary), dtype=torch.bool)
    score = perplexity_from_state(small.lm.network, small.table, sentences, small.lm.break_state, unknown, batch=3)
    total = 0.0
    for sentence in sentences:
        padded = pad([sentence])
        states = sentence_states(small.lm.network, small.table, padded, small.lm.break_state)[:, 0]
        linear = small.lm.network.softmax
        logits = (states @ linear.weight.T + linear.bias).double()
        targets = small.table.targets[torch.from_numpy(padded.targets[:, 0])]
        total -= float(logits.log_softmax(1)[torch.arange(len(targets)), targets].sum().detach())
    assert score.tokens == sum(len(sentence) + 1 for sentence in sentences)
    assert score.perplexity == pytest.approx(math.exp(total / score.tokens), rel=1e-6)


def test_carried_state_equals_one_long_reading(
    small: Small, sentences: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one stream, carrying state over sentence borders is reading the whole text at once."""
    text = np.concatenate([np.append(sentence, 0) for sentence in sentences])[:-1].astype(np.int32)
    zero = small.lm.network.zero_state(1)
    unknown = torch.zeros(len(small.lm.vocabulary), dtype=torch.bool)
    whole = perplexity_from_state(small.lm.network, small.table, [text], zero, unknown)
    monkeypatch.setattr("taglm_core.lm.reading._WINDOW", 4)
    carried = carried_perplexity(small.lm.network, small.table, sentences, zero)
    assert carried == pytest.approx(whole.perplexity, rel=1e-6)


def test_all_streams_together_score_every_sentence_once(small: Small, sentences: list[np.ndarray]) -> None:
    """With as many streams as sentences, every sentence starts from the given state."""
    unknown = torch.zeros(len(small.lm.vocabulary), dtype=torch.bool)
    start = small.lm.break_state
    single = perplexity_from_state(small.lm.network, small.table, sentences, start, unknown)
    streams = carried_perplexity(small.lm.network, small.table, sentences, start.expand(len(sentences)))
    assert streams == pytest.approx(single.perplexity, rel=1e-6)


def test_break_state_is_the_mean_state_after_last_words(small: Small, sentences: list[np.ndarray]) -> None:
    """One stream, read word by word from a given state: the mean over sentence ends, the first one left out."""
    state = small.lm.break_state
    found = break_state(small.lm.network, small.table, sentences, state)
    ends = []
    for sentence in sentences:
        inputs = np.append(np.int32(0), sentence)[:, None].astype(np.int64)
        distinct, index = np.unique(inputs, return_inverse=True)
        with torch.no_grad():
            words = small.table.distinct(distinct), torch.from_numpy(index.reshape(-1, 1))
            _, state = small.lm.network(*words, state)
        ends.append(state)
    for part in range(2):
        mean = torch.stack([end[part] for end in ends[1:]]).mean(0)
        assert torch.allclose(found[part], mean, atol=1e-6)
