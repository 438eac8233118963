"""Figures of an evaluation: F1 of the variants, confusion of types, curves over training.

Each function returns a ``matplotlib.figure.Figure`` of its own, without pyplot's global state; ``figure.savefig``
renders it without a display. Colours are Okabe and Ito's, which people with any colour vision can tell apart; lines
and bars differ in dashes and hatches, too.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from taglm_core.evaluation.calibration import Calibration
from taglm_core.evaluation.labels import drawable, with_fonts
from taglm_core.evaluation.report import Comparison, Sample
from taglm_core.evaluation.scores import TypeConfusion

Points = Sequence[tuple[float, float]]

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_DASHES = ("-", "--", "-.", ":")
_HATCHES = ("", "//", "..", "xx")
_MOST_TYPES = 30  # in a figure; of more entity types the most frequent ones are shown
_WIDEST = 100.0  # inches; a picture has at most 65,535 pixels a side
_FEW_POINTS = 30  # up to here each measured point of a curve is marked


def f1_bars(comparison: Comparison) -> Figure:
    """Draw F1 of each variant over all spans and by type: mean, sample standard deviation, a dot for each seed."""
    variants = comparison.variants
    types = comparison.type_counts
    frequent = sorted(types, key=lambda name: -types[name])[:_MOST_TYPES]
    shown = {name: n for name, n in types.items() if name in frequent}
    samples = {variant.variant: [variant.f1, *(variant.per_type[name] for name in shown)] for variant in variants}
    labels = [f"all\n{sum(types.values()):,}", *(f"{drawable(name)}\n{n:,}" for name, n in shown.items())]
    figure, axes, positions = _grouped_bars(labels, samples)
    for variant, (left, width) in zip(variants, positions, strict=True):
        seeds = [100 * f1 for f1 in variant.f1_by_seed]
        beside = left - 0.25 * width  # the whisker
        axes.scatter([beside] * len(seeds), seeds, s=16, color="black", edgecolors="white", linewidths=0.6, zorder=3)
    most = f" (the {len(shown)} most frequent of {len(types):,})" if len(shown) < len(types) else ""
    axes.set_xlabel(f"entity type, with its number of gold spans{most}")
    return with_fonts(figure)


def strata_bars(strata: Mapping[str, tuple[int, Mapping[str, Sample]]]) -> Figure:
    """Draw F1 of each variant by kind of entity: seen or new, and by length.

    Args:
        strata: gold spans, and F1 by variant, by stratum.
    """
    variants = list(next(iter(strata.values()))[1]) if strata else []
    samples = {variant: [by_variant[variant] for _, by_variant in strata.values()] for variant in variants}
    labels = [f"{textwrap.fill(name, 14)}\n{gold:,}" for name, (gold, _) in strata.items()]
    figure, axes, _ = _grouped_bars(labels, samples)
    axes.set_xlabel("kind of entity, with its number of gold spans")
    return with_fonts(figure)


def _grouped_bars(
    labels: Sequence[str], samples: Mapping[str, Sequence[Sample]]
) -> tuple[Figure, Axes, list[tuple[float, float]]]:
    """Draw bars of F1 with whiskers, a group a label, a bar a variant; return each variant's left end and width."""
    count = max(1, len(samples))
    wide = min(_WIDEST, max(5.0, 1.6 + 0.45 * len(labels) * (count + 1)))
    figure = Figure(figsize=(wide, 4.4), layout="constrained")
    axes = figure.add_subplot()
    width, begins = 0.8 / count, []
    for index, (name, its) in enumerate(samples.items()):
        positions = np.arange(len(labels)) + (index - (count - 1) / 2) * width
        bars = axes.bar(
            positions,
            [100 * sample.mean for sample in its],
            0.92 * width,
            # NaN draws no whisker: one seed has no deviation, which is not a deviation of zero.
            yerr=[math.nan if sample.deviation is None else 100 * sample.deviation for sample in its],
            capsize=3,
            label=f"{drawable(name)} ({_seeds(its[0])})",
            color=_COLOURS[index % len(_COLOURS)],
            hatch=_HATCHES[index // len(_COLOURS) % len(_HATCHES)],
            edgecolor="white",
        )
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
        begins.append((float(positions[0]), width))
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel("F1 (%), mean ± standard deviation over seeds")
    axes.set_ylim(0, 106)
    axes.set_yticks(range(0, 101, 20))
    _quiet(axes)
    if samples:
        figure.legend(loc="outside upper center", ncols=min(4, count), frameon=False)
    return figure, axes, begins


def confusion_figure(type_confusion: TypeConfusion) -> Figure:
    """Draw gold type by predicted type for spans with right boundaries, beside missed and spurious spans.

    A cell's colour is its share of the row's gold spans; the number is the count. The last row, the spurious spans,
    has no gold spans and no colour. Of more than 30 types the rarer ones share a row and a column.
    """
    types, counts = _confusion_counts(type_confusion)
    K = len(types)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    shares[K] = np.nan
    size = 2.8 + 0.7 * (K + 1)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(K + 1, K + 1):
        if (row, column) != (K, K):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour)
    axes.set_xticks(range(K + 1), [*map(drawable, types), "missed"], rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(K + 1), [*map(drawable, types), "spurious"])
    axes.axhline(K - 0.5, color="black", linewidth=1)
    axes.axvline(K - 0.5, color="black", linewidth=1)
    axes.set_xlabel("predicted type (spans)")
    axes.set_ylabel("gold type (spans)")
    figure.colorbar(image, ax=axes, label="share of the row's gold spans (%)", shrink=0.8)
    return with_fonts(figure)


