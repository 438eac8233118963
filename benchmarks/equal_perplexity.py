"""Time to the same held-out perplexity: the usual word language model, and ours, over the news text, one thread each.

    python equal_perplexity.py [--minutes 8] [--work FOLDER]

The usual one is the word-LM example of many tutorials: a table of 256, nn.LSTM of 512 units, a full softmax, plain
SGD over dense gradients with the example's own settings (learning rate 20, clipping 0.25, 20 streams of 35 tokens).
It trains for some minutes. Ours (the same 50,000 entries and one unknown symbol, words in through a table of 256,
LSTM 512 with projection to 256, adaptive softmax, Adam) trains until the same sentences have the same perplexity, and
on until it had the same time. Both are measured by the same code: exact, over the same words and marks, the state
carried on from training. Evaluations are in neither time, and time is the processor time of the one thread, so that
neighbours on the machine do not decide; the clock's stands beside it. Words, ids and what the usual one reached stay
in the work folder: a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from record import write
from torch import Tensor, nn

from taglm_core.config.language_model import LanguageModelConfig
from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.parquet import write_corpus
from taglm_core.corpus.text import read_text
from taglm_core.corpus.token_ids import EXTRA_WORDS_FILE, TokenIds, write_token_ids
from taglm_core.corpus.vocabulary import WORDS_FILE, count_words
from taglm_core.lm.lm_training import Intervals, LmTraining
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import WordTable, build_network
from taglm_core.lm.reading import Sentences, carried_perplexity
from taglm_core.lm.streams import Streams
from taglm_core.nn.lm_network import LanguageModel, LmState, WordEncoder
from taglm_core.nn.softmax import FullSoftmax
from taglm_core.training.devices import open_device
from taglm_core.training.loop import take_step
from taglm_core.training.randomness import seed_torch

V, SIZE, UNITS = 50_000, 256, 512
HELDOUT_FRACTION = 0.005
OURS = {"input": {"kind": "word", "size": SIZE}, "units": UNITS, "projection": 256, "vocabulary_size": V,
        "min_count": 1, "unknown": "single", "softmax": {"kind": "adaptive"}, "dropout": 0.0, "schedule": "constant",
        "steps": 10**9}  # fmt: skip
Seen = list[tuple[float, float]]  # seconds of training, held-out perplexity


class Text:
    """The news text as ids, by the project's own builders; made once in the work folder."""

    def __init__(self, path: Path, work: Path, sentences: int) -> None:
        corpus, words, ids = work / "corpus", work / "words", work / "token-ids"
        done = work / "text.json"
        if not done.exists():
            corpus.mkdir(parents=True, exist_ok=True)
            write_corpus(read_text([path]), corpus, scheme=None)
            limits = DatabaseLimits(1, "2GB", work / "duckdb")
            count_words(corpus, words / WORDS_FILE, limits, heldout_fraction=HELDOUT_FRACTION, min_count=1)
            write_token_ids(corpus, words / WORDS_FILE, ids, shards=16, heldout_fraction=HELDOUT_FRACTION)
            done.write_text(json.dumps({"text": str(path)}))
        self.ids = TokenIds.open(ids)
        self.vocabulary = LmVocabulary.select(words / WORDS_FILE, size=V, min_count=1, shapes=False)
        self.words: list[str] = pq.read_table(words / WORDS_FILE)["word"].to_pylist()
        self.words += pq.read_table(ids / EXTRA_WORDS_FILE)["word"].to_pylist()
        count = min(sentences, len(self.ids.heldout))
        self.heldout: Sentences = [self.ids.heldout.sentence(number) for number in range(count)]

    def streams(self, streams: int, window: int) -> Streams:
        """Both models read the text in the same way."""
        return Streams(self.ids.train_shards, streams=streams, window=window, backward=False, seed=1)


