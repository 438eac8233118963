"""The tables of docs/results.md: what an experiment's report, taggers and language models in the store say.

python benchmarks/results.py experiments/paper-chunking.yaml [--set KEY=VALUE ...]   prints Markdown, from the root
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

from taglm_core.config.load import load_experiment
from taglm_core.evaluation.error_analysis import VariantErrors
from taglm_core.evaluation.error_report import strata_table_rows
from taglm_core.evaluation.report import read_report
from taglm_core.evaluation.tables import markdown_table, table_rows
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.plan import Decision, plan
from taglm_core.store.records import Manifest
from taglm_core.store.store import Store

Made = Mapping[str, Manifest]


def section(experiment: Path, settings: list[str]) -> str:
    """The comparison, with seeds and minutes a seed, F1 by kind of span, and the language models behind it."""
    loaded = load_experiment(experiment, settings)
    store = Store(loaded.run.store)
    graph = build_graph(resolve_bases(store, loaded).experiment)
    decisions: Mapping[str, Decision] = plan(store, graph)
    report = decisions["report"].ref
    if report is None:
        sys.exit(f"{experiment}: no report in {store.root}; run it first")
    made = {n: store.manifest(d.ref.kind, d.ref.digest) for n, d in decisions.items() if d.ref is not None}
    folder = store.open(report).path
    comparison = read_report(folder)
    errors = json.loads((folder / "errors.json").read_text(encoding="utf-8"))["test"]
    variants = [variant.variant for variant in comparison.variants]
    strata = strata_table_rows({name: VariantErrors.from_dict(errors[name]) for name in variants})
    headers, rows = table_rows(comparison)
    for row, variant in zip(rows, comparison.variants, strict=True):
        names = [f"tagger/{variant.variant}/seed-{seed}" for seed in variant.seeds]
        minutes = statistics.fmean(made[name].seconds for name in names) / 60
        row += [", ".join(map(str, variant.seeds)), f"{minutes:.0f}"]
    comparison_rows = [*headers, "seeds", "minutes a seed"], rows
    return "\n".join(filter(None, (markdown_table(comparison_rows), markdown_table(strata), language_models(made))))


def language_models(made: Made) -> str:
    """One row a language model: perplexities of held-out text, with carried state and from the break state."""
    headers = ["language model", "parameters", "million tokens", "carried", "from break", "unknown", "minutes"]
    rows = []
    for name, manifest in made.items():
        if manifest.recipe.kind != "language-model":
            continue
        metrics, counts = manifest.metrics, manifest.counts
        rows.append([
            name.removeprefix("language-model/"), f"{counts['parameters']:,}",
            f"{counts['training_tokens_total'] / 1e6:.1f}", f"{metrics['heldout/perplexity']:.1f}",
            f"{metrics['heldout/perplexity_break_state']:.1f}", f"{100 * metrics['heldout/unknown_rate']:.1f} %",
            f"{manifest.seconds / 60:.0f}",
        ])  # fmt: skip
    return markdown_table((headers, rows)) if rows else ""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    sys.stdout.write(section(given.experiment, given.set))


if __name__ == "__main__":
    main()
