"""Figures: they render without a display, say what they show, and leave no global state."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.text import Text

from taglm_core.evaluation import labels
from taglm_core.evaluation.figures import (
    LearningPoint,
    confusion_figure,
    curve_figure,
    f1_bars,
    learning_figure,
    strata_bars,
)
from taglm_core.evaluation.report import Comparison, Sample, VariantSummary
from taglm_core.evaluation.scores import TypeConfusion


def variant(name: str, mean: float, n: int) -> VariantSummary:
    """A summary whose seeds lie evenly around the mean."""
    f1s = tuple(mean + 0.01 * (i - (n - 1) / 2) for i in range(n))
    types = {"LOC": mean + 0.05, "MISC": mean - 0.2, "ORG": mean - 0.03, "PER": mean + 0.08}
    per_type = {key: Sample(value, 0.02 if n > 1 else None, n) for key, value in types.items()}
    return VariantSummary(
        name, 10_000, tuple(range(n)), Sample.of(f1s), f1s, mean, mean, mean, {}, mean, mean, mean, per_type
    )


def comparison(*variants: VariantSummary) -> Comparison:
    counts = {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}
    return Comparison(variants[0].variant, variants, (), counts, 3453, 46_435, 10, 0)


CONFUSION = TypeConfusion(
    types=["LOC", "MISC", "ORG", "PER"],
    matrix=[[1500, 12, 80, 21], [22, 500, 33, 9], [140, 25, 1300, 41], [20, 4, 30, 1500]],
    missed=[55, 138, 155, 63],
    spurious=[60, 110, 140, 75],
)


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def words(figure: Figure) -> str:
    """All text of a figure."""
    return " ".join(text.get_text() for text in figure.findobj(lambda item: hasattr(item, "get_text")))


def test_f1_bars_show_every_variant_type_and_seed() -> None:
    """Each variant has a bar per type and one for all, each seed a dot; axes carry their units."""
    figure = f1_bars(comparison(variant("baseline", 0.69, 3), variant("taglm", 0.76, 1)))
    axes = figure.axes[0]
    assert [len(bars) for bars in axes.containers if hasattr(bars, "patches")] == [5, 5]
    assert [
        len(dots.get_offsets()) for dots in axes.collections if hasattr(dots, "get_sizes") and len(dots.get_sizes())
    ] == [3, 1]
    assert all(part in words(figure) for part in ("baseline (3 seeds)", "taglm (1 seed)", "F1 (%)", "PER\n1,617"))
    assert png(figure).startswith(b"\x89PNG")


def test_one_seed_has_no_whisker() -> None:
    """No deviation is drawn where none is known, which a whisker of length zero would claim."""
    axes = f1_bars(comparison(variant("three", 0.7, 3), variant("one", 0.7, 1))).axes[0]
    bars = [container for container in axes.containers if hasattr(container, "patches")]
    caps = [[math.isfinite(y) for cap in container.errorbar.lines[1] for y in cap.get_ydata()] for container in bars]
    assert all(caps[0])
    assert not any(caps[1])


def test_confusion_figure_shows_every_count() -> None:
    """Counts, missed and spurious stand in the cells; without any type there is still a figure."""
    text = words(confusion_figure(CONFUSION))
    assert all(part in text for part in ("1,500", "138", "110", "missed", "spurious", "gold type", "predicted type"))
    assert png(confusion_figure(CONFUSION))
    assert png(confusion_figure(TypeConfusion(types=[], matrix=[], missed=[], spurious=[])))


@pytest.mark.parametrize("log_y", [False, True])
def test_curves_leave_gaps_where_nothing_can_be_drawn(log_y: bool) -> None:
    """Lines hold their points; values that cannot be drawn are gaps, without a warning; an empty series is no error."""
    series = {"forward": [(0, 900.0), (10, math.inf), (20, 300.0)], "backward": [(0, 950.0), (20, 0.0)], "none": []}
    figure = curve_figure(series, "training steps", "held-out perplexity", log_y=log_y)
    forward, backward, _ = figure.axes[0].lines
    assert [math.isnan(value) for value in forward.get_ydata()] == [False, True, False]
    assert [math.isnan(value) for value in backward.get_ydata()] == [False, log_y]
    assert "training steps" in words(figure)
    assert "backward" in words(figure)
    assert png(figure)


MANY = TypeConfusion(
    types=[f"T{index:03}" for index in range(300)],
    matrix=[[index if row == index else 1 for index in range(300)] for row in range(300)],
    missed=[2] * 300,
    spurious=[3] * 300,
)


def test_of_many_types_the_frequent_ones_are_drawn() -> None:
    """300 types fit a picture: no span is lost, the rare types are one, and the figure says so."""
    figure = confusion_figure(MANY)
    shown = words(figure)
    assert "271 other types" in shown
    assert "T299" in shown
    assert "T001" not in shown
    cells = [text.get_text() for text in figure.axes[0].texts]
    total = sum(map(sum, MANY["matrix"])) + sum(MANY["missed"]) + sum(MANY["spurious"])
    assert sum(int(cell.replace(",", "")) for cell in cells) == total
    types = {f"T{index:03}": index for index in range(300)}
    per_type = {name: Sample(0.5, 0.1, 3) for name in types}
    arms = [replace(variant(name, 0.7, 3), per_type=per_type) for name in ("a", "b", "c", "d", "e")]
    bars = f1_bars(replace(comparison(*arms), type_counts=types))
    assert "the 30 most frequent of 300" in words(bars)
    assert max(*figure.get_size_inches(), *bars.get_size_inches()) * 120 < 2**16


NAMES = ["人名", "a$b$c", r"\frac$x$", "x" * 200, "人" * 50, "שלום", "a_b^c", "<NUM>", "a人b", "100%"]


def test_any_name_is_drawn_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing characters become code points, `$` no formula, long names are cut (warnings are errors here)."""
    monkeypatch.setattr(labels, "_installed", dict)
    labels._family_of.cache_clear()
    assert labels.drawable("人名") == "U+4EBA U+540D"
    assert labels.drawable("a人b") == "a U+4EBA b"
    assert labels.drawable("a$b$c") == r"a\$b\$c"
    K = len(NAMES)
    confusion = TypeConfusion(types=NAMES, matrix=np.eye(K, dtype=int).tolist(), missed=[0] * K, spurious=[0] * K)
    per_type = {name: Sample(0.5, 0.1, 3) for name in NAMES}
    arms = [replace(variant(name, 0.7, 3), per_type=per_type) for name in NAMES[1:2]]
    bars = f1_bars(replace(comparison(*arms), type_counts=dict.fromkeys(NAMES, 1)))
    for figure in (confusion_figure(confusion), bars, curve_figure({name: [(1, 1.0)] for name in NAMES}, "x", "y")):
        assert png(figure)
        assert all(len(line) < 60 for text in figure.findobj(Text) for line in text.get_text().splitlines())
    labels._family_of.cache_clear()