class Usual(nn.Module):
    """The word language model of many tutorials, initialised as there."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.table, self.lstm, self.decoder = (
            nn.Embedding(vocabulary, SIZE),
            nn.LSTM(SIZE, UNITS),
            nn.Linear(UNITS, vocabulary),
        )
        nn.init.uniform_(self.table.weight, -0.1, 0.1)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def reader(self) -> LanguageModel:
        """The same weights, not copies, as the project's module: so that one piece of code measures both models."""
        softmax = FullSoftmax(UNITS, self.decoder.out_features)
        softmax.weight, softmax.bias = self.decoder.weight, self.decoder.bias
        encoder = WordEncoder(1, SIZE, sparse=False)
        encoder.table = self.table
        network = LanguageModel(encoder, softmax, size=SIZE, units=UNITS, projection=UNITS)
        network.layers[0].load_state_dict(self.lstm.state_dict())
        return network.eval()


def perplexity(network: LanguageModel, table: WordTable, text: Text, state: LmState) -> float:
    """Exact, on the held-out sentences, from the states that training is in."""
    network.eval()
    rows = min(state.hidden.shape[1], max(1, len(text.heldout) // 32))
    return carried_perplexity(network, table, text.heldout, state.first(rows))


def train_usual(text: Text, given: argparse.Namespace) -> dict[str, Any]:
    """Plain SGD for so many minutes, looks at the held-out text not counted."""
    torch.manual_seed(1)
    model = Usual(len(text.vocabulary))
    table = WordTable(text.words, text.vocabulary, LanguageModelConfig.model_validate(OURS))
    streams = text.streams(given.usual_streams, given.usual_window)
    optimizer = torch.optim.SGD(model.parameters(), lr=given.usual_rate)
    state: tuple[Tensor, Tensor] | None = None
    spent, wall, steps, seen = 0.0, 0.0, 0, []
    looks = [60 * given.minutes * part / given.looks for part in range(1, given.looks + 1)]
    while looks:
        begun, clock = time.process_time(), time.perf_counter()
        rows = table.targets[torch.from_numpy(streams.next().astype(np.int64).T.copy())]  # [T + 1, B]
        outputs, (hidden, cell) = model.lstm(model.table(rows[:-1]), state)
        state = hidden.detach(), cell.detach()
        loss = nn.functional.cross_entropy(model.decoder(outputs).flatten(0, 1), rows[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), given.usual_clip)
        optimizer.step()
        spent, wall = spent + time.process_time() - begun, wall + time.perf_counter() - clock
        steps += 1
        if spent >= looks[0]:
            seen.append((spent, perplexity(model.reader(), table, text, LmState(*state))))
            looks = [look for look in looks if look > spent]
            sys.stdout.write(f"usual: {spent:.0f} s, {steps} steps, held-out perplexity {seen[-1][1]:.1f}\n")
            sys.stdout.flush()
            if len(seen) > 1 and seen[-1][1] > seen[-2][1]:  # the example's rule: a quarter where it got no better
                optimizer.param_groups[0]["lr"] /= 4
    tokens = steps * given.usual_streams * given.usual_window
    return {
        "seconds": spent,
        "wall": wall,
        "tokens": tokens,
        "perplexity": min(value for _, value in seen),
        "seen": seen,
    }


def train_ours(text: Text, given: argparse.Namespace, target: float, seconds: float) -> dict[str, Any]:
    """Until the perplexity is reached, and on until so many seconds are spent; looks not counted."""
    config = LanguageModelConfig.model_validate(
        {**OURS, "streams": given.streams, "window": given.window, "learning_rate": given.rate}
    )
    seed_torch(1, "bench")
    network = build_network(config, len(text.vocabulary))
    table = WordTable(text.words, text.vocabulary, config)
    training = LmTraining(network, table, text.streams(config.streams, config.window), text.heldout, config,
                Intervals(10**9, 10**9))  # fmt: skip
    spent, wall, reached, seen = 0.0, 0.0, None, []
    due = given.every
    while reached is None or (spent < seconds and given.whole):
        begun, clock = time.process_time(), time.perf_counter()
        take_step(training)
        training.step += 1
        spent, wall = spent + time.process_time() - begun, wall + time.perf_counter() - clock
        if spent >= due and (reached is None or spent >= seconds):
            seen.append((spent, perplexity(network, table, text, training._state)))
            due = spent + given.every
            sys.stdout.write(f"ours: {spent:.0f} s, {training.step} steps, held-out perplexity {seen[-1][1]:.1f}\n")
            sys.stdout.flush()
            if reached is None and seen[-1][1] <= target:
                reached = spent, training.step * config.step_tokens, wall
            if reached is None and spent > 4 * seconds:
                raise SystemExit(f"ours did not reach {target:.1f} in four times the seconds of the usual one")
    if given.whole and seen[-1][0] < seconds:
        seen.append((spent, perplexity(network, table, text, training._state)))
    return {"seconds": reached[0], "tokens": reached[1], "perplexity": min(v for s, v in seen if s <= reached[0]),
            "wall": reached[2], "wall_after": wall, "after": seen[-1][1] if given.whole else None,
            "tokens_after": training.step * config.step_tokens,
            "seen": seen}  # fmt: skip


def row(model: str, reached: float, seconds: float, wall: float, tokens: int) -> dict[str, Any]:
    """One line of the table."""
    return {"model": model, "held-out perplexity": round(reached, 1), "seconds": round(seconds, 1),
            "by the clock": round(wall, 1), "tokens": tokens, "tokens a second": round(tokens / seconds)}  # fmt: skip


def main() -> None:
    """Train both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="of the usual model")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "taglm-equal-perplexity"))
    parser.add_argument("--text", type=Path, default=Path(__file__).parents[2] / "shared/data/news/news.txt.gz")
    parser.add_argument("--heldout", type=int, default=640, help="sentences both are measured on")
    parser.add_argument("--looks", type=int, default=4, help="of the usual model at the held-out text")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between looks of ours")
    parser.add_argument("--whole", action=argparse.BooleanOptionalAction, default=True,
                        help="ours goes on for as long as the usual one trained")  # fmt: skip
    parser.add_argument("--usual-rate", type=float, default=20.0)
    parser.add_argument("--usual-clip", type=float, default=0.25)
    parser.add_argument("--usual-streams", type=int, default=20)
    parser.add_argument("--usual-window", type=int, default=35)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--rate", type=float, default=2e-3)
    given = parser.parse_args()
    open_device("cpu", 1)
    given.work.mkdir(parents=True, exist_ok=True)
    text = Text(given.text, given.work, given.heldout)
    settings = json.dumps([given.minutes, given.heldout, given.looks, given.usual_rate, given.usual_clip,
                           given.usual_streams, given.usual_window])  # fmt: skip
    kept = given.work / "usual.json"
    before = json.loads(kept.read_text()) if kept.exists() else {}
    usual = before[settings] if settings in before else train_usual(text, given)
    kept.write_text(json.dumps({**before, settings: usual}))
    ours = train_ours(text, given, usual["perplexity"], usual["seconds"])
    rows = [row("usual", usual["perplexity"], usual["seconds"], usual["wall"], usual["tokens"]),
            row("ours, to the same", ours["perplexity"], ours["seconds"], ours["wall"], ours["tokens"])]  # fmt: skip
    rows[0]["times as fast"], rows[1]["times as fast"] = 1.0, round(usual["seconds"] / ours["seconds"], 1)
    if given.whole:
        rows.append(row("ours, as long", ours["after"], ours["seen"][-1][0], ours["wall_after"], ours["tokens_after"]))
    note = (
        f"News text, {len(text.vocabulary):,} entries with one unknown symbol, {sum(map(len, text.heldout)):,} "
        f"held-out words in {len(text.heldout):,} sentences. The same code measures both models. Seconds are the "
        f"processor's of one thread, without the evaluations of held-out words. `usual`: SGD "
        f"{given.usual_rate:g}, clip {given.usual_clip:g}, {given.usual_streams} x {given.usual_window} tokens a step. "
        f"`ours`: Adam {given.rate:g}, {given.streams} x {given.window}."
    )
    sys.stdout.write(f"{rows}\n{write('equal_perplexity', 'Time to equal perplexity', rows, note)}\n")


if __name__ == "__main__":
    main()
