"""The comparison: hand-worked numbers, JSON round trip, strings, and rows that do not belong together."""

from __future__ import annotations

import dataclasses
import json
import random
import statistics
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from taglm_core.errors import ConfigError, MismatchError
from taglm_core.evaluation.predictions import Predictions, write_predictions
from taglm_core.evaluation.report import (
    Comparison,
    Difference,
    EvaluationRow,
    Sample,
    build_comparison,
    from_json,
    to_json,
)
from taglm_core.evaluation.scores import score
from taglm_core.evaluation.tables import (
    format_difference,
    format_p,
    format_sample,
    markdown_table,
    markdown_text,
    table_rows,
    to_markdown,
    type_table_rows,
)

GOLD = [["S-LOC", "O", "B-PER", "E-PER"], ["S-PER", "O"], ["O", "S-LOC"]] * 20
QUALITY = {"baseline": 0.7, "taglm": 0.95}


def _row(
    folder: Path, variant: str, seed: int, gold: list[list[str]] = GOLD, dev_f1: float | None = 0.5
) -> EvaluationRow:
    """Predictions that keep each gold tag by chance."""
    generator = random.Random(f"{variant} {seed}")
    predicted = [[tag if generator.random() < QUALITY[variant] else "O" for tag in tags] for tags in gold]
    tokens = [[f"w{i}" for i in range(len(tags))] for tags in gold]
    path = folder / f"{variant}-{seed}.parquet"
    write_predictions(path, Predictions(range(len(gold)), tokens, gold, predicted))
    size = {"baseline": 1000, "taglm": 23_000}[variant]
    return EvaluationRow(variant, seed, size, score(gold, predicted).to_dict(), dev_f1, path)


@pytest.fixture
def rows(tmp_path: Path) -> list[EvaluationRow]:
    return [_row(tmp_path, variant, seed) for variant in ("baseline", "taglm") for seed in (2, 0, 1)]


@pytest.fixture
def comparison(rows: list[EvaluationRow]) -> Comparison:
    return build_comparison(rows, reference="baseline", rounds=500, seed=3)


def test_means_and_deviations_are_those_of_the_rows(rows: list[EvaluationRow], comparison: Comparison) -> None:
    """Means, sample deviation, seeds and counts are those of the rows, whatever their order."""
    baseline, taglm = comparison.variants
    f1s = [row.scores["micro"]["f1"] for row in rows[3:]]
    assert (taglm.variant, taglm.parameters, taglm.seeds) == ("taglm", 23_000, (0, 1, 2))
    assert taglm.f1 == Sample(pytest.approx(statistics.mean(f1s)), pytest.approx(statistics.stdev(f1s)), 3)
    per = [row.scores["per_type"]["PER"]["f1"] for row in rows[:3]]
    assert baseline.per_type["PER"].mean == pytest.approx(statistics.mean(per))
    assert comparison.type_counts == {"LOC": 40, "PER": 40}
    assert (comparison.sentences, comparison.tokens) == (60, 160)
    assert baseline.dev_f1 == 0.5
    (difference,) = comparison.differences
    assert difference.variant == "taglm"
    assert 0 < difference.low < difference.difference < difference.high
    assert difference.p_value == 1 / 501
    assert difference.welch_p is not None
    assert difference.welch_p < 0.05
    assert build_comparison(rows[::-1], reference="baseline", rounds=500, seed=3).differences == comparison.differences


def test_json_round_trip(comparison: Comparison) -> None:
    """A comparison comes back from a JSON file unchanged."""
    assert from_json(json.loads(json.dumps(to_json(comparison)))) == comparison


def test_one_seed_is_said_and_has_no_welch(rows: list[EvaluationRow]) -> None:
    """With one seed no deviation is invented, neither in the record nor in the strings."""
    comparison = build_comparison([rows[0], rows[3]], reference="baseline", rounds=100)
    assert comparison.variants[0].f1.deviation is None
    assert comparison.differences[0].welch_p is None
    _, table = table_rows(comparison)
    assert table[0][2].endswith("(1 seed)")
    assert table[1][-1] == "-"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (format_sample(Sample(0.83124, 0.0041, 3)), "83.12 ± 0.41"),
        (format_sample(Sample(0.83124, None, 1)), "83.12 (1 seed)"),
        (
            format_difference(Difference("x", 0.123, 0.1091, 0.1358, 0.95, 0.0001, None)),
            "+12.30 [10.9, 13.6] p < 0.001",
        ),
        (format_difference(Difference("x", -0.0012, -0.005, 0.003, 0.95, 0.6, None)), "-0.12 [-0.50, 0.30] p = 0.600"),
        (format_p(0.001), "p = 0.001"),
        (format_p(1.0), "p = 1.000"),
    ],
)
def test_strings(found: str, expected: str) -> None:
    """Numbers are written as the documentation promises."""
    assert found == expected


