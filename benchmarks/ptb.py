"""Penn Treebank: test perplexity of one forward language model, counted as in the literature.

    make .venv-peers/installed                      # the package `treebank` holds Mikolov's text
    python ptb.py --work FOLDER [--set KEY=VALUE ...] [--order text|shuffled]
    nohup python ptb.py --work FOLDER > ptb.log 2>&1 &

The vocabulary is every word of train (9,999 and the end mark; `<unk>` is a word like others); valid is the held-out
text; every word and one end mark a sentence is predicted: 82,430 of test. Test perplexity is reported with the state
carried over the test text, and with every sentence from the break state. Settings are those of a language model of an
experiment (SETTINGS below); --set overrides one by its dotted name, as `taglm --set` does. Sentences are read in the
order of the text, each stream a stretch of its own, as is usual here, because the state carries over; `--order
shuffled` reads them as `taglm pretrain` does. Training goes through the project's loop: killed, it goes on from its
checkpoint in the work folder, with the same bits; another setting trains in another folder below it. No text is
written anywhere: ids are.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import runpy
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from record import write

from taglm_core.config.language_model import Direction, LanguageModelConfig
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.errors import Interrupted
from taglm_core.lm.lm_training import Intervals, LmTraining
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import TrainedLm, WordTable, build_network, save_language_model
from taglm_core.lm.reading import break_state
from taglm_core.lm.scoring import TextScore, score_text
from taglm_core.lm.streams import Streams
from taglm_core.training.checkpoints import Checkpoints
from taglm_core.training.devices import open_device
from taglm_core.training.journal import JOURNAL, Journal, read_events
from taglm_core.training.loop import LoopSettings, train
from taglm_core.training.randomness import seed_torch
from taglm_core.training.stopping import StopRequest

ROOT = Path(__file__).parents[1]
SETTINGS: dict[str, Any] = {  # one layer, strong dropout, 15 passes over train
    "input": {"kind": "word", "size": 320}, "units": 640, "projection": 320, "layers": 1,
    "softmax": {"kind": "adaptive", "cutoffs": [2_000], "shrink": 4}, "dropout": 0.4, "optimizer": "adam",
    "learning_rate": 4e-3, "schedule": "cosine", "warmup_steps": 200, "clip": 1.0, "streams": 40, "window": 32,
    "steps": 11_000, "vocabulary_size": 10_001, "min_count": 1, "unknown": "single", "directions": ["forward"],
}  # fmt: skip
COUNTS = {"train": 929_589, "valid": 73_760, "test": 82_430}  # words and marks, as everybody counts them
LONGEST_GAP = 600.0  # seconds between two lines of a journal: after that, nobody was training
Tokens = tuple[str, ...]


class Sentences:
    """A shard in memory: sentences as numbers of words."""

    def __init__(self, sentences: list[NDArray[np.int32]]) -> None:
        self._sentences = sentences

    def __len__(self) -> int:
        return len(self._sentences)

    def sentence(self, index: int) -> NDArray[np.int32]:
        """Numbers of its words."""
        return self._sentences[index]


class InOrder:
    """Streams that read the text in its order, each a stretch of its own, again and again: what `LmTraining` needs."""

    def __init__(self, sentences: list[NDArray[np.int32]], streams: int, window: int) -> None:
        text = np.concatenate([np.append(sentence, np.int32(0)) for sentence in sentences])
        self._columns = text[: len(text) // streams * streams].reshape(streams, -1)  # [B, n]
        self._window, self._read, self.unread = window, 0, 0

    @property
    def epoch(self) -> int:
        """Passes done."""
        return self._read // self._columns.shape[1]

    def next(self) -> NDArray[np.int32]:
        """The next window of every stream: [B, T + 1], cyclic."""
        places = np.arange(self._read, self._read + self._window + 1) % self._columns.shape[1]
        self._read += self._window
        return self._columns[:, places]

    def where(self) -> str:
        """Position, for messages."""
        return f"token {self._read:,} of each stream"

    def pack(self) -> dict[str, Any]:
        """Position as JSON values."""
        return {"read": self._read}

    def unpack(self, state: dict[str, Any]) -> None:
        """Inverse of `pack`."""
        self._read = state["read"]


def load_text(module: Path | None) -> dict[str, list[Tokens]]:
    """Train, valid and test; their counts are checked."""
    found = module or next((ROOT / ".venv-peers").glob("lib/python*/site-packages/treebank/__init__.py"), None)
    if found is None or not found.is_file():
        raise SystemExit("no package `treebank`: `make .venv-peers/installed`, or --data PATH/treebank/__init__.py")
    parts = runpy.run_path(str(found))["penn"]
    text = {name: [tuple(line.split()) for line in parts[name].split("\n") if line.split()] for name in COUNTS}
    for name, sentences in text.items():
        predictions = sum(len(tokens) + 1 for tokens in sentences)
        if predictions != COUNTS[name]:
            raise SystemExit(f"{found}: {name} has {predictions:,} words and marks, not {COUNTS[name]:,}")
    return text


def settings_of(given: argparse.Namespace) -> LanguageModelConfig:
    """SETTINGS, a YAML file over them, --set over both."""
    settings = json.loads(json.dumps(SETTINGS))
    if given.settings:
        settings |= yaml.safe_load(given.settings.read_text())
    for text in given.set:
        name, _, value = text.partition("=")
        *path, last = name.split(".")
        section = settings
        for part in path:
            section = section.setdefault(part, {})
        section[last] = yaml.safe_load(value)
    return LanguageModelConfig.model_validate(settings)


def run(given: argparse.Namespace, config: LanguageModelConfig, work: Path) -> dict[str, Any]:
    """Train, or go on training, and score."""
    text = load_text(given.data)
    counts = Counter(token for tokens in text["train"] for token in tokens)
    words = tuple(sorted(counts, key=lambda word: (-counts[word], word)))
    extra = sorted({token for name in ("valid", "test") for tokens in text[name] for token in tokens} - counts.keys())
    if extra:
        raise SystemExit(f"{len(extra)} words of valid and test are not in train ({extra[0]!r}): another text?")
    vocabulary = LmVocabulary(words, shapes=False)
    numbers = {word: number for number, word in enumerate([BOUNDARY, *words])}
    coded = {name: [np.array([numbers[token] for token in tokens], np.int32) for tokens in sentences]
             for name, sentences in text.items()}  # fmt: skip
    device = open_device(given.device, given.threads)
    seed_torch(config.seed, "ptb")
    network = build_network(config, len(vocabulary)).to(device.torch)
    table = WordTable([BOUNDARY, *words], vocabulary, config)
    streams: Any = InOrder(coded["train"], config.streams, config.window)
    if given.order == "shuffled":
        shards: list[Any] = [Sentences(coded["train"])]
        streams = Streams(shards, streams=config.streams, window=config.window, backward=False, seed=config.seed)
    training = LmTraining(network, table, streams, coded["valid"], config, Intervals(given.log, given.evaluate))
    stop = StopRequest()
    stop.listen()
    before = _seconds(work)
    begun, journal = time.monotonic(), Follower(work)
    try:
        train(training, checkpoints=Checkpoints(work / "checkpoints", 2), journal=journal, stop=stop,
              settings=LoopSettings(given.checkpoint_seconds))  # fmt: skip
    finally:
        seconds = before + time.monotonic() - begun
        (work / "seconds.json").write_text(json.dumps(seconds))
        journal.close()
    training.take_average()
    network.eval()
    state = break_state(network, table, coded["valid"][: config.break_sentences], training.states(32))
    lm = TrainedLm(network.requires_grad_(False), vocabulary, config, Direction.FORWARD, state)
    (work / "model").mkdir(exist_ok=True)
    save_language_model(lm, work / "model")
    scores = {name: score_text(lm, text[name]) for name in ("valid", "test")}
    return {"valid": scores["valid"], "test": scores["test"], "seconds": seconds, "vocabulary": len(vocabulary),
            "parameters": sum(parameter.numel() for parameter in network.parameters())}  # fmt: skip


class Follower(Journal):
    """A journal that also speaks to standard output, for a log."""

    def __init__(self, work: Path) -> None:
        super().__init__(work / JOURNAL)

    def progress(self, step: int, done: float, total: float, text: str) -> None:
        """A line of the log."""
        super().progress(step, done, total, text)
        _say(text)

    def message(self, step: int, text: str) -> None:
        """A line of the log."""
        super().message(step, text)
        _say(text)


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def _seconds(work: Path) -> float:
    """Seconds that earlier processes trained for; of one that was killed, as far as its journal goes."""
    kept = work / "seconds.json"
    known, since = (float(json.loads(kept.read_text())), kept.stat().st_mtime) if kept.exists() else (0.0, 0.0)
    times = [event.time for event, _ in read_events(work / JOURNAL) if event.time > since]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return known + sum(gap for gap in gaps if gap < LONGEST_GAP)


def _row(found: dict[str, Any], config: LanguageModelConfig, order: str) -> dict[str, Any]:
    test: TextScore = found["test"]
    valid: TextScore = found["valid"]
    model = f"LSTM {config.units}-{config.projection} x {config.layers}, {config.softmax.kind}" + (
        ", tied" if getattr(config.softmax, "tied", False) else ""
    )
    return {
        "model": model, "parameters": found["parameters"], "order": order,
        "test (carried state)": round(test.carried, 2), "test (break state)": round(test.from_break, 2),
        "valid (carried state)": round(valid.carried, 2), "predictions of test": test.predictions,
        "steps": config.steps, "tokens read": config.steps * config.step_tokens,
        "passes": round(config.steps * config.step_tokens / COUNTS["train"], 1),
        "minutes": round(found["seconds"] / 60, 1),
        "tokens a second": round(config.steps * config.step_tokens / max(1e-9, found["seconds"])),
    }  # fmt: skip


def main() -> None:
    """Train, score, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints, journal and model; outside the project")
    parser.add_argument("--settings", type=Path, help="YAML file of language-model settings, over those in this script")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one, repeatable")
    parser.add_argument("--data", type=Path, help="treebank/__init__.py; default: that of .venv-peers")
    parser.add_argument("--order", choices=("text", "shuffled"), default="shuffled")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--checkpoint-seconds", type=float, default=120.0)
    parser.add_argument("--evaluate", type=int, default=1_000, help="steps between looks at valid")
    parser.add_argument("--log", type=int, default=50, help="steps between lines of the log")
    given = parser.parse_args()
    config = settings_of(given)
    name = hashlib.sha256(f"{config.model_dump_json()} {given.order}".encode()).hexdigest()[:12]
    work = given.work / name
    work.mkdir(parents=True, exist_ok=True)
    (work / "settings.json").write_text(config.model_dump_json(indent=1))
    _say(f"{work}: {config.steps:,} steps of {config.step_tokens:,} tokens")
    kept = work / "row.json"
    if not kept.exists():
        try:
            kept.write_text(json.dumps(_row(run(given, config, work), config, given.order)))
        except Interrupted as stopped:
            _say(str(stopped))
            sys.exit(75)
    row = json.loads(kept.read_text())
    note = "The model predicts every word and one end mark a sentence. The vocabulary is all words of train. "
    note += "Minutes and speed include the evaluations on valid. "
    note += f"Settings: {json.dumps(config.model_dump(mode='json', exclude_defaults=True))}"
    sys.stdout.write(f"{row}\n{write('ptb', 'Penn Treebank', [row], note)}\n")


if __name__ == "__main__":
    main()
