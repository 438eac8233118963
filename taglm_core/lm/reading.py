"""Reading sentences with a language model: states of every word, states at sentence ends, exact perplexity.

A sentence `w1 .. wn` is read as `<S> w1 .. wn` and predicts `w1 .. wn <S>`: n + 1 predictions (DESIGN: 6). A backward
model gets its sentences reversed by the caller. Axes: B sentences, T words and mark (longest n + 1), P state size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from taglm_core.lm.model import WordTable
from taglm_core.nn.language_model import LanguageModel, LmState
from taglm_core.nn.softmax import block_losses
from taglm_core.training.devices import pinned, upload

Sentences = Sequence[NDArray[np.int32]]  # each [n]: numbers of words in a WordTable, in reading order
BOUNDARY_NUMBER = 0  # word number 0 of every table is the boundary mark


@dataclass(frozen=True, slots=True)
class Padded:
    """Sentences side by side: inputs and targets [T, B] of word numbers, lengths [B] (n + 1)."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def mask(self) -> Tensor:
        """Which places hold a prediction: [T, B]."""
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


def read_vectors(network: LanguageModel, table: WordTable, words: NDArray[np.int64]) -> Tensor:
    """Word vectors [T, B, D] of word numbers [T, B], each distinct word encoded once."""
    device = next(network.parameters()).device
    distinct, index = np.unique(words, return_inverse=True)
    places = upload(torch.from_numpy(index.reshape(words.shape)), device)
    return network.vectors(pinned(table.distinct(distinct), device), places)


def sentence_states(network: LanguageModel, table: WordTable, batch: Padded, state: LmState) -> Tensor:
    """Top-layer states [T, B, P] of sentences that all start from the one-row `state`; row t has read t words."""
    vectors = read_vectors(network, table, batch.inputs)
    states, _ = network(vectors, state.expand(batch.inputs.shape[1]))
    return states


def break_state(network: LanguageModel, table: WordTable, sentences: Sentences, streams: int) -> LmState:
    """Mean state after the last word of sentences that are read one after the other with carried state.

    Each stream's first sentence only warms the state up and does not count, where there is more than one.

    Args:
        network: in evaluation mode.
        table: words of the sentences.
        sentences: held-out sentences, at least one.
        streams: read side by side.

    Returns:
        One row: hidden [layers, 1, P], cell [layers, 1, U].
    """
    streams = min(streams, len(sentences))
    state = network.zero_state(streams)
    rounds = len(sentences) // streams
    hiddens: list[Tensor] = []
    cells: list[Tensor] = []
    with torch.no_grad():
        for number in range(rounds):
            batch = pad(sentences[number * streams : (number + 1) * streams])
            packed = pack_padded_sequence(
                read_vectors(network, table, batch.inputs), torch.from_numpy(batch.lengths), enforce_sorted=False
            )
            _, state = network.read_packed(packed, state)
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
        tokens: predictions scored.
        unknown: share of them whose target is a class of unknown words.
    """

    perplexity: float
    tokens: int
    unknown: float


def perplexity_from_state(
    network: LanguageModel, table: WordTable, sentences: Sentences, state: LmState, unknown: Tensor, batch: int = 64
) -> HeldoutScore:
    """Perplexity when every sentence starts from the same one-row state (the break state, or zero)."""
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
    """Perplexity when the state is carried over sentence borders, as in training.

    Args:
        network: in evaluation mode.
        table: words of the sentences.
        sentences: held-out sentences; all their words and marks are scored.
        state: what the streams start from, a row each; each reads a run of neighbouring sentences.
    """
    streams = min(state.hidden.shape[1], len(sentences))
    runs = np.array_split(np.arange(len(sentences)), streams)
    carried, total, tokens = state, 0.0, 0
    with torch.no_grad():
        for number in range(len(runs[0])):  # the first runs are the longest
            rows = [run[number] for run in runs if number < len(run)]
            padded = pad([sentences[row] for row in rows])
            carried = LmState(*(part[:, : len(rows)].contiguous() for part in carried))
            packed = pack_padded_sequence(
                read_vectors(network, table, padded.inputs), torch.from_numpy(padded.lengths), enforce_sorted=False
            )
            outputs, carried = network.read_packed(packed, carried)
            states, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs)
            mask = padded.mask
            targets = table.targets[torch.from_numpy(padded.targets)][mask].to(states.device)
            total += float(block_losses(network.softmax, states[mask.to(states.device)], targets).sum())
            tokens += len(targets)
    return math.exp(total / tokens)
