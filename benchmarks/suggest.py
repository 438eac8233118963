"""Learning curve of `taglm suggest` against random choice: rounds of label, retrain, suggest, with labels from the set.

python benchmarks/suggest.py --work FOLDER     from the root; `python benchmarks/suggest.py --help` has the settings

Each seed begins with the same sentences for both choices. In every round the tagger is trained anew; then sentences
are added: those that `taglm suggest` writes, or the next ones of a random order of the same candidates (3 to 100
tokens, each sentence once). Early stopping reads a small development set; the test set is scored once a round. Store
and files stay in the work folder: a second run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from record import write

from taglm_core.config.data import LabelledFormat
from taglm_core.config.load import load_experiment
from taglm_core.corpus.schemes import to_spans
from taglm_core.evaluation.report import read_report
from taglm_core.formats.labelled import LabelledReading, read_labelled
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.plan import plan
from taglm_core.store.store import Store

EXPERIMENT = "experiments/conll2003-few-labels.yaml"
SUGGEST, RANDOM = "suggest", "random"
Sentence = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Round:
    """One training: the labels that are there, and the settings of its run."""

    work: Path
    choice: str
    seed: int
    number: int
    steps: int

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.work / f"seed-{self.seed}" / (self.choice if self.number else "start") / f"round-{self.number}"

    def settings(self) -> list[str]:
        """Return what differs from the experiment."""
        return [
            f"labelled.train={self.folder / 'train.conll'}", f"labelled.dev={self.work / 'dev.conll'}",
            f"labelled.test={self.work / 'test.conll'}", "labelled.train_fraction=1", f"seeds=[{self.seed}]",
            "variants=[{name: TagLM, lm: main, tagger: {lm: {dropout: 0.5}}}]", "tagger.max_epochs=30",
            "tagger.patience=8", "tagger.annealing=[]", f"language_models.main.steps={self.steps}",
            f"run.store={self.work / 'store'}", "run.tracking=false",
        ]  # fmt: skip

    def taglm(self, command: str, *arguments: object) -> None:
        """Run a command of the project with these settings."""
        sets = [word for setting in self.settings() for word in ("--set", setting)]
        line = [str(Path(sys.executable).with_name("taglm")), command, *map(str, arguments), *sets]
        with (self.work / "commands.log").open("a") as log:
            subprocess.run(line, check=True, stdout=log, stderr=subprocess.STDOUT)

    def f1(self) -> float:
        """Return the test F1 in percent; train first where that was not done."""

        def scored() -> float | None:
            loaded = load_experiment(Path(EXPERIMENT), self.settings())
            store = Store(loaded.run.store)
            report = plan(store, build_graph(loaded))["report"].ref
            if report is None:
                return None
            return 100 * read_report(store.open(report).path).variants[0].f1.mean

        found = scored()
        if found is None:
            self.taglm("run", EXPERIMENT)
            found = scored()
        assert found is not None
        return found


def written(path: Path, sentences: Iterable[Sentence]) -> None:
    """Write two columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join("".join(f"{token}\t{tag}\n" for token, tag in zip(*one, strict=True)) + "\n" for one in sentences),
        encoding="utf-8",
    )


def read(path: Path) -> list[Sentence]:
    """Return the sentences of a labelled file with BIOES tags."""
    found = read_labelled([path], LabelledReading(format=LabelledFormat.CONLL))
    return list(zip(found.tokens, found.tags, strict=True))


def suggested(last: Round, pool: Path, count: int) -> list[int]:
    """Return the places in the pool of the sentences that the last round's tagger suggests."""
    out = last.folder / "suggested.jsonl"
    if not out.exists():
        part = out.with_suffix(".part")
        part.unlink(missing_ok=True)
        last.taglm(
            "suggest", f"{EXPERIMENT}:TagLM", pool, "--input", "tokens", "--count", count, "--to", part, "--not",
            last.folder / "train.conll", "--experiment", EXPERIMENT,
        )  # fmt: skip
        part.rename(out)
    return [json.loads(line)["row"] - 1 for line in out.read_text(encoding="utf-8").splitlines()]


def facts(sentences: Sequence[Sentence]) -> tuple[int, int]:
    """Return the tokens and entities of sentences."""
    return sum(len(tokens) for tokens, _ in sentences), sum(len(to_spans(tags)) for _, tags in sentences)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/conll2003"), help="eng.train, testa, testb")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--first", type=int, default=281, help="labelled sentences at the start (2 %%)")
    parser.add_argument("--count", type=int, default=140, help="sentences a round (1 %%)")
    parser.add_argument("--dev", type=int, default=500, help="development sentences")
    parser.add_argument("--steps", type=int, default=1500, help="steps of each language model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    work = given.work.resolve()
    everything = dict.fromkeys(read(given.corpus / "eng.train"))
    first_of = {tuple(token.casefold() for token in one[0]): one for one in reversed(everything)}
    pool = [one for one in everything if first_of[tuple(token.casefold() for token in one[0])] is one
            and 3 <= len(one[0]) <= 100]  # fmt: skip
    written(work / "dev.conll", random.Random(0).sample(read(given.corpus / "eng.testa"), given.dev))
    written(work / "test.conll", read(given.corpus / "eng.testb"))
    (work / "pool.txt").write_text("".join(f"{' '.join(tokens)}\n" for tokens, _ in pool), encoding="utf-8")
    rows = []
    for seed in given.seeds:
        order = random.Random(seed).sample(range(len(pool)), len(pool))
        for choice in (RANDOM, SUGGEST):
            chosen, now = order[: given.first], Round(work, choice, seed, 0, given.steps)
            for number in range(given.rounds + 1):
                if number:
                    had = set(chosen)
                    rest = (place for place in order if place not in had)
                    more = suggested(now, work / "pool.txt", given.count) if choice == SUGGEST else rest
                    chosen = [*chosen, *[place for place, _ in zip(more, range(given.count), strict=False)]]
                now = replace(now, number=number)
                written(now.folder / "train.conll", [pool[place] for place in chosen])
                tokens, entities = facts([pool[place] for place in chosen])
                row = {"choice": choice, "seed": seed, "round": number, "sentences": len(chosen), "tokens": tokens,
                       "entities": entities, "f1": now.f1()}  # fmt: skip
                rows.append(row)
                sys.stdout.write(f"{json.dumps(row)}\n")
                sys.stdout.flush()
    table = []
    for number in range(given.rounds + 1):
        for choice in (RANDOM, SUGGEST):
            cells = [row for row in rows if row["round"] == number and row["choice"] == choice]
            scores = [row["f1"] for row in cells]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            table.append({"round": number, "choice": choice, "sentences": cells[0]["sentences"],
                          "tokens": round(statistics.fmean(row["tokens"] for row in cells)),
                          "entities": round(statistics.fmean(row["entities"] for row in cells)),
                          "test F1": f"{statistics.fmean(scores):.2f} ± {spread:.2f}"})  # fmt: skip
    sys.stdout.write(f"{write('suggest', 'taglm suggest against random choice', table)}\n")


if __name__ == "__main__":
    main()
