"""What builders say reaches the log of the flow, from wherever they run."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taglm_core.config.load import build_experiment
from taglm_core.pipeline.context import PipelineContext
from taglm_core.process import launch
from taglm_core.training.journal import JOURNAL, Journal
from tasks.steps import _Follower


@pytest.mark.parametrize("fails", [False, True])
def test_a_builder_in_the_flows_own_process_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    """Its messages and warnings stand in the log once, with the step's name, also where it ends with an error."""
    context = PipelineContext.resolve(build_experiment({"name": "demo", "run": {"store": str(tmp_path)}}, "test"))
    request = context.request(context.graph["demo"], {})
    path = context.store.work(request.recipe) / JOURNAL

    def say(*texts: str) -> None:
        with closing(Journal(path)) as journal:
            journal.message(0, texts[0])
            journal.warning(0, texts[-1])

    def build(*_: Any, **__: Any) -> None:
        say("three words", "few words")
        if fails:
            raise ValueError

    say("of a run that was killed")
    monkeypatch.setattr(launch, "build", build)
    monkeypatch.setattr(logging.getLogger("taglm"), "propagate", True)
    tracked: Any = SimpleNamespace(forward=lambda *_: None)
    with caplog.at_level(logging.INFO, "taglm"):
        try:
            launch.make(context.store, request, _Follower("demo", tracked))
        except ValueError:
            assert fails
    found = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert found == [("INFO", "demo: three words"), ("WARNING", "demo: few words")]
