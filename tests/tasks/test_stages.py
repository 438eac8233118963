"""Running one stage: what it needs and does not find."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.errors import MissingObject
from taglm_core.stages.steps import Stage
from tasks.stages import look_up


def test_missing_objects_are_named_with_the_stage_that_makes_them(tmp_path: Path) -> None:
    """The remedy names the stage and no file: an experiment need not lie in one of its name."""
    experiment = load_experiment(None, [f"run.store={tmp_path / 'store'}"])
    with pytest.raises(MissingObject, match=r"token-ids.*made by the pretrain stage: run `taglm pretrain`") as caught:
        look_up(experiment, Stage.PRETRAIN)
    assert ".yaml" not in str(caught.value)
