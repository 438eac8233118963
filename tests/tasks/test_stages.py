"""Running one stage: what it needs and does not find."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.errors import MissingObject, TagLMError
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import Stage
from tasks.stages import MOST_STARTS, _look_up, started


def test_missing_objects_are_named_with_the_stage_that_makes_them(tmp_path: Path) -> None:
    """The remedy names the stage and no file: an experiment need not lie in one of its name."""
    experiment = load_experiment(None, [f"run.store={tmp_path / 'store'}"])
    with pytest.raises(MissingObject, match=r"token-ids.*built by the pretrain stage: run `taglm pretrain`") as caught:
        _look_up(Stage.PRETRAIN, PipelineContext.resolve(experiment))
    assert ".yaml" not in str(caught.value)


def test_a_run_that_always_crashes_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Automations may start a run again and again: the last of them says what to do, those before it run."""
    experiment = load_experiment(None, [f"run.store={tmp_path / 'store'}"])
    starts = "PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT"
    monkeypatch.setenv(starts, str(MOST_STARTS))
    with started(experiment) as context:
        assert context.experiment == experiment
    monkeypatch.setenv(starts, str(MOST_STARTS + 1))
    with pytest.raises(TagLMError, match=r"started 6 times.*start a new run; it goes on"), started(experiment):
        pytest.fail("it ran")
