"""Curves of a training, from its journal."""

from __future__ import annotations

import math
from collections.abc import Iterable

from matplotlib.figure import Figure

from taglm_core.evaluation.figures import curve_figure
from taglm_core.training.journal import Event

Series = list[tuple[float, float]]
HIGHEST_LOSS = 50.0  # above it, a perplexity is no longer a number worth drawing


def language_model_figure(events: Iterable[Event]) -> Figure | None:
    """Perplexity on training and held-out text over the steps; None without a point."""
    losses, heldout = series(events, "train/loss", "heldout/perplexity")
    training = [(step, math.exp(min(loss, HIGHEST_LOSS))) for step, loss in losses]
    curves = {name: points for name, points in (("training", training), ("held-out", heldout)) if points}
    return curve_figure(curves, "optimiser steps", "perplexity", log_y=True) if curves else None


def tagger_figure(events: Iterable[Event]) -> Figure | None:
    """Dev F1 over the epochs; None without a point."""
    (points,) = series(events, "dev/f1")
    return curve_figure({"dev F1": [(epoch, 100 * f1) for epoch, f1 in points]}, "epochs", "F1 (%)") if points else None


def series(events: Iterable[Event], *names: str) -> list[Series]:
    """Points (step, value) of some metrics in order of steps; a step that was said again counts once."""
    found: list[dict[float, float]] = [{} for _ in names]
    for event in events:
        for points, name in zip(found, names, strict=True):
            if event.kind == "metrics" and name in event.values:
                points.setdefault(event.step, event.values[name])
    return [sorted(points.items()) for points in found]
