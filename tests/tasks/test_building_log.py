"""What builders say reaches the log of the flow, from wherever they run."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tasks.building
from taglm_core.config.load import build_experiment
from taglm_core.pipeline.graph import build_graph
from taglm_core.store.records import Recipe
from taglm_core.store.store import Store
from taglm_core.training.journal import JOURNAL, Journal


@pytest.mark.parametrize("fails", [False, True])
def test_a_builder_in_the_flows_own_process_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    """Its messages and warnings stand in the log once, with the step's name, also where it ends with an error."""
    experiment = build_experiment({"name": "demo"}, "test")
    step = build_graph(experiment)["demo"]
    store, recipe = Store(tmp_path), Recipe(step.kind, 1, {}, {})
    path = store.work(recipe) / JOURNAL

    def say(*texts: str) -> None:
        with closing(Journal(path)) as journal:
            journal.message(0, texts[0])
            journal.warning(0, texts[-1])

    def build(*_: Any, **__: Any) -> None:
        say("three words", "few words")
        if fails:
            raise ValueError

    say("of a run that was killed")
    monkeypatch.setattr(tasks.building, "build", build)
    monkeypatch.setattr(logging.getLogger("taglm"), "propagate", True)
    tracked: Any = SimpleNamespace(forward=lambda *_: None)
    with caplog.at_level(logging.INFO, "taglm"):
        try:
            tasks.building._build_here(experiment, step, store, recipe, {}, tracked, refresh=False, made={})
        except ValueError:
            assert fails
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert found == [("INFO", "demo: three words"), ("WARNING", "demo: few words")]
