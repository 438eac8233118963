"""A comparison as tables of strings and as Markdown: shares in percent, differences in points."""

from __future__ import annotations

import re

from taglm_core.evaluation.report import Comparison, Difference, Sample

Table = tuple[list[str], list[list[str]]]


def table_rows(comparison: Comparison) -> Table:
    """Return the main table: headers, and one row of plain strings per variant."""
    headers = [
        "variant", "parameters", "F1", "precision", "recall", "dev F1", f"F1 against {comparison.reference}", "Welch"
    ]  # fmt: skip
    found = {difference.variant: difference for difference in comparison.differences}
    rows = []
    for variant in comparison.variants:
        difference = found.get(variant.variant)
        rows.append(
            [
                variant.variant,
                f"{variant.parameters:,}",
                format_sample(variant.f1),
                _percent(variant.precision),
                _percent(variant.recall),
                "-" if variant.dev_f1 is None else _percent(variant.dev_f1),
                "-" if difference is None else format_difference(difference),
                "-" if difference is None or difference.welch_p is None else format_p(difference.welch_p),
            ]
        )
    return headers, rows


def type_table_rows(comparison: Comparison) -> Table:
    """Return F1 by entity type: one row per type, with its gold spans, one column per variant."""
    headers = ["type", "gold spans", *(variant.variant for variant in comparison.variants)]
    rows = [
        [name, f"{gold:,}", *(format_sample(variant.per_type[name]) for variant in comparison.variants)]
        for name, gold in comparison.type_counts.items()
    ]
    return headers, rows


def other_table_rows(comparison: Comparison) -> Table:
    """Return figures beside the headline, means over seeds: one row each, one column per variant."""
    variants = comparison.variants
    rows = [
        ["strict F1 (well-formed BIOES spans only)", *(_percent(variant.f1_strict) for variant in variants)],
        ["F1 of boundaries, whatever the type", *(_percent(variant.boundary_f1) for variant in variants)],
        ["token accuracy", *(_percent(variant.token_accuracy) for variant in variants)],
    ]
    for name in variants[0].calibration_error:
        rows.append([f"calibration error of {name}", *(_percent(v.calibration_error[name]) for v in variants)])
    return ["", *(variant.variant for variant in variants)], rows


def to_markdown(comparison: Comparison) -> str:
    """Return the tables in Markdown, with the meaning of the figures."""
    level = f"{comparison.differences[0].level:.0%} interval" if comparison.differences else "interval"
    untested = (
        "" if comparison.split == "test" else "There is no test split: these are figures of the dev split, on which "
        "the epochs were chosen, so they are too high.\n\n"
    )  # fmt: skip
    return (
        f"{untested}{markdown_table(table_rows(comparison))}\n"
        f"F1, precision and recall in per cent on {comparison.sentences:,} sentences ({comparison.tokens:,} tokens), "
        "mean ± sample standard deviation over seeds. Spans by conlleval's rules. Differences in points of micro F1 "
        f"pooled over seeds, with {level} (bootstrap) and p (approximate randomisation), both over sentences, "
        f"{comparison.rounds:,} rounds; Welch's test is over seeds.\n\n"
        f"{markdown_table(type_table_rows(comparison))}\n"
        f"{markdown_table(other_table_rows(comparison))}"
    )


def format_sample(sample: Sample) -> str:
    """Format a sample as ``83.12 ± 0.41``, or ``83.12 (1 seed)``."""
    spread = "(1 seed)" if sample.deviation is None else f"± {_percent(sample.deviation)}"
    return f"{_percent(sample.mean)} {spread}"


def format_difference(difference: Difference) -> str:
    """Format as ``+12.30 [10.9, 13.6] p < 0.001``; an interval narrower than two points gets a second decimal."""
    low, high = 100 * difference.low, 100 * difference.high
    digits = 2 if high - low < 2 else 1
    interval = f"[{low:.{digits}f}, {high:.{digits}f}]"
    return f"{100 * difference.difference:+.2f} {interval} {format_p(difference.p_value)}"


def format_p(p: float) -> str:
    """Format as ``p = 0.021``, or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def markdown_table(table: Table, *, text_columns: int = 1) -> str:
    """Return headers and rows in Markdown; the first columns are text, the others are numbers."""
    headers, rows = ([[markdown_text(cell) for cell in line] for line in lines] for lines in ([table[0]], table[1]))
    lines = [*headers, [*["---"] * text_columns, *["---:"] * (len(table[0]) - text_columns)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def markdown_text(text: str) -> str:
    """Return text as one line that Markdown and HTML show literally: words and types may hold any character.

    Only text that could be read as markup is escaped, so that the source stays readable.
    """
    shown = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.split()))
    shown = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", shown)
    shown = re.sub(r"[\\`*|~$]|\](?=[(\[])", r"\\\g<0>", shown)
    return re.sub(r"(?<![^\W_])_+|_+(?![^\W_])", lambda found: r"\_" * len(found[0]), shown)  # not inside a word
