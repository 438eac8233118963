"""Perplexity of any text: the exact negative log-probability of every word and mark, streamed.

A text is read twice: sentence by sentence, each from the break state, and end to end in one stream with carried state
that begins with the break state. A backward model reads the words of each sentence
from the last to the first, the sentences in their order, as it was trained. Axes: B sentences, T words and marks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from taglm_core.config.language_model import Direction
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.lm.model import TrainedLm, WordTable
from taglm_core.lm.reading import Padded, Sentences, distinct_words, pad
from taglm_core.nn.lm_network import LmState
from taglm_core.nn.softmax import block_losses

Tokens = tuple[str, ...]
BATCH = 64  # sentences in a batch
BLOCK_TOKENS = 50_000  # tokens of the text in memory at once
POSITIONS = 2_048  # positions of a batch computed at once: about a training window


@dataclass(frozen=True, slots=True)
class SentenceScore:
    """Scores of one sentence; arrays [n + 1] in the order of the sentence: its words, then the mark.

    Attributes:
        tokens: its words.
        unknown: whether a target is a class of unknown words.
        from_break: negative log-probabilities from the break state.
        carried: negative log-probabilities with the state carried on from the sentences before.
    """

    tokens: Tokens
    unknown: NDArray[np.bool_]
    from_break: NDArray[np.float64]
    carried: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TextScore:
    """Scores of a text.

    Attributes:
        sentences: number of sentences.
        predictions: number of scored words and marks, n + 1 per sentence.
        unknown: share of them whose target is a class of unknown words.
        from_break: perplexity from the break state.
        carried: perplexity with carried state, in the order of the text.
    """

    sentences: int
    predictions: int
    unknown: float
    from_break: float
    carried: float


def score_text(lm: TrainedLm, sentences: Iterable[Tokens]) -> TextScore:
    """Compute the exact perplexities of a text.

    Args:
        lm: the language model.
        sentences: tokens in the spelling of the model's text; at least one sentence.
    """
    count = predictions = unknown = 0
    from_break = carried = 0.0
    for score in score_sentences(lm, sentences):
        count += 1
        predictions += len(score.unknown)
        unknown += int(score.unknown.sum())
        from_break += float(score.from_break.sum())
        carried += float(score.carried.sum())
    if not count:
        raise ValueError("no sentence to score")
    return TextScore(
        count, predictions, unknown / predictions, math.exp(from_break / predictions), math.exp(carried / predictions)
    )


def score_sentences(lm: TrainedLm, sentences: Iterable[Tokens]) -> Iterator[SentenceScore]:
    """Score sentences one by one, in their order; memory holds some ten thousand words of them at a time.

    Words outside the vocabulary are read and predicted as their classes.

    Args:
        lm: the language model.
        sentences: tokens in the spelling of the model's text.
    """
    state, step = lm.break_state, -1 if lm.direction is Direction.BACKWARD else 1
    for block in _blocks(sentences):
        words = [BOUNDARY, *dict.fromkeys(token for tokens in block for token in tokens)]
        numbers = {word: number for number, word in enumerate(words)}
        table = lm.table(words)
        coded = [np.array([numbers[token] for token in tokens][::step], np.int32) for tokens in block]
        unknown = lm.vocabulary.is_unknown(table.targets.numpy())
        from_break = _from_break(lm, table, coded)
        text = np.concatenate([np.append(sentence, np.int32(0)) for sentence in coded])[:-1]  # `pad` ends it
        losses, state = _losses(lm, table, pad([text]), state)
        ends = np.cumsum([len(sentence) + 1 for sentence in coded])
        for tokens, its, alone, end in zip(block, coded, from_break, ends, strict=True):
            carried = losses[end - len(its) - 1 : end, 0]
            yield SentenceScore(tokens, np.append(unknown[its[::step]], False),
                                *(_as_written(part, step) for part in (alone, carried)))  # fmt: skip


def _blocks(sentences: Iterable[Tokens]) -> Iterator[list[Tokens]]:
    block: list[Tokens] = []
    size = 0
    for tokens in sentences:
        block.append(tokens)
        size += len(tokens)
        if size >= BLOCK_TOKENS:
            yield block
            block, size = [], 0
    if block:
        yield block


def _from_break(lm: TrainedLm, table: WordTable, coded: Sentences) -> list[NDArray[np.float64]]:
    """Return the losses [n + 1] of each sentence in reading order; batched by length, for little padding."""
    found: list[NDArray[np.float64]] = [np.empty(0)] * len(coded)
    order = sorted(range(len(coded)), key=lambda number: len(coded[number]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        padded = pad([coded[number] for number in chosen])
        losses, _ = _losses(lm, table, padded, lm.break_state.expand(len(chosen)))
        for column, number in enumerate(chosen):
            found[number] = losses[: len(coded[number]) + 1, column]
    return found


def _losses(lm: TrainedLm, table: WordTable, padded: Padded, state: LmState) -> tuple[NDArray[np.float64], LmState]:
    """Return negative log-probabilities [T, B], zero without a prediction, and the state after the last input."""
    losses, mask = np.zeros(padded.inputs.shape), padded.mask
    window = max(1, POSITIONS // padded.inputs.shape[1])
    with torch.no_grad():
        for start in range(0, len(losses), window):
            window_rows = slice(start, start + window)
            states, state = lm.network(*distinct_words(lm.network, table, padded.inputs[window_rows]), state)
            targets = table.targets[torch.from_numpy(padded.targets[window_rows])][mask[window_rows]]
            found = block_losses(
                lm.network.softmax, states[mask[window_rows].to(states.device)], targets.to(states.device)
            )
            losses[window_rows][mask[window_rows].numpy()] = found.cpu().numpy()
    return losses, state


def _as_written(losses: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Reorder losses from reading order to the order of the sentence: its words, then the boundary mark."""
    return np.append(losses[:-1][::step], losses[-1])
