"""Training steps of one architecture by TagLM and by flair's tagger, one thread each.

    words        trainable word embeddings of 100 numbers, one bidirectional LSTM of 200 units a direction, CRF
    characters   the same with a bidirectional LSTM over characters, 25 units a direction (Lample et al. 2016)

1,000 sentences of CoNLL-2003 train, batches of 32; the words are those of the whole split, so that the table of
embeddings has its real size. flair runs in an environment and a process of its own (flair_tagger.py).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from record import write
from tagger_epoch import specify, split_labelled, tagger, train_epoch

from taglm_core.config.tagger import TaggerConfig
from taglm_core.evaluation.spans import conlleval_spans
from taglm_core.tagging.tagger_training import TaggerTraining
from taglm_core.tagging.trained import TaggerSpec
from taglm_core.tagging.words import normalise
from taglm_core.training.devices import open_device

FLAIR = Path(__file__).parents[1] / ".venv-flair" / "bin" / "python"
SENTENCES, RUNS = 1_000, 5
SHARED = {
    "cell": "lstm", "units": [200], "dropout": 0.0, "locked_dropout": 0.5, "word_dropout": 0.05, "dropout_output": True,
    "start_end": True, "batch_size": 32, "words": {"size": 100, "dropout": 0.0},
}  # fmt: skip
CHARACTERS: dict[str, dict[str, Any]] = {
    "words": {"kind": "none"}, "characters": {"kind": "lstm", "dim": 25, "units": 25, "layers": 1, "dropout": 0.0},
}  # fmt: skip
NOTE = """{sentences:,} sentences of CoNLL-2003 train, {tokens:,} tokens, batches of 32, whole steps (forward, backward,
clip, Adam); the processor's seconds of one thread, medians of {runs} rounds. `words` has trainable words of the whole
split (100 numbers), one bidirectional LSTM of 200 units a direction, and a CRF. `characters` also has a bidirectional
LSTM of 25 units a direction over characters. Dropout is flair's default on both sides (locked 0.5, words 0.05; only
flair drops the characters together with the word). As each does in training, TagLM batches sentences of similar length
and flair draws them at random. `flair, TagLM's batches` gives flair the batches of TagLM."""


def config_of(name: str) -> TaggerConfig:
    """Settings of an architecture."""
    return TaggerConfig.model_validate({**SHARED, "characters": CHARACTERS[name]})


class Text:
    """The sentences, and what both sides know of the whole split.

    Attributes:
        tokens: of the chosen sentences.
        tags: theirs, BIOES.
    """

    def __init__(self) -> None:
        self._every, self._every_tags = split_labelled()
        step = max(1, len(self._every) // SENTENCES)  # spread over the split, which is in the order of the news
        self.tokens, self.tags = (part[::step][:SENTENCES] for part in (self._every, self._every_tags))

    def spec(self, name: str) -> TaggerSpec:
        """An architecture that knows the words and tags of the whole split."""
        return specify(self._every, self._every_tags, [], config_of(name))

    def training(self, name: str) -> TaggerTraining:
        """Training of an architecture on the chosen sentences."""
        return tagger(self.tokens, self.tags, [], self.spec(name))

    def for_flair(self) -> dict[str, Any]:
        """What flair_tagger.py reads first."""
        spec = self.spec("characters")
        config, characters = spec.config, CHARACTERS["characters"]
        spans = [[tuple(span) for span in conlleval_spans(tags)] for tags in self.tags]
        row_of = {token: spec.words.ids[normalise(token)] for sentence in self._every for token in sentence}
        return {
            "tokens": self.tokens, "spans": spans, "labels": sorted({tag[2:] for tag in spec.tags if tag != "O"}),
            "rows": spec.words.words, "row_of": row_of, "word_size": spec.word_size,
            "character_size": characters["dim"], "character_units": characters["units"], "units": config.units[0],
            "word_dropout": config.word_dropout, "locked_dropout": config.locked_dropout, "clip": config.clip,
            "batch_size": config.batch_size, "learning_rate": config.learning_rate,
        }  # fmt: skip


class Flair:
    """flair's side, in a process of its own.

    Args:
        text: the sentences.
    """

    def __init__(self, text: Text) -> None:
        script = Path(__file__).with_name("flair_tagger.py")
        self._process = subprocess.Popen([FLAIR, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._send(text.for_flair())

    def __enter__(self) -> Flair:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def parameters(self, name: str) -> int:
        """Of one architecture."""
        return int(self._ask(do="count", tagger=name)["parameters"])

    def train(self, name: str, batches: Sequence[Sequence[int]] | None = None) -> float:
        """Seconds of an epoch, of these batches or of its own."""
        return float(self._ask(do="train", tagger=name, batches=batches)["seconds"])

    def tag(self, name: str, batch_size: int) -> float:
        """Seconds of tagging all sentences."""
        return float(self._ask(do="tag", tagger=name, batch_size=batch_size)["seconds"])

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._send(request)
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def _send(self, data: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(data) + "\n")
        self._process.stdin.flush()


def train_ours(training: TaggerTraining) -> float:
    """Seconds of an epoch."""
    begun = time.process_time()
    train_epoch(training)
    return time.process_time() - begun


def compare(name: str, text: Text, flair: Flair) -> dict[str, Any]:
    """The row of an architecture; both sides take turns, and the first turn does not count."""
    training = text.training(name)
    batches = [batch.tolist() for batch in training._batches]
    turns = {"TagLM": lambda: train_ours(training), "flair": lambda: flair.train(name),
             "flair, TagLM's batches": lambda: flair.train(name, batches)}  # fmt: skip
    seconds: dict[str, list[float]] = {side: [] for side in turns}
    for turn in range(1 + RUNS):
        for side, run in turns.items():
            spent = run()
            if turn:
                seconds[side].append(spent)
    speeds = {side: len(text.tokens) / statistics.median(spent) for side, spent in seconds.items()}
    ours = speeds["TagLM"]
    parameters = {"TagLM": sum(part.numel() for part in training.model.parameters()), "flair": flair.parameters(name)}
    return {"tagger": name, "parameters": parameters,
            "sentences a second": {side: round(speed) for side, speed in speeds.items()},
            "TagLM against": {side: round(ours / speeds[side], 2) for side in list(turns)[1:]}}  # fmt: skip


def main() -> None:
    """Both architectures."""
    open_device("cpu", 1)
    text = Text()
    rows = []
    with Flair(text) as flair:
        for name in CHARACTERS:
            rows.append(compare(name, text, flair))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    tokens = sum(map(len, text.tokens))
    note = " ".join(NOTE.split()).format(sentences=len(text.tokens), tokens=tokens, runs=RUNS)
    sys.stdout.write(f"{write('tagger_training', 'Training against flair', rows, note)}\n")


if __name__ == "__main__":
    main()
