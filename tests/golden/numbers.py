"""The numbers of a tiny experiment, one entry a kind of object; for evaluation and report also of fixed predictions.

python -m tests.golden.numbers     writes golden.json anew, after STAGE_VERSION was raised in pipeline/kinds.py
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from taglm_core.config.load import load_experiment
from taglm_core.pipeline.build import build
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import KINDS
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from tests.golden import predictions

GOLDEN = Path(__file__).with_name("golden.json")
SETTINGS = ["demo.train_sentences=30", "demo.dev_sentences=20", "demo.test_sentences=20",
            "demo.unlabelled_sentences=4000", "unlabelled.heldout_fraction=0.1", "unlabelled.shards=2",
            "language_models.main={input: {kind: char-cnn, dim: 4, filters: [[2, 8]], size: 8}, units: 16, "
            "projection: 8, streams: 4, window: 5, steps: 12, "
            "softmax: {kind: adaptive, cutoffs: [50, 200], shrink: 2}}",
            "seeds=[1]", "tagger={units: [8, 8], batch_size: 8, max_epochs: 2, patience: 1, learning_rate: 0.02}",
            "tagger.words.vectors=vectors.txt", "significance.rounds=200"]  # fmt: skip
EXACT = ("demo-corpus", "tag-scheme", "corpus", "corpus-statistics", "vocabulary", "token-ids", "word-vectors")


def compute(folder: Path) -> dict[str, Any]:
    """Build the tiny experiment in a folder (the working directory) and take numbers of every kind of object."""
    lines = [f"{word} " + " ".join(f"{(number + column) % 7 / 7:.3f}" for column in range(6))
             for number, word in enumerate(("the", "said", "in", "of", ".", "000"))]  # fmt: skip
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n")
    experiment = load_experiment(None, [*SETTINGS, f"run.store={folder / 'store'}"])
    context = PipelineContext.resolve(experiment)
    store = context.store
    refs: dict[str, Ref] = {}
    numbers: dict[str, Any] = {}
    for name, step in context.graph.items():
        inputs = {role: refs[above] for role, above in step.inputs.items()}
        refs[name] = build(store, context.request(step, inputs))
        entry = numbers.setdefault(step.kind, {"version": KINDS[step.kind].version, "steps": {}})
        entry["steps"][name] = refs[name].digest if step.kind in EXACT else _floats(store, refs[name])
    for kind, fixed in (("evaluation", predictions.evaluation), ("report", predictions.report)):
        (folder / kind).mkdir()
        numbers[kind]["fixed"] = fixed(folder / kind)
    return numbers


def _floats(store: Store, ref: Ref) -> dict[str, float]:
    """Metrics but for speeds, and sums of absolute weights."""
    metrics = store.manifest(ref.kind, ref.digest).metrics
    found = {name: float(value) for name, value in metrics.items() if "per_second" not in name}
    for path in sorted(store.open(ref).path.glob("*.safetensors")):
        found[path.stem] = float(sum(np.abs(tensor).sum() for tensor in load_file(path).values()))
    return found


def to_text(numbers: dict[str, Any]) -> str:
    """JSON with the innermost lists and records on a line each."""
    text = json.dumps(numbers, indent=1, sort_keys=True) + "\n"
    return re.sub(r"[\[{][^][{}]*[]}]", lambda found: " ".join(found[0].split()), text)


if __name__ == "__main__":
    import os

    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        GOLDEN.write_text(to_text(compute(Path(temporary))))
