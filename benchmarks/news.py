"""One pass over the news text: words by shape class against characters, both directions, on the same held-out words.

    python news.py --work FOLDER [--pass 1.0] [--side-by-side 2]
    nohup python news.py --work FOLDER > news.log 2>&1 &

`words` is the preset lstm-512-256 with `unknown: shape` (adaptive softmax), `chars` is char-cnn-small (adaptive
softmax) with as many steps as take the same time: its speed is measured first, and its budget stands in
FOLDER/budget.json from then on.

Perplexities compare only over the same events. So both models get one vocabulary: the 50,000 entries that
lstm-512-256 has by itself, in place of the 40,000 of char-cnn-small: every target is the same word, or the same class
of unknown words, for both. Beside the perplexity over all targets stands that over known words and marks alone, where
no model is flattered by classes. The models differ in what they read (an unknown word is a class to one, its
characters to the other), not in what they predict.

The steps are the project's own, built in the store of the work folder: what is there is reused, what was killed goes
on from its checkpoint. The corpora are those beside the project.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from record import write

from taglm_core.config.experiment import Experiment
from taglm_core.corpus.parquet import load_sentences
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.corpus.token_ids import EXTRA_WORDS_FILE, TokenIds
from taglm_core.corpus.vocabulary import WORDS_FILE
from taglm_core.pipeline.build import clear_work
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.plan import plan
from taglm_core.pipeline.steps import Graph
from taglm_core.process.launch import make as make_object
from taglm_core.store.records import Ref
from taglm_core.store.store import Store
from taglm_core.training.journal import Event

DATA = Path(__file__).parents[2] / "shared" / "data"
WORDS = {"preset": "lstm-512-256", "unknown": "shape"}
CHARS = {"preset": "char-cnn-small", "vocabulary_size": 50_000}
WORDS_STEP, CHARS_STEP = 128 * 20, 64 * 20  # tokens
PROBE_STEPS = 8
TEXT = ("corpus/text", "vocabulary", "token-ids")
LABELLED = ("scheme", "corpus/train", "corpus/dev", "corpus/test")
NOTE = """Both models have one vocabulary, so that all perplexities of a direction are over the same events: {entries:,}
entries, unknown words as classes of their shape. Of the {predictions:,} held-out words and marks {unknown:.2f} % are
unknown; of CoNLL-2003's test tokens {tokens:.2f} %, of its entity tokens {entities:.2f} %. `known` leaves targets of
unknown classes out. `words` is lstm-512-256 with unknown: shape, passes of the text: {passes:g}. `chars` is
char-cnn-small, trained for the same time, by a measured speed. Minutes are those of training, {side} processes of one
thread side by side."""


def experiment_of(given: argparse.Namespace, steps: dict[str, int]) -> Experiment:
    """The experiment, with the steps of each model."""
    models = {
        name: {**settings, "steps": steps.get(name, 1)} for name, settings in (("words", WORDS), ("chars", CHARS))
    }
    labelled = {split: str(DATA / "conll2003" / f"eng.{file}")
                for split, file in (("train", "train"), ("dev", "testa"), ("test", "testb"))}  # fmt: skip
    run = {"store": given.work / "store", "tracking": False, "device": "cpu", "threads": 1, "checkpoint_seconds": 120,
           "evaluate_steps": given.evaluate, "log_steps": 50}  # fmt: skip
    return Experiment.model_validate({
        "name": "bench-news", "labelled": {"name": "conll2003", **labelled},
        "unlabelled": {"name": "news", "path": str(given.text), "heldout_fraction": 0.005},
        "language_models": models, "variants": [{"name": "baseline"}], "run": run,
    })  # fmt: skip


def make(experiment: Experiment, names: Iterable[str], side_by_side: int = 1) -> dict[str, Ref]:
    """Build steps that do not depend on each other's being built here; reuse what is there."""
    context, names = PipelineContext.resolve(experiment), list(names)
    store, graph = context.store, context.graph

    def one(name: str) -> Ref:
        step = graph[name]
        needed = graph.above(name) | {name}
        decisions = plan(store, Graph([graph[each] for each in graph if each in needed]))
        found = decisions[name].ref
        if found is not None:
            return found
        inputs = {role: ref for role, above in step.inputs.items() if (ref := decisions[above].ref) is not None}
        say(f"{name}: {decisions[name].reason}")
        request = context.request(step, inputs)
        ref = make_object(store, request, lambda events, _: follow(name, events))
        clear_work(store, request.recipe)
        return ref

    with ThreadPoolExecutor(side_by_side) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def follow(name: str, events: list[Event]) -> None:
    """The journal of a training process, for the log."""
    for event in [*(e for e in events if e.kind == "message"), *[e for e in events if e.kind == "progress"][-1:]]:
        say(f"{name}: {event.text}")


