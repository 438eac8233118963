"""The error analysis as tables and text: the gains of one variant on another, and the remaining mistakes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from taglm_core.evaluation.error_analysis import OUTCOMES, STRATA, WORDS, VariantErrors
from taglm_core.evaluation.report import Sample
from taglm_core.evaluation.tables import Table, format_sample, markdown_table, markdown_text

Errors = Mapping[str, VariantErrors]
"""Error analyses by variant, on one split."""


def strata_samples(errors: Errors) -> dict[str, tuple[int, dict[str, Sample]]]:
    """Return gold spans, and F1 of each variant, by stratum, for strata that have gold spans."""
    first = next(iter(errors.values()))
    return {
        name: (gold, {variant: _f1(its, group, name) for variant, its in errors.items()})
        for group, names in STRATA.items()
        for name in names
        if (gold := first.strata[group][name][0].gold)
    }


def strata_table_rows(errors: Errors) -> Table:
    """Return F1 by stratum: one row per stratum, one column per variant."""
    rows = [
        [name, f"{gold:,}", *(format_sample(sample) for sample in samples.values())]
        for name, (gold, samples) in strata_samples(errors).items()
    ]
    return ["gold spans", "number", *errors], rows


def outcome_table_rows(errors: Errors) -> Table:
    """Return the outcomes of spans: mean number over seeds, one row per outcome, one column per variant."""
    rows = [[name, *(_mean(found.outcomes[name]) for found in errors.values())] for name in OUTCOMES]
    return ["spans", *errors], rows


def confusion_table_rows(errors: Errors, most: int = 8) -> Table:
    """Return confused types, mean number over seeds; the most frequent ones of all variants together first."""
    totals: dict[str, float] = {}
    for found in errors.values():
        for name, counts in found.confusions.items():
            totals[name] = totals.get(name, 0.0) + statistics.fmean(counts)
    names = sorted(totals, key=lambda name: (-totals[name], name))[:most]
    return ["gold > predicted", *errors], [
        [name, *(_mean(found.confusions.get(name, (0,))) for found in errors.values())] for name in names
    ]


def word_table_rows(errors: Errors) -> Table:
    """Return the share of right tags by kind of word: one row per kind that occurs, one column per variant."""
    first = next(iter(errors.values()))
    rows = []
    for name in WORDS:
        tokens = first.words[name][0].tokens
        if tokens:
            samples = (
                Sample.of([seed.correct / seed.tokens for seed in found.words[name]]) for found in errors.values()
            )
            rows.append([name, f"{tokens:,}", *(format_sample(sample) for sample in samples)])
    return ["words", "number", *errors], rows


def errors_to_markdown(measured: Errors, dev: Errors, split: str = "test") -> str:
    """Return tables of the measured split, and the most frequent mistakes on the development split.

    Mistakes are shown on dev alone: looking at single test sentences during development is tuning on them.
    """
    parts = [
        f"## Where the variants err ({split})\n\n",
        f"{markdown_table(strata_table_rows(measured))}\n",
        "F1 in per cent. *Seen*: the same words are an entity in training (and dev, if a tagger here learnt from it); "
        "*known*: all words occur there.\n\n",
        f"{markdown_table(outcome_table_rows(measured))}\n",
        "Gold spans by what was predicted there (mean over seeds); *spurious*: predicted where no gold span is.\n\n",
        f"{markdown_table(confusion_table_rows(measured))}\n",
        "Types taken for another (mean over seeds), boundaries right or not.\n\n",
        f"{markdown_table(word_table_rows(measured))}\n",
        "Share of tokens with the right tag, in per cent.\n",
    ]
    for variant, found in dev.items():
        parts.append(f"\n## Most frequent mistakes of {markdown_text(variant)} (dev, all seeds together)\n\n")
        parts.append(markdown_table(mistake_table_rows(found), text_columns=3) if found.mistakes else "None.\n")
    return "".join(parts)


def mistake_table_rows(found: VariantErrors) -> Table:
    """Return the named mistakes of one variant, one row each."""
    return ["mistake", "gold", "predicted", "times"], [
        [
            mistake.outcome,
            _span(mistake.gold, mistake.gold_type),
            _span(mistake.predicted, mistake.predicted_type),
            f"{mistake.times:,}",
        ]
        for mistake in found.mistakes
    ]


def _span(words: str | None, kind: str | None) -> str:
    return "-" if words is None else f"{words} ({kind})"


def _f1(found: VariantErrors, group: str, name: str) -> Sample:
    return Sample.of([counts.f1 for counts in found.strata[group][name]])


def _mean(values: tuple[int, ...]) -> str:
    return f"{statistics.fmean(values):,.1f}" if len(values) > 1 else f"{values[0]:,}"
