"""The curve of a language model's training, from its journal."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from taglm_core.evaluation.curves import language_model_curve
from taglm_core.training.journal import Event


def said(step: int, **values: float) -> Event:
    return Event("metrics", step, {name.replace("_", "/", 1): value for name, value in values.items()})


def test_perplexities_stand_over_tokens_and_a_step_counts_once() -> None:
    """Training perplexity from the loss, held-out as measured; what a resumed process says again is drawn once."""
    journal = [
        said(2, train_loss=2.0),
        said(4, train_loss=1.0),
        said(4, train_loss=1.0),
        said(4, heldout_perplexity=9.0),
    ]
    figure = language_model_curve(journal, step_tokens=100)
    assert figure is not None
    (axes,) = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["training"] == [[200, pytest.approx(math.exp(2))], [400, pytest.approx(math.exp(1))]]
    assert lines["held-out"] == [[400, 9.0]]
    assert axes.get_xlabel() == "tokens read"


def test_a_sampled_loss_is_drawn_apart_from_perplexity() -> None:
    """It is none: it has an axis and a unit of its own."""
    figure = language_model_curve([said(1, train_sampled_loss=4.0), said(2, heldout_perplexity=90.0)], step_tokens=10)
    assert figure is not None
    upper, lower = figure.axes
    assert [line.get_label() for line in upper.lines] == ["held-out"]
    assert lower.lines[0].get_xydata().tolist() == [[10, 4.0]]
    assert "loss" in lower.get_ylabel()


def test_nothing_said_is_no_figure() -> None:
    """Only where something was measured."""
    assert language_model_curve([Event("message", 1, text="resumed")], step_tokens=10) is None


def test_matplotlib_is_imported_only_to_draw() -> None:
    """A process that trains does not wait for it."""
    code = "import sys, taglm_core.stages.pretrain; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