def say(text: str) -> None:
    """A line of the log."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def probe(experiment: Experiment, name: str) -> float:
    """In a process of its own: tokens a second of a model's training steps."""
    from taglm_core.corpus.token_ids import TokenIds
    from taglm_core.lm.lm_training import Intervals, LmTraining
    from taglm_core.lm.lm_vocabulary import LmVocabulary
    from taglm_core.lm.model import WordTable, build_network
    from taglm_core.lm.streams import Streams
    from taglm_core.training.devices import open_device
    from taglm_core.training.loop import take_step

    open_device("cpu", 1)
    refs, store = make(experiment, TEXT), Store(experiment.run.store)
    config = experiment.language_models[name]
    words = store.open(refs["vocabulary"]).path / WORDS_FILE
    folder = store.open(refs["token-ids"]).path
    vocabulary = LmVocabulary.select(words, size=config.vocabulary_size, min_count=config.min_count, shapes=True)
    table = WordTable(all_words(store, refs), vocabulary, config)
    streams = Streams(TokenIds.open(folder).train_shards, streams=config.streams, window=config.window,
                      backward=False, seed=1)  # fmt: skip
    network = build_network(config, len(vocabulary))
    training = LmTraining(network, table, streams, [], config, Intervals(10**9, 10**9))
    take_step(training)
    begun = time.perf_counter()
    for _ in range(PROBE_STEPS):
        take_step(training)
    return PROBE_STEPS * config.step_tokens / (time.perf_counter() - begun)


def budget(given: argparse.Namespace, tokens: int) -> dict[str, int]:
    """Steps of both models, decided once: a pass for the words, the same time for the characters."""
    path = given.work / "budget.json"
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        if known["pass"] == given.passes:
            return {name: int(steps) for name, steps in known["steps"].items()}
    command = [sys.executable, __file__, *sys.argv[1:], "--probe"]
    speeds = {}
    for name in ("words", "chars"):  # as many at once as will train at once
        running = [
            subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for _ in range(given.side_by_side)
        ]
        found = [float(process.communicate()[0].split()[-1]) for process in running]
        speeds[name] = sum(found) / len(found)
    read = given.passes * tokens
    steps = {"words": max(1, round(read / WORDS_STEP)),
             "chars": max(1, round(read * speeds["chars"] / speeds["words"] / CHARS_STEP))}  # fmt: skip
    path.write_text(json.dumps({"pass": given.passes, "steps": steps, "speeds": speeds}))
    return steps


def all_words(store: Store, refs: dict[str, Ref]) -> list[str]:
    """Words by number."""
    files = (store.open(refs["vocabulary"]).path / WORDS_FILE, store.open(refs["token-ids"]).path / EXTRA_WORDS_FILE)
    words: list[str] = []
    for file in files:
        words += pq.read_table(file, columns=["word"])["word"].to_pylist()
    assert words[0] == BOUNDARY
    return words


