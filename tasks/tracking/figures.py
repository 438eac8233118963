"""The curve of a tagger's training, from its journal; a language model brings its own."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.figure import Figure

from taglm_core.evaluation.curves import series
from taglm_core.evaluation.figures import curve_figure
from taglm_core.training.journal import Event


def tagger_figure(events: Iterable[Event]) -> Figure | None:
    """Dev F1 over the epochs; None without a point."""
    (points,) = series(events, "dev/f1")
    return curve_figure({"dev F1": [(epoch, 100 * f1) for epoch, f1 in points]}, "epochs", "F1 (%)") if points else None
