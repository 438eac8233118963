"""Reading sentences with a language model: states of every word, states at sentence ends, exact perplexity.

A sentence `w1 .. wn` is read as `<S> w1 .. wn` and predicts `w1 .. wn <S>`: n + 1 predictions. For a backward
model the caller reverses the sentences. Axes: B sentences, T words and mark (longest n + 1), P state size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taglm_core.lm.model import WordTable
from taglm_core.nn.lm_network import LanguageModel, LmState
from taglm_core.nn.softmax import block_losses
from taglm_core.training.devices import pinned, upload

Sentences = Sequence[NDArray[np.int32]]  # each [n]: word numbers of a WordTable, in reading order
BOUNDARY_NUMBER = 0  # word number 0 of every table is the boundary mark
_WINDOW = 64  # words of each stream read at once


@dataclass(frozen=True, slots=True)
class Padded:
    """Sentences as padded columns: inputs and targets [T, B] of word numbers, lengths [B] (n + 1)."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def mask(self) -> Tensor:
        """Positions with a prediction [T, B]."""
        return torch.from_numpy(np.arange(len(self.inputs))[:, None] < self.lengths[None, :])


def pad(sentences: Sentences) -> Padded:
    """Put sentences side by side, padded on the right with the boundary mark."""
    lengths = np.array([len(sentence) + 1 for sentence in sentences], np.int64)
    inputs = np.full((lengths.max(), len(sentences)), BOUNDARY_NUMBER, np.int64)
    targets = inputs.copy()
    for column, sentence in enumerate(sentences):
        inputs[1 : lengths[column], column] = sentence
        targets[: lengths[column] - 1, column] = sentence
    return Padded(inputs, targets, lengths)


def distinct_words(network: LanguageModel, table: WordTable, words: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the encoder input of the distinct words among word numbers [T, B], and the index of each word [T, B]."""
    device = next(network.parameters()).device
    distinct, index = np.unique(words, return_inverse=True)
    # stays on the CPU: the encoder sorts characters there before it moves them, so nothing waits for an accelerator
    return pinned(table.distinct(distinct), device), upload(torch.from_numpy(index.reshape(words.shape)), device)


def sentence_states(network: LanguageModel, table: WordTable, batch: Padded, state: LmState) -> Tensor:
    """Return top-layer states [T, B, P] of sentences that start from the one-row `state`; row t has read t words."""
    states, _ = network(*distinct_words(network, table, batch.inputs), state.expand(batch.inputs.shape[1]))
    return states


def break_state(network: LanguageModel, table: WordTable, sentences: Sentences, state: LmState) -> LmState:
    """Return the mean state after the last word of sentences that are read one after the other with carried state.

    Args:
        network: the network, in evaluation mode.
        table: words of the sentences.
        sentences: held-out sentences, at least one.
        state: initial states of the streams, a row each: from training, because the model may not recover from a zero
            state. The first sentence of each stream leads into the held-out text and does not count, unless it is
            the only one.

    Returns:
        One row: hidden [layers, 1, P], cell [layers, 1, U].
    """
    streams = min(state.hidden.shape[1], len(sentences))
    state = state.first(streams)
    rounds = len(sentences) // streams
    hiddens: list[Tensor] = []
    cells: list[Tensor] = []
    with torch.no_grad():
        for number in range(rounds):
            batch = pad(sentences[number * streams : (number + 1) * streams])
            words = distinct_words(network, table, batch.inputs)
            state = network.last_state(*words, torch.from_numpy(batch.lengths), state)
            if number or rounds == 1:
                hiddens.append(state.hidden.double().sum(1, keepdim=True))
                cells.append(state.cell.double().sum(1, keepdim=True))
    count = streams * max(1, rounds - 1)
    return LmState(*((torch.stack(parts).sum(0) / count).float() for parts in (hiddens, cells)))


@dataclass(frozen=True, slots=True)
class HeldoutScore:
    """Exact scores on held-out text.

    Attributes:
        perplexity: exp of the mean negative log-probability over all words and marks.
        tokens: number of scored predictions.
        unknown: share of them whose target is a class of unknown words.
    """

    perplexity: float
    tokens: int
    unknown: float


def perplexity_from_state(
    network: LanguageModel, table: WordTable, sentences: Sentences, state: LmState, unknown: Tensor, batch: int = 64
) -> HeldoutScore:
    """Compute the perplexity with every sentence starting from one state (the break state, or zero)."""
    total, tokens, unseen = 0.0, 0, 0
    with torch.no_grad():
        for start in range(0, len(sentences), batch):
            padded = pad(sentences[start : start + batch])
            states = sentence_states(network, table, padded, state)
            mask = padded.mask
            targets = table.targets[torch.from_numpy(padded.targets)][mask].to(states.device)
            total += float(block_losses(network.softmax, states[mask.to(states.device)], targets).sum())
            tokens += len(targets)
            unseen += int(unknown[targets.cpu()].sum())
    return HeldoutScore(math.exp(total / tokens), tokens, unseen / tokens)


def carried_perplexity(network: LanguageModel, table: WordTable, sentences: Sentences, state: LmState) -> float:
    """Compute the perplexity with the state carried over sentence borders, as in training.

    Args:
        network: the network, in evaluation mode.
        table: words of the sentences.
        sentences: held-out sentences; all their words and marks are scored.
        state: initial states of the streams, a row each; each stream reads a run of neighbouring sentences.
    """
    streams = min(state.hidden.shape[1], len(sentences))
    runs = [run for run in np.array_split(np.arange(len(sentences)), streams) if len(run)]
    text = pad([_end_to_end([sentences[number] for number in run]) for run in runs])
    carried, total, tokens = state.first(len(runs)), 0.0, 0
    # The last mark of a run is its last target; the prediction that `pad` adds after it is not scored.
    mask = torch.from_numpy(np.arange(len(text.inputs))[:, None] < text.lengths[None, :] - 1)
    with torch.no_grad():
        for start in range(0, len(text.inputs) - 1, _WINDOW):
            window = slice(start, start + _WINDOW)
            states, carried = network(*distinct_words(network, table, text.inputs[window]), carried)
            inside = mask[window]
            targets = table.targets[torch.from_numpy(text.targets[window])][inside].to(states.device)
            total += float(block_losses(network.softmax, states[inside.to(states.device)], targets).sum())
            tokens += len(targets)
    return math.exp(total / tokens)


def _end_to_end(sentences: Sentences) -> NDArray[np.int32]:
    """Concatenate sentences, with a boundary mark after each."""
    mark = np.array([BOUNDARY_NUMBER], np.int32)
    return np.concatenate([part for sentence in sentences for part in (sentence, mark)])