def score(store: Store, ref: Ref, heldout: list[tuple[str, ...]]) -> tuple[Any, dict[str, float]]:
    """The loaded model, and its perplexities on held-out sentences."""
    import torch

    from taglm_core.lm.model import load_language_model
    from taglm_core.lm.scoring import score_sentences
    from taglm_core.training.devices import open_device

    open_device("cpu", 1)
    lm = load_language_model(store.open(ref).path, torch.device("cpu"))
    scores = list(score_sentences(lm, heldout))
    unknown = np.concatenate([each.unknown for each in scores])
    found: dict[str, float] = {"unknown": float(unknown.mean()), "predictions": float(len(unknown))}
    for name, losses in (("break state", [each.from_break for each in scores]),
                         ("carried", [each.carried for each in scores])):  # fmt: skip
        values = np.concatenate(losses)
        found |= {f"all, {name}": math.exp(values.mean()), f"known, {name}": math.exp(values[~unknown].mean())}
    return lm, found


def main() -> None:
    """Train all four, score them on the same words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="store and budget; outside the project")
    parser.add_argument("--pass", type=float, default=1.0, dest="passes", help="of the text; 0.01 for a trial")
    parser.add_argument("--text", type=Path, default=DATA / "news" / "news.txt.gz")
    parser.add_argument("--side-by-side", type=int, default=2, help="training processes at once")
    parser.add_argument("--evaluate", type=int, default=500, help="steps between looks at the held-out text")
    parser.add_argument("--heldout", type=int, default=10**9, help="sentences scored at the end")
    parser.add_argument("--directions", nargs="+", choices=("forward", "backward"), default=["forward", "backward"])
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.probe:
        sys.stdout.write(f"{probe(experiment_of(given, {}), given.probe)}\n")
        return
    refs = make(experiment_of(given, {}), [*TEXT, *LABELLED])
    store = Store(given.work / "store")
    counts = store.manifest("token-ids", refs["token-ids"].digest).counts
    steps = budget(given, counts["train_tokens"] + counts["train_sentences"])
    say(f"steps: {steps}")
    experiment = experiment_of(given, steps)
    names = [f"language-model/{model}/{way}" for model in ("words", "chars") for way in given.directions]
    made = make(experiment, names, given.side_by_side)
    words, text = all_words(store, refs), TokenIds.open(store.open(refs["token-ids"]).path).heldout
    heldout = [
        tuple(words[number] for number in text.sentence(index)) for index in range(min(len(text), given.heldout))
    ]
    labelled = load_sentences(store.open(refs["corpus/test"]).path)
    write_table(given, store, made, heldout, labelled)


def write_table(given: argparse.Namespace, store: Store, made: dict[str, Ref], heldout: list[tuple[str, ...]],
                labelled: Any) -> None:  # fmt: skip
    """Score all models and write their rows."""
    from taglm_core.stages.embed import unknown_rates

    rows: list[dict[str, Any]] = []
    entries, rates, found = None, {}, {}
    for name, ref in made.items():
        lm, found = score(store, ref, heldout)
        assert entries in (None, lm.vocabulary.words), "the vocabularies differ"
        entries, rates = lm.vocabulary.words, unknown_rates(lm, labelled, {})
        manifest = store.manifest(ref.kind, ref.digest)
        _, model, way = name.split("/")
        perplexities = {key: round(value, 1) for key, value in found.items() if "," in key}
        minutes = manifest.counts["training_tokens"] / manifest.metrics["tokens_per_second"] / 60
        rows.append({"model": model, "direction": way, "perplexity": perplexities,
                     "steps": lm.config.steps, "tokens read": manifest.counts["training_tokens"],
                     "minutes": round(minutes, 1),
                     "tokens a second": round(manifest.metrics["tokens_per_second"]),
                     "parameters": manifest.counts["parameters"]})  # fmt: skip
        say(str(rows[-1]))
    note = " ".join(NOTE.split()).format(
        entries=len(lm.vocabulary), predictions=int(found["predictions"]), unknown=100 * found["unknown"],
        tokens=100 * rates["unknown_rate"], entities=100 * rates["unknown_rate_entities"], passes=given.passes,
        side=given.side_by_side,
    )  # fmt: skip
    say(str(write("news", "Words by shape class against characters", rows, note)))


if __name__ == "__main__":
    main()