def test_tables_name_everything(comparison: Comparison) -> None:
    """Both tables are rectangular, and Markdown holds their cells, the split's size and the rounds."""
    markdown = to_markdown(comparison)
    for headers, table in (table_rows(comparison), type_table_rows(comparison)):
        assert {len(headers)} == {len(row) for row in table}
        assert all(cell in markdown for cell in [*headers, *(cell for row in table for cell in row)])
    assert table_rows(comparison)[1][1][1] == "23,000"
    assert "60 sentences (160 tokens)" in markdown
    assert "500 rounds" in markdown
    assert "95% interval" in markdown


def test_absent_dev_and_single_variant(tmp_path: Path) -> None:
    """One variant without dev scores is a comparison without differences, not an error."""
    comparison = build_comparison([_row(tmp_path, "baseline", 0, dev_f1=None)], reference="baseline", rounds=10)
    assert comparison.differences == ()
    assert table_rows(comparison)[1][0][5:] == ["-", "-", "-"]
    assert "interval" in to_markdown(comparison)


def test_type_without_gold_spans_is_not_averaged(tmp_path: Path) -> None:
    """A type that is only predicted has no F1 of its own and appears in no table."""
    gold, predicted = [["O", "S-PER"]], [["S-NEW", "S-PER"]]
    path = tmp_path / "p.parquet"
    write_predictions(path, Predictions([0], [["a", "b"]], gold, predicted))
    row = EvaluationRow("v", 0, 1, score(gold, predicted).to_dict(), None, path)
    comparison = build_comparison([row], reference="v", rounds=1)
    assert list(comparison.variants[0].per_type) == ["PER"]
    assert type_table_rows(comparison)[1] == [["PER", "1", "100.00 (1 seed)"]]


def test_rows_that_do_not_belong_together_are_refused(tmp_path: Path, rows: list[EvaluationRow]) -> None:
    """An unknown reference, a repeated seed, another split, other sizes or other scores: each has its error."""
    with pytest.raises(ConfigError, match="'none' was not evaluated; expected one of: baseline, taglm"):
        build_comparison(rows, reference="none")
    with pytest.raises(ValueError, match="expected each once"):
        build_comparison([*rows, rows[0]], reference="baseline", rounds=1)
    with pytest.raises(MismatchError, match="1,000, 1,001 parameters"):
        build_comparison([rows[0], dataclasses.replace(rows[1], parameters=1001)], reference="baseline", rounds=1)
    with pytest.raises(MismatchError, match="as its scores say"):
        build_comparison([dataclasses.replace(rows[0], scores=rows[3].scores)], reference="baseline", rounds=1)
    other = _row(tmp_path, "taglm", 9, gold=[["S-PER", *tags[1:]] for tags in GOLD])
    with pytest.raises(MismatchError, match="found other gold than"):
        build_comparison([*rows, other], reference="baseline", rounds=1)


@pytest.mark.parametrize(
    "word",
    ["<NUM>", "</S>", "a|b", "`x`", "``", "*x*", "**", "_x_", "a_b", "__init__", "a_", "p < 0.001", "[a](b)", "[a][b]",
     "![a](b)", "&amp;", "AT&T", "&#65;", "~~x~~", "$x$", "\\|", "C:\\x", "\\", "<!-- -->", "<http://x>",
     "gold > a", "x*y*z", "<b>x</b>", "人名"],
)  # fmt: skip
def test_any_word_stands_in_a_markdown_table_as_it_is(word: str) -> None:
    """What a Markdown reader shows is the word, in a cell of its own."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(markdown_table((["word", "number"], [[word, "1"]])))
    cells = [token.children for token in tokens if token.type == "inline" and token.children is not None]
    assert ["".join(part.content for part in cell) for cell in cells] == ["word", "number", word, "1"]
    assert {part.type for cell in cells for part in cell} <= {"text", "text_special"}


def test_figures_of_tables_are_not_escaped() -> None:
    """The source of a report is read by people, too."""
    assert markdown_text("+20.04 [16.9, 23.3] p < 0.001") == "+20.04 [16.9, 23.3] p < 0.001"
    assert markdown_text("a\nb") == "a b"