def test_installed_fonts_are_tried_before_code_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """A character that only another font has stays, and is drawn in that font."""
    monkeypatch.setattr(labels, "_usual_characters", lambda: frozenset(map(ord, "PERall\n")))
    monkeypatch.setattr(labels, "_installed", lambda: {"DejaVu Serif": frozenset(map(ord, "Ж"))})
    labels._family_of.cache_clear()
    assert labels.drawable("Жx") == "Ж U+0078"
    figure = curve_figure({"Ж": [(1, 1.0)]}, "", "")
    assert figure.axes[0].title.get_fontfamily()[-1] == "DejaVu Serif"
    assert png(figure)
    labels._family_of.cache_clear()


def test_no_global_state() -> None:
    """No figure is registered with pyplot, whose global figures would pile up in a long-lived worker."""
    before = pyplot.get_fignums()
    assert png(curve_figure({"one": [(1, 1.0)]}, "x", "y"))
    assert pyplot.get_fignums() == before


def test_strata_are_bars_of_every_variant() -> None:
    """A group a stratum, a bar a variant; nothing at all draws an empty figure."""
    strata = {
        "seen in training": (120, {"baseline": Sample(0.9, 0.01, 3), "TagLM": Sample(0.95, None, 1)}),
        "new, with an unknown word": (80, {"baseline": Sample(0.5, 0.02, 3), "TagLM": Sample(0.8, 0.01, 1)}),
    }
    axes = strata_bars(strata).axes[0]
    assert [patch.get_height() for patch in axes.patches] == pytest.approx([90, 50, 95, 80])
    assert [label.get_text().splitlines()[-1] for label in axes.get_xticklabels()] == ["120", "80"]
    assert png(strata_bars(strata))
    assert png(strata_bars({}))


def test_a_learning_curve_has_a_line_a_variant_and_a_tick_a_size() -> None:
    """Percent over sentences; one seed has no whisker."""
    curves = {
        "baseline": [LearningPoint(100, 0.2, None), LearningPoint(1000, 0.5, 0.01)],
        "taglm": [LearningPoint(100, 0.4, 0.02)],
    }
    figure = learning_figure(curves)
    axes = figure.axes[0]
    lines = {bars.get_label(): bars.lines[0].get_xydata().tolist() for bars in axes.containers}
    assert lines == {"baseline": [[100, 20], [1000, 50]], "taglm": [[100, 40]]}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100", "1,000"]
    assert "labelled sentences" in words(figure)
    assert png(figure).startswith(b"\x89PNG")
