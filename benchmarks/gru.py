"""Training steps of taggers with our GRU pass (`taglm_core.nn.gru`) and with torch's GRU.

Both run in one process and take turns batch by batch, so that the ratio holds on a machine that others use. torch's
own pass runs in two ways: as `BiRnn` would without ours (padded batches), and over packed sequences.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from record import write
from tagger_epoch import specify, split_labelled, tagger
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from taglm_core.config.tagger import TaggerConfig
from taglm_core.nn import rnn
from taglm_core.nn.packing import PackedBatch, take_rows
from taglm_core.training.devices import Device, open_device
from taglm_core.training.loop import take_step

PRESETS: dict[str, dict[str, Any]] = {"defaults": {}, "paper-ner": {"preset": "paper-ner"}}
THREADS, SENTENCES, BATCHES, ROUNDS = (1, 2), 1_000, 30, 4
NOTE = """{sentences:,} sentences of CoNLL-2003 train, baseline taggers (defaults: GRUs over words; paper-ner: GRUs over
characters and words), batches of 32, whole steps (forward, backward, clip, Adam). The same {batches} batches {rounds}
times, each with all three passes one after the other; seconds of the processor with one thread, of the clock with two.
Ratios: median over pairs of steps, with their quartiles."""


def read_packed_by_torch(x: Tensor, packed: PackedBatch, forward: Any, backward: Any) -> tuple[Tensor, Tensor]:
    """Do what `read_both_ways` does with torch's GRU over packed sequences."""
    sizes = torch.tensor(packed.batch_sizes)
    if backward is None:
        both: Tensor = forward(PackedSequence(x, sizes))[0].data
        one, other = both.chunk(2, dim=1)
        return one, other
    reverse = backward(PackedSequence(take_rows(x, packed.reverse_index), sizes))[0].data
    return forward(PackedSequence(x, sizes))[0].data, take_rows(reverse, packed.reverse_index)


@contextmanager
def torch_padded() -> Iterator[None]:
    """Compute no GRU by ours."""
    with patch.object(rnn, "has_own_pass", lambda *_: False):
        yield


@contextmanager
def torch_packed() -> Iterator[None]:
    """Compute every GRU by torch, over packed sequences."""
    with patch.object(rnn, "read_both_ways", read_packed_by_torch):
        yield


@contextmanager
def ours() -> Iterator[None]:
    """Compute GRUs as the program does."""
    yield


PASSES: dict[str, Callable[[], Any]] = {"ours": ours, "torch, padded": torch_padded, "torch, packed": torch_packed}


def measure(preset: str, threads: int) -> dict[str, Any]:
    """Return medians of step times and of their ratios."""
    open_device("cpu", threads)
    every, every_tags = split_labelled()
    step = len(every) // SENTENCES
    tokens, tags = every[::step][:SENTENCES], every_tags[::step][:SENTENCES]
    spec = specify(tokens, tags, [], TaggerConfig.model_validate(PRESETS[preset]))
    trainings = {name: tagger(tokens, tags, [], spec, Device("cpu", threads)) for name in PASSES}
    clock = time.process_time if threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in PASSES}
    for number in range(-2, BATCHES * ROUNDS):  # the first two warm up
        for name, computed in PASSES.items():
            training = trainings[name]
            training.model.train()
            training._done = number % min(BATCHES, len(training._batches))
            begun = clock()
            with computed():
                take_step(training)
            if number >= 0:
                seconds[name].append(clock() - begun)
    row: dict[str, Any] = {"tagger": preset, "threads": threads}
    row["milliseconds of a step"] = {name: round(1e3 * statistics.median(found)) for name, found in seconds.items()}
    for name in list(PASSES)[1:]:
        ratios = [theirs / own for theirs, own in zip(seconds[name], seconds["ours"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        row[f"{name} / ours"] = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    return row


def main() -> None:
    """Measure each tagger with each number of threads."""
    rows = []
    for threads in THREADS:
        for preset in PRESETS:
            rows.append(measure(preset, threads))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    note = " ".join(NOTE.format(sentences=SENTENCES, batches=BATCHES, rounds=ROUNDS).split())
    sys.stdout.write(f"{write('gru', 'Our GRU against that of torch', rows, note)}\n")


if __name__ == "__main__":
    main()
