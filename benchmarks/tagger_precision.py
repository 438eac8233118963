"""Training steps of a tagger in float32 and in bfloat16 (`run.precision`), one thread.

1,000 sentences of CoNLL-2003 train, whole steps (forward, backward, clip, Adam), each preset of the tagger section.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from record import interleaved, write
from tagger_epoch import specify, split_labelled, tagger, train_epoch

from taglm_core.config.tagger import TaggerConfig
from taglm_core.training.devices import Device, open_device

PRESETS: dict[str, dict[str, Any]] = {
    "defaults": {}, "paper-ner": {"preset": "paper-ner"}, "paper-chunking": {"preset": "paper-chunking"},
}  # fmt: skip
PRECISIONS = ("float32", "bfloat16")
SENTENCES, RUNS = 1_000, 5
NOTE = """{sentences:,} sentences of CoNLL-2003 train, baseline, batches of 32, whole steps (forward, backward, clip,
Adam); the processor's seconds of one thread, medians of {runs} epochs. LSTMs (paper-chunking) and the CRF stay in
float32."""


def main() -> None:
    """Every preset."""
    open_device("cpu", 1, precision="bfloat16")  # says so where the processor has no instructions for it
    every, every_tags = split_labelled()
    step = len(every) // SENTENCES
    tokens, tags = every[::step][:SENTENCES], every_tags[::step][:SENTENCES]
    rows = []
    for name, settings in PRESETS.items():
        spec = specify(tokens, tags, [], TaggerConfig.model_validate(settings))
        trainings = {p: tagger(tokens, tags, [], spec, Device("cpu", 1, precision=p)) for p in PRECISIONS}
        epochs = {precision: partial(train_epoch, training) for precision, training in trainings.items()}
        seconds = interleaved(epochs, RUNS, clock=time.process_time)
        speeds = {precision: round(SENTENCES / spent) for precision, spent in seconds.items()}
        share = round(seconds["bfloat16"] / seconds["float32"], 2)
        rows.append({"preset": name, "sentences/s": speeds, "time of bfloat16 against float32": share})
        sys.stdout.write(f"{rows[-1]}\n")
    note = " ".join(NOTE.format(sentences=SENTENCES, runs=RUNS).split())
    sys.stdout.write(f"{write('tagger_precision', 'A tagger in float32 and in bfloat16', rows, note)}\n")


if __name__ == "__main__":
    main()
