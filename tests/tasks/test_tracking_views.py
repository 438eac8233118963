"""Views of MLflow's UI: what their tags say, and what links open them."""

from __future__ import annotations

import json

import pytest

from taglm_core.pipeline.kinds import Stage
from tasks.tracking.descriptions import (
    NOTE,
    artifact_link,
    compare_link,
    experiment_link,
    model_link,
    run_by_id_link,
    run_link,
)
from tasks.tracking.views import CURVE, GAIN, PIPELINE, VIEWS, View, experiment_tags

EVERY = [view for views in VIEWS.values() for view in views]


@pytest.mark.parametrize("view", EVERY, ids=lambda view: view.key)
def test_a_view_shows_what_it_is_ordered_by(view: View) -> None:
    """Its columns stand in its own order, the one it is ordered by among them; none is hidden."""
    state = view.state()
    assert state["orderByKey"] in state["selectedColumns"]
    assert state["columnOrder"] == state["selectedColumns"]
    assert state["runsHiddenMode"] == "SHOW_ALL"
    assert {chart["metricSectionId"] for chart in state.get("compareRunCharts", ())} <= {
        section["uuid"] for section in state.get("compareRunSections", ())
    }


def test_view_keys_are_unique() -> None:
    """A link names one view."""
    assert len({view.key for view in EVERY}) == len(EVERY)


def test_links_open_the_view_for_training() -> None:
    """Without that a page opens in another view; charts need their mode; with no base a link stays in the UI."""
    training = "workflowType=machine_learning"
    assert GAIN.link("http://host/", "7") == f"http://host/#/experiments/7/runs?{training}&viewStateShareKey=gain"
    assert CURVE.link("", "7").startswith("#/experiments/7/runs?")
    assert CURVE.link("", "7").endswith("&viewStateShareKey=learning-curve&compareRunsMode=CHART")
    assert experiment_link("http://host", "7") == f"http://host/#/experiments/7/runs?{training}"
    assert run_link("", "7", "r") == f"#/experiments/7/runs/r?{training}"
    assert run_by_id_link("http://host", "r") == f"http://host/#/runs/r?{training}"
    assert artifact_link("", "7", "r", "a b.png") == f"#/experiments/7/runs/r/artifacts/a%20b.png?{training}"
    assert model_link("", "taglm-a/b", "3") == f"#/models/taglm-a%2Fb/versions/3?{training}"
    assert json.dumps(["r", "s"]) not in compare_link("", "7", ["r", "s"])  # quoted
    assert compare_link("", "7", ["r"]).startswith("#/compare-runs?runs=%5B%22r%22%5D&experiments=%5B%227%22%5D&")


@pytest.mark.parametrize("stage", [*Stage, PIPELINE])
def test_a_description_links_all_views(stage: Stage | str) -> None:
    """Every view of the experiment is one click away, by its question."""
    tags = experiment_tags(stage)
    for view in VIEWS.get(stage, ()):
        assert f"[{view.question}]({view.link('', '{id}')})" in tags[NOTE]
        assert json.loads(tags[f"mlflow.sharedViewState.{view.key}"]) == view.state()
