"""A process that builds several objects, one after the other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taglm_core.config.load import load_experiment
from taglm_core.errors import ChildFailed, Interrupted, MissingObject
from taglm_core.pipeline.build import BuildRequest
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import KINDS
from taglm_core.process.children import CHILDREN
from taglm_core.process.launch import SharedChild
from taglm_core.store.records import Ref

SMALL = [f"demo.{name}_sentences=5" for name in ("train", "dev", "test", "unlabelled")]


class Bed:
    """Requests for generated corpora, and the process that builds them."""

    def __init__(self, root: Path) -> None:
        self.root, self.shared = root, SharedChild()

    def request(self, seed: int, step: str = "demo", inputs: dict[str, Ref] | None = None) -> BuildRequest:
        settings = [*SMALL, f"demo.seed={seed}", f"run.store={self.root / 'store'}"]
        context = PipelineContext.resolve(load_experiment(None, settings))
        self.store = context.store
        return context.request(context.graph[step], inputs or {})

    def build(self, request: BuildRequest) -> Ref | None:
        self.shared.run(request, self.store.work(request.recipe), lambda *_: None)
        return self.store.find(request.recipe)

    def waiting(self) -> list[int]:
        """Ids of the processes that wait for more."""
        return [each.process.pid for each in self.shared._idle]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    CHILDREN.start_afresh()
    bed = Bed(tmp_path)
    yield bed
    bed.shared.close()
    assert bed.waiting() == []
    assert CHILDREN.group.running == set()


def test_one_process_builds_several_objects(bed: Bed) -> None:
    """One after the other; side by side there are two."""
    assert bed.build(bed.request(1)) is not None
    (first,) = bed.waiting()
    assert bed.build(bed.request(2)) is not None
    assert bed.waiting() == [first]
    requests = [bed.request(3), bed.request(4)]
    threads = [threading.Thread(target=bed.build, args=[request]) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in [bed.store.find(request.recipe) for request in requests]
    assert first in bed.waiting()


def test_an_error_ends_a_build_and_not_the_process(bed: Bed) -> None:
    """The next one is built by the same process."""
    nowhere = {"demo": Ref("demo-corpus", "0" * 32, "0" * 32), "scheme": Ref("tag-scheme", "0" * 32, "0" * 32)}
    with pytest.raises(MissingObject):
        bed.build(bed.request(1, "corpus/train", nowhere))
    (first,) = bed.waiting()
    assert bed.build(bed.request(1)) is not None
    assert bed.waiting() == [first]


def test_a_dead_process_is_replaced(bed: Bed) -> None:
    """Killed while it waits: nobody notices. Killed at work: the error names the signal, and the log is kept."""
    bed.build(bed.request(1))
    (first,) = bed.waiting()
    os.kill(first, signal.SIGKILL)
    time.sleep(0.2)
    assert bed.build(bed.request(2)) is not None
    (second,) = bed.waiting()
    assert second != first
    request = bed.request(3)
    with bed.store.lock(request.recipe):  # the process waits for the key's lock
        threading.Timer(1, os.kill, [second, signal.SIGKILL]).start()
        with pytest.raises(ChildFailed, match=r"SIGKILL.*child\.log"):
            bed.build(request)
    assert (bed.store.work(request.recipe) / "child.log").is_file()
    assert bed.build(request) is not None


def test_a_stop_ends_what_works_and_what_waits(bed: Bed) -> None:
    """Nothing new starts, and no process is left."""
    requests = [bed.request(1), bed.request(2)]
    with bed.store.lock(requests[1].recipe):
        threading.Timer(1, CHILDREN.stop).start()
        with pytest.raises(Interrupted):
            bed.build(requests[1])
    assert bed.waiting() == []
    with pytest.raises(Interrupted):
        bed.build(requests[0])


def test_nothing_that_trains_shares_a_process() -> None:
    """Test data stays away from training."""
    assert {kind.name for kind in KINDS.values() if kind.shares_child} == {"evaluation"}


def test_groups_stop_by_themselves() -> None:
    """A cell of a sweep that is stopped stays stopped, and stops no other; `stop_all` stops all."""
    CHILDREN.start_afresh()
    with CHILDREN.own_group():
        first = CHILDREN.group
        CHILDREN.stop()
        CHILDREN.start_afresh()
        assert CHILDREN.stop_request.requested
        with CHILDREN.own_group():
            assert CHILDREN.group is not first
            assert not CHILDREN.stop_request.requested
            CHILDREN.stop_all()
            assert CHILDREN.stop_request.requested
    assert CHILDREN.stop_request.requested
    CHILDREN.start_afresh()
    assert not CHILDREN.stop_request.requested
