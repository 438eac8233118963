"""The context of a run: resolved once, found again by flows, plain data for other processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.pipeline import context as module
from taglm_core.pipeline.context import PipelineContext, context_for, use_context
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.plan import Action
from tests.building import build_up_to

SMALL = [f"demo.{name}_sentences=5" for name in ("train", "dev", "test", "unlabelled")]


@pytest.fixture
def context(tmp_path: Path) -> PipelineContext:
    return PipelineContext.resolve(load_experiment(None, [*SMALL, f"run.store={tmp_path / 'store'}"]))


def test_a_flow_finds_the_context_of_its_caller(context: PipelineContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its experiment; another experiment, or none, gets a context of its own, for as long as the flow lasts."""
    resolved = []
    monkeypatch.setattr(module, "build_graph", lambda experiment: resolved.append(experiment) or context.graph)
    equal = context.experiment.model_copy(deep=True)
    with use_context(context):
        with context_for(equal) as found:
            assert found is context
        assert resolved == []
        other = context.experiment.model_copy(update={"name": "other"})
        with context_for(other) as found, context_for(other) as inner:
            assert inner is found
    with context_for(equal) as found:
        assert found is not context
    assert [each.name for each in resolved] == ["other", context.experiment.name]


def test_a_plan_is_made_once(context: PipelineContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """And anew when the store has changed."""
    made = []
    plan = module.plan
    monkeypatch.setattr(module, "plan", lambda *args: made.append(args[2]) or plan(*args))
    assert context.plan()["demo"].action is Action.RUN
    assert context.up_to(Stage.INGEST).keys() < context.plan().keys()
    context.plan([Stage.TAG])
    assert made == [(), [Stage.TAG]]
    build_up_to(context.experiment, "demo")
    assert context.plan()["demo"].action is Action.RUN
    context.store_changed()
    assert context.plan()["demo"].action is Action.REUSE
    assert len(made) == 3


def test_damaged_objects_are_set_aside_until_none_is_left(context: PipelineContext) -> None:
    """Those that a step reads which runs only now, too; then the plan is another one."""
    refs = build_up_to(context.experiment, "corpus/train")
    for name in ("demo", "scheme"):
        folder = context.store.open(refs[name]).path
        (path,) = [path for path in folder.iterdir() if path.name in ("train.conll", "scheme.json")]
        path.write_bytes(b"?" + path.read_bytes()[1:])
    lines = context.set_damaged_aside(last=Stage.INGEST)
    assert [line.partition(":")[0] for line in lines] == ["demo", "scheme"]
    assert context.plan()["demo"].action is Action.RUN
    assert context.set_damaged_aside(last=Stage.INGEST) == []


def test_it_travels_as_plain_data(context: PipelineContext) -> None:
    """Without the open store and its plan, which belong to a process."""
    context.plan()
    found = pickle.loads(pickle.dumps(context))
    assert found == context
    assert "store" not in vars(found)
    assert found._plans == {}
    assert found.plan()["demo"].recipe == context.plan()["demo"].recipe


def test_a_request_has_no_address_of_the_tracking_store(tmp_path: Path) -> None:
    """It may hold a password, and a manifest keeps what a request says."""
    settings = [*SMALL, f"run.store={tmp_path / 'store'}", "run.tracking_uri=http://me:secret@host:5000"]
    context = PipelineContext.resolve(load_experiment(None, settings))
    request = context.request(context.graph["demo"], {})
    request.save(tmp_path / "request.json")
    assert "secret" not in (tmp_path / "request.json").read_text()
    assert type(request).load(tmp_path / "request.json") == request
