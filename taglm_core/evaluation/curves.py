"""Curves of a training, from its journal. Matplotlib is imported late: training processes import this module."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from taglm_core.training.journal import Event

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE = "curve.png"
HIGHEST_LOSS = 50.0  # above it, a perplexity is no longer a number worth drawing

Series = list[tuple[float, float]]


def language_model_curve(events: Iterable[Event], step_tokens: int) -> Figure | None:
    """Draw training and held-out perplexity (or sampled loss) over the tokens read; None without a point.

    Args:
        events: the journal.
        step_tokens: tokens of one step.
    """
    found = series(events, "train/loss", "heldout/perplexity", "train/sampled_loss")
    losses, heldout, sampled = ([(step * step_tokens, value) for step, value in points] for points in found)
    training = [(tokens, math.exp(min(loss, HIGHEST_LOSS))) for tokens, loss in losses]
    perplexity = {name: points for name, points in (("training", training), ("held-out", heldout)) if points}
    if not perplexity and not sampled:
        return None
    from taglm_core.evaluation.figures import language_model_figure

    return language_model_figure(perplexity, sampled, "tokens read")


def series(events: Iterable[Event], *names: str) -> list[Series]:
    """Return the points (step, value) of some metrics in order of steps; the last value of a repeated step counts."""
    found: list[dict[float, float]] = [{} for _ in names]
    for event in events:
        for points, name in zip(found, names, strict=True):
            if event.kind == "metrics" and name in event.values:
                points.setdefault(event.step, event.values[name])
    return [sorted(points.items()) for points in found]
