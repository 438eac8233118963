"""Span F1 from integer codes and from strings against seqeval, on random BIOES sequences."""

from __future__ import annotations

import sys

import numpy as np
from record import interleaved, write
from seqeval.metrics import f1_score

from taglm_core.evaluation.spans import SpanPair, bioes_to_iob2, encode_tags

TAGS = ("O", *(f"{position}-{kind}" for kind in ("LOC", "MISC", "ORG", "PER") for position in "BIES"))
SENTENCES, LENGTH = 50_000, 20


def main() -> None:
    """Measure a million tokens."""
    generator = np.random.default_rng(1)
    gold = [[TAGS[code] for code in row] for row in generator.integers(len(TAGS), size=(SENTENCES, LENGTH))]
    kept = generator.random((SENTENCES, LENGTH)) < 0.9
    other = generator.integers(len(TAGS), size=(SENTENCES, LENGTH))
    predicted = [[tag if keep else TAGS[code] for tag, keep, code in zip(*row, strict=True)]
                 for row in zip(gold, kept, other, strict=True)]  # fmt: skip
    mapped = [[bioes_to_iob2(row) for row in side] for side in (gold, predicted)]
    coded = encode_tags(gold, predicted)
    seconds = interleaved({
        "codes": lambda: SpanPair(coded).counts(),
        "strings": lambda: SpanPair(encode_tags(gold, predicted)).counts(),
        "seqeval": lambda: f1_score(*mapped, zero_division=0),
    }, runs=5)  # fmt: skip
    assert abs(SpanPair(coded).counts().micro.f1 - float(f1_score(*mapped, zero_division=0))) < 1e-12
    row = {"tokens": SENTENCES * LENGTH, "milliseconds": {name: round(1000 * s, 1) for name, s in seconds.items()},
           "codes against seqeval": round(seconds["seqeval"] / seconds["codes"], 1),
           "strings against seqeval": round(seconds["seqeval"] / seconds["strings"], 1)}  # fmt: skip
    sys.stdout.write(f"{row}\n{write('spans', 'Span F1 against seqeval', [row])}\n")


if __name__ == "__main__":
    main()
