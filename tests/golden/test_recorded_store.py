"""A store that an earlier release made is reused: not one key, recipe, role or pointer has changed.

`recorded_store.json` holds the pointers and manifests of a small experiment that has every kind of step: fine-tuned
language models, taggers on train and dev, a report. It is never made anew; a kind whose version rises takes its steps,
and those made from them, out of what is reused, and the CHANGELOG says why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taglm_core.config.experiment import Experiment
from taglm_core.lineage import Lineage, entries
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import KINDS, recipe_inputs
from taglm_core.pipeline.plan import Action
from taglm_core.pipeline.roles import RAW, UNKNOWN
from taglm_core.store.durable import write_json

RECORDED = Path(__file__).with_name("recorded_store.json")


NO_STEPS = {"word-vectors", "vector-table"}  # the recorded experiment has no file of vectors


@pytest.fixture
def context(tmp_path: Path) -> PipelineContext:
    """The experiment, and its store with files of the recorded sizes."""
    recorded: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    for name, pointer in recorded["keys"].items():
        write_json(tmp_path / name, pointer)
    for name, manifest in recorded["manifests"].items():
        manifest["made"]["experiment"] = recorded["experiment"]
        write_json(tmp_path / name, manifest)
        for entry in manifest["files"]:
            path = (tmp_path / name).with_name(entry["name"])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.truncate(entry["bytes"])
    experiment = Experiment.model_validate(recorded["experiment"])
    run = experiment.run.model_copy(update={"store": tmp_path})
    return PipelineContext.resolve(experiment.model_copy(update={"run": run}))


def test_every_step_is_reused(context: PipelineContext) -> None:
    """Nothing would run."""
    plan = context.plan()
    assert {name: one.reason for name, one in plan.items() if one.action is not Action.REUSE} == {}
    assert {one.step.kind for one in plan.values()} | NO_STEPS == set(KINDS)


def test_the_kind_of_every_input_is_known(context: PipelineContext) -> None:
    """Also from manifests and pointers that do not record it; lineage leads to the generated corpus."""
    for one in context.plan().values():
        assert one.recipe is not None
        assert {found.kind for found in recipe_inputs(one.recipe)}.isdisjoint({UNKNOWN, RAW})
    report = context.plan()["report"].ref
    assert report is not None
    found = entries(Lineage(context.store).inputs("report", report.digest))
    assert {entry.kind for entry in found} == set(KINDS) - NO_STEPS - {"corpus-statistics"}
    assert all(entry.present for entry in found)
