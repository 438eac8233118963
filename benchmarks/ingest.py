"""Memory of ingesting text: generated text of 10 (and 100) million tokens through corpus, vocabulary and token ids.

    python ingest.py [--tokens 10000000 100000000] [--folder FOLDER]

The steps are those of `taglm pretrain`, by their own builders, each in a process of its own; memory is the most
anonymous memory (RssAnon) that process held, sampled every 5 ms, so mapped files and the page cache do not count.
Words follow Zipf's law with a tail of rare ones that grows with the text: 0.37 million different words among 10
million tokens, 1.5 million among 100 million, which is more than real news has. With --folder the text, the objects
and the rows stay, and what was measured is not measured again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import AnonymousMemory, write

STEPS = ("corpus/text", "vocabulary", "token-ids")
CHUNK = 2_000_000  # tokens generated at once
COMMON, TAIL = 8_000, 1.6  # ranks with p(r) ~ 1 / r; beyond them p(r) ~ r ** -1.6
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
NOTE = """Peak anonymous memory (RssAnon) of the process that does the step, interpreter and libraries included. The
text is generated, with Zipf's law and a tail of rare words. Memory may grow with the different words, but not with the
tokens."""


def draw_ranks(count: int, generator: np.random.Generator) -> np.ndarray:
    """Ranks of words, from 1: log-uniform up to COMMON, a steeper power law beyond."""
    head, tail = np.log(COMMON), 1 / (TAIL - 1)  # integrals of both parts, equal where they meet
    u = generator.random(count) * (head + tail)
    beyond = COMMON * np.maximum(1e-9, 1 - (u - head) / tail) ** (-1 / (TAIL - 1))
    return np.where(u < head, np.exp(np.minimum(u, head)), np.minimum(beyond, 2e9)).astype(np.int64)


def spell(rank: int) -> str:
    """A word for a rank: different ones for different ranks."""
    letters = []
    while rank:
        rank, letter = divmod(rank - 1, len(LETTERS))
        letters.append(LETTERS[letter])
    return "".join(letters)


def generate(path: Path, tokens: int) -> None:
    """Write sentences of 5 to 45 words until there are so many tokens."""
    generator, left = np.random.default_rng(1), tokens
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w") as file:
        while left > 0:
            distinct, places = np.unique(draw_ranks(min(CHUNK, left), generator), return_inverse=True)
            words = [spell(rank) for rank in distinct.tolist()]
            text = [words[place] for place in places.tolist()]
            ends = np.cumsum(generator.integers(5, 46, len(text) // 5 + 1)).tolist()
            start = 0
            for end in ends:
                if start >= len(text):
                    break
                file.write(" ".join(text[start:end]) + "\n")
                start = end
            left -= len(text)
    temporary.rename(path)


def build_one(folder: Path, text: Path, name: str) -> None:
    """In a process of its own: build one step, say peak memory, seconds and counts as JSON."""
    from taglm_core.config.experiment import Experiment
    from taglm_core.pipeline.build import build
    from taglm_core.pipeline.context import PipelineContext
    from taglm_core.pipeline.plan import plan
    from taglm_core.pipeline.steps import Graph

    experiment = Experiment.model_validate({"unlabelled": {"path": str(text)}, "run": {"store": folder / "store"}})
    context = PipelineContext.resolve(experiment)
    store, graph = context.store, context.graph
    decisions = plan(store, Graph([graph[step] for step in STEPS]))
    inputs = {role: ref for role, above in graph[name].inputs.items() if (ref := decisions[above].ref) is not None}
    with AnonymousMemory() as memory:
        begun = time.perf_counter()
        ref = build(store, context.request(graph[name], inputs))
        seconds = time.perf_counter() - begun
    found = {"peak": memory.peak, "seconds": seconds, "counts": dict(store.manifest(ref.kind, ref.digest).counts)}
    sys.stdout.write(json.dumps(found))


def measure(folder: Path, tokens: int) -> list[dict[str, Any]]:
    """Rows of one size; those that an earlier run left in the folder are taken as they are."""
    text, kept = folder / f"text-{tokens}.txt", folder / f"rows-{tokens}.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    if len(rows) < len(STEPS) and not text.exists():
        generate(text, tokens)
    distinct = rows[-1]["different words"] if len(rows) > 1 else 0
    for name in STEPS[len(rows) :]:
        command = [sys.executable, __file__, "--step", name, "--folder", str(folder), "--tokens", str(tokens)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        distinct = found["counts"].get("distinct_words", distinct)
        rows.append({"tokens": tokens, "step": name, "anonymous memory (MB)": round(found["peak"] / 1e6),
                     "tokens a second": round(tokens / found["seconds"]), "different words": distinct})  # fmt: skip
        kept.write_text(json.dumps(rows))
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    return rows


def main() -> None:
    """Measure every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[10_000_000])
    parser.add_argument("--folder", type=Path, help="where text and objects stay; default: a temporary folder")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        build_one(given.folder, given.folder / f"text-{given.tokens[0]}.txt", given.step)
        return
    with tempfile.TemporaryDirectory(prefix="taglm-ingest-") as temporary:
        folder = Path(given.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [row for tokens in given.tokens for row in measure(folder, tokens)]
    for row in rows:  # the corpus is read before its words are counted
        row["different words"] = max(r["different words"] for r in rows if r["tokens"] == row["tokens"])
    sys.stdout.write(f"{write('ingest', 'Ingesting text', rows, ' '.join(NOTE.split()))}\n")


if __name__ == "__main__":
    main()