def _confusion_counts(type_confusion: TypeConfusion) -> tuple[list[str], NDArray[np.int64]]:
    """Return names of K types and counts [K + 1, K + 1], missed and spurious last; rare types become one."""
    types = type_confusion["types"]
    K = len(types)
    counts = np.zeros((K + 1, K + 1), dtype=np.int64)
    counts[:K, :K] = np.reshape(type_confusion["matrix"], (K, K))
    counts[:K, K] = type_confusion["missed"]
    counts[K, :K] = type_confusion["spurious"]
    if K <= _MOST_TYPES:
        return types, counts
    totals = counts[:K].sum(axis=1) + counts[:, :K].sum(axis=0)
    kept = np.sort(np.argsort(-totals, kind="stable")[: _MOST_TYPES - 1])
    index = np.full(K + 1, len(kept))  # of the rare ones
    index[kept], index[K] = np.arange(len(kept)), len(kept) + 1
    merged = np.zeros((len(kept) + 2, len(kept) + 2), dtype=np.int64)
    np.add.at(merged, (index[:, None], index[None, :]), counts)
    return [*(types[index] for index in kept), f"{K - len(kept):,} other types"], merged


def reliability_figure(calibrations: Mapping[str, Calibration]) -> Figure:
    """Draw a reliability diagram: accuracy and number of the predictions in each bin of confidence.

    Args:
        calibrations: by name, ``"tokens"`` and ``"spans"`` say.
    """
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 100], [0, 100], color="#999999", linewidth=1, linestyle=":", label="perfect")
    for index, (name, found) in enumerate(calibrations.items()):
        bins = [part for part in found.bins if part.count]
        colour = _COLOURS[index % len(_COLOURS)]
        upper.plot(
            [100 * part.confidence for part in bins],
            [100 * part.accuracy for part in bins],
            color=colour,
            linestyle=_DASHES[index % len(_DASHES)],
            marker="o",
            markersize=4,
            label=f"{drawable(name)}: error {100 * found.error:.1f} % of {found.count:,}",
        )
        positions = [100 * (part.low + part.high) / 2 for part in bins]
        lower.plot(positions, [part.count for part in bins], color=colour, marker="o", markersize=3, linewidth=1)
    upper.set_ylabel("right (%)")
    lower.set_ylabel("predictions")
    lower.set_yscale("log")
    lower.set_xlabel("confidence (%)")
    upper.set_ylim(0, 102)
    for axes in (upper, lower):
        _quiet(axes)
    upper.legend(frameon=False, fontsize=8, loc="upper left")
    return with_fonts(figure)


