"""Building a step: what is work, and how errors name what was read."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.errors import ChildFailed, InputError, MismatchError, StoreError
from taglm_core.pipeline.build import BuildContext, BuildRequest, BuildResult, WorkClock, build
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import KINDS
from taglm_core.pipeline.naming import names_of, with_input_names
from taglm_core.process import child
from taglm_core.process.launch import _death, _follow
from taglm_core.store.store import Store
from taglm_core.training.journal import Journal
from tests.building import build_up_to


def test_waiting_is_no_work() -> None:
    """The wait for a place does not count, the time in it does."""

    @contextlib.contextmanager
    def crowded() -> Iterator[None]:
        time.sleep(0.2)
        yield

    clock = WorkClock()
    with clock.untimed(crowded()):
        time.sleep(0.05)
    assert 0.05 <= clock.seconds < 0.2


def test_the_manifest_has_the_seconds_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `made in` and the tables say."""

    @contextlib.contextmanager
    def crowded() -> Iterator[None]:
        time.sleep(0.3)
        yield

    def builder(context: BuildContext) -> BuildResult:
        with context.clock.untimed(crowded()):
            (context.out / "x").touch()
        return BuildResult()

    monkeypatch.setitem(KINDS, "demo-corpus", replace(KINDS["demo-corpus"], builder=lambda: builder))
    experiment = load_experiment(None, [f"run.store={tmp_path / 'store'}"])
    ref = build_up_to(experiment, "demo")["demo"]
    assert Store(experiment.run.store).manifest(ref.kind, ref.digest).seconds < 0.3


def test_errors_name_split_and_raw_file(tmp_path: Path) -> None:
    """In place of a folder of the store, in each part of a message."""
    settings = ["labelled.train=data/a.conll", "labelled.dev=null", "labelled.dev_sentences=3", "labelled.test=t.conll"]
    settings.append("variants=[{name: baseline}]")
    experiment = load_experiment(None, settings)
    folder = tmp_path / "objects" / "corpus" / "3f2a"
    graph = build_graph(experiment)
    names = {folder: names_of(graph["tagger/baseline/seed-1"], graph)["train/corpus"]}
    assert names == {folder: "corpus/train (data/a.conll)"}
    told = with_input_names(InputError(folder / "sentences-00000.parquet", 3, f"no {folder}", "a", "b"), names)
    assert str(told) == "corpus/train (data/a.conll):3: found no corpus/train (data/a.conll); expected a; b"
    assert str(with_input_names(MismatchError(f"{folder}: other"), names)) == "corpus/train (data/a.conll): other"
    other = StoreError("something else")
    assert with_input_names(other, names) is other


def test_a_builder_s_error_names_the_step_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the object's digest."""

    def builder(context: BuildContext) -> BuildResult:
        raise MismatchError(f"{context.inputs['demo'].path}/train.conll: broken")

    monkeypatch.setitem(KINDS, "corpus", replace(KINDS["corpus"], builder=lambda: builder))
    sizes = [f"demo.{name}_sentences=5" for name in ("train", "dev", "test", "unlabelled")]
    experiment = load_experiment(None, [f"run.store={tmp_path / 'store'}", *sizes])
    with pytest.raises(MismatchError, match=r"^demo/train\.conll: broken$"):
        build_up_to(experiment, "corpus/train")


def test_errors_of_the_system_cross_the_process_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, as one that a user can act on."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "store/work")

    class Deaf:
        def listen(self) -> None: ...
        def follow_parent(self, _: object) -> None: ...

    monkeypatch.setattr(BuildRequest, "load", refused)
    monkeypatch.setattr(child, "StopRequest", Deaf)
    monkeypatch.setattr(sys, "argv", ["child", str(tmp_path / "job.json")])
    assert child.main() == child.USER_ERROR
    error = child.load_error(child.error_file(tmp_path / "job.json", 0))
    assert isinstance(error, StoreError)
    assert str(error).startswith("store/work: found no permission; give yourself permission")


def test_a_process_that_broke_is_one_line(tmp_path: Path) -> None:
    """Its step, the last line of its trace, and the file with the rest."""
    (tmp_path / "log").write_text("Traceback (most recent call last):\n  File x\nKeyError: 'y'\n")
    error = _death("tagger/a/seed-1", tmp_path / "log", tmp_path / "work", 1)
    assert isinstance(error, ChildFailed)
    assert str(error).startswith("tagger/a/seed-1: its process ended with status 1 (KeyError: 'y'). The same command")
    assert "\n" not in str(error)
    assert "Traceback" in (tmp_path / "work" / "child.log").read_text()


def test_what_another_run_has_made_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A builder works once for a recipe; asked for a refresh it works again."""
    calls = []

    def builder(context: BuildContext) -> BuildResult:
        calls.append(context)
        (context.out / "x").touch()
        return BuildResult()

    monkeypatch.setitem(KINDS, "demo-corpus", replace(KINDS["demo-corpus"], builder=lambda: builder))
    context = PipelineContext.resolve(load_experiment(None, [f"run.store={tmp_path / 'store'}"]))
    request = context.request(context.graph["demo"], {})
    assert build(context.store, request) == build(context.store, request)
    assert len(calls) == 1
    build(context.store, replace(request, refresh=True))
    assert len(calls) == 2


def test_a_raw_file_that_changes_during_a_run_is_refused(tmp_path: Path) -> None:
    """The key names the bytes that the plan saw; other bytes would be published under it."""
    (tmp_path / "text").write_text("a b\n")
    settings = [f"unlabelled.path={tmp_path / 'text'}", "unlabelled.name=x", "labelled=null"]
    context = PipelineContext.resolve(load_experiment(None, [*settings, f"run.store={tmp_path / 'store'}"]))
    request = context.request(context.graph["corpus/text"], {})
    (tmp_path / "text").write_text("a b c\n")
    with pytest.raises(InputError, match="changed during the run"):
        build(context.store, request)
    assert context.store.objects() == []


def test_the_last_events_are_handed_on(tmp_path: Path) -> None:
    """A process may write and end between two looks at its journal."""
    heard: list[str] = []
    with contextlib.closing(Journal(tmp_path / "journal")) as journal:

        def ended() -> bool:
            journal.message(1, "the last one")
            return True

        _follow(None, ended, tmp_path / "journal", lambda events, _: heard.extend(e.text for e in events), 0)  # type: ignore[arg-type]
    assert heard == ["the last one"]