def curve_figure(series: Mapping[str, Points], xlabel: str, ylabel: str, log_y: bool = False) -> Figure:
    """Draw one line for each named series of (step, value).

    Args:
        series: points in order; values that are not finite leave a gap.
        xlabel: with its unit, ``"training tokens"``.
        ylabel: with its unit, ``"F1 (%)"``.
        log_y: logarithmic vertical axis; values must then be positive, others leave a gap.
    """
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    _draw_curves(figure.add_subplot(), series, xlabel, ylabel, log_y=log_y)
    return with_fonts(figure)


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """F1 of taggers that learnt from so many sentences: mean and sample deviation (None with one seed), 0 to 1."""

    sentences: float
    f1: float
    deviation: float | None


def learning_figure(curves: Mapping[str, Sequence[LearningPoint]]) -> Figure:
    """Draw F1 over the number of labelled sentences (logarithmic), a line a variant, whiskers over seeds.

    Args:
        curves: points by variant, sizes ascending.
    """
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, points) in enumerate(curves.items()):
        axes.errorbar(
            [point.sentences for point in points],
            [100 * point.f1 for point in points],
            yerr=[math.nan if point.deviation is None else 100 * point.deviation for point in points],
            label=drawable(name),
            color=_COLOURS[index % len(_COLOURS)],
            linestyle=_DASHES[index % len(_DASHES)],
            marker="o",
            markersize=4,
            capsize=3,
        )
    axes.set_xscale("log")
    sizes = sorted({point.sentences for points in curves.values() for point in points})
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("labelled sentences trained on")
    axes.set_ylabel("F1 on test (%), mean ± standard deviation over seeds")
    _quiet(axes)
    axes.legend(frameon=False)
    return with_fonts(figure)


def language_model_figure(perplexity: Mapping[str, Points], sampled_loss: Points, xlabel: str) -> Figure:
    """Draw the perplexities of a training and, in its own panel, a sampled softmax's loss (no perplexity).

    Args:
        perplexity: points in order by name, ``"held-out"`` say.
        sampled_loss: points in order; none where the softmax is not sampled.
        xlabel: of both, with its unit.
    """
    if not sampled_loss:
        return curve_figure(perplexity, xlabel, "perplexity", log_y=True)
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    _draw_curves(upper, perplexity, "", "perplexity", log_y=True)
    _draw_curves(lower, {"sampled loss": sampled_loss}, xlabel, "loss (nats a token)")
    return figure


def _draw_curves(axes: Axes, series: Mapping[str, Points], xlabel: str, ylabel: str, *, log_y: bool = False) -> None:
    for index, (name, points) in enumerate(series.items()):
        steps, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
        positive = np.isfinite(values) & ((values > 0) | (not log_y))
        axes.plot(
            steps,
            np.where(positive, values, np.nan),
            label=drawable(name),
            color=_COLOURS[index % len(_COLOURS)],
            # The dashes change with the colour, so that neither has to be distinguished alone.
            linestyle=_DASHES[index % len(_DASHES)],
            marker="o" if len(points) <= _FEW_POINTS else "",
            markersize=3,
            linewidth=1.6,
        )
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    if all(float(step).is_integer() for points in series.values() for step, _ in points):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    _quiet(axes)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    elif series:
        axes.set_title(drawable(next(iter(series))), fontsize=10)


def _seeds(sample: Sample) -> str:
    return "1 seed" if sample.n == 1 else f"{sample.n} seeds"


def _quiet(axes: Axes) -> None:
    """Draw a horizontal grid behind the data, and no frame without an axis."""
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
