"""Reports a step to MLflow while it is built: opens its run, sends its metrics, ends it.

MLflow may be unreachable at any time. The work continues, and its metrics wait until MLflow answers. The state file is
written only after MLflow has accepted the data. Metrics carry the times of the journal, so that sending them again
after a crash makes no duplicates.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from taglm_core.store.store import Artifact
from taglm_core.training.journal import JOURNAL, Event, read_events
from tasks.tracking.client import AWAY, warn_away
from tasks.tracking.content import RunContent, curve_points
from tasks.tracking.projection import project
from tasks.tracking.receipts import MADE, SyncState
from tasks.tracking.reporter import Reporter
from tasks.tracking.spec import FINISHED, PARENT, RUNNING, RunSpec, Variant

LONGEST_PAUSE = 60.0  # seconds between two tries while MLflow is away


class StageRun:
    """Base class, and a step without an MLflow run: ignores everything.

    Attributes:
        run_id: id of the MLflow run; None if there is none.
        offset: bytes of the journal whose metrics MLflow has; following goes on from there.
        reported: whether MLflow has everything, results included.
    """

    run_id: str | None = None
    offset: int = 0
    reported: bool = False

    def forward(self, events: list[Event], offset: int) -> None:
        """Hand on journal events, and the offset after them."""

    def finish(self, artifact: Artifact) -> None:
        """Report the object."""

    def close(self, status: str) -> None:
        """End the run of a step that made no object. Does nothing after `finish`."""


class OwnRun(StageRun):
    """A step with a run of its own.

    Args:
        reporter: sends to the tracking store.
        spec: the step.
        work: its work folder.
        pace: seconds between two batches of metrics.
        left: state that an ended build left; None while the step is being built.
    """

    def __init__(
        self, reporter: Reporter, spec: RunSpec, work: Path, *, pace: float, left: SyncState | None = None
    ) -> None:
        self._reporter, self._client, self._ledger = reporter, reporter.client, reporter.ledger
        self._work, self._pace = work, pace
        self._variant = Variant.of_spec(spec, reporter.store)
        self._state = SyncState(self._client.address, spec, time.time())
        self._claim = self._ledger.claim(*self._state.key)
        self._waiting: list[Event] = []  # metrics that were not sent yet
        self._read = 0  # offset in the journal after the last of them
        self._settings: RunContent | None = None  # parameters and tags that were not sent yet
        self._cut_off = self._opened = self._ended = False
        self._due, self._failures = 0.0, 0
        if self._claim.take():
            self._resume(left or self._ledger.state(*self._state.key), ended=left is not None)
            if left is None:
                for receipt in self._ledger.receipts(*self._state.key):
                    self._ledger.forget(receipt)  # out of date: the object is built again
            self._ledger.save(self._state)  # first, so that a killed build is noticed even without MLflow
            try:
                self._open()
            except AWAY as error:
                self._missed(error)

    @property
    def mine(self) -> bool:
        """Whether this process reports the step: it holds the claim."""
        return self._claim.held

    @property
    def run_id(self) -> str | None:  # type: ignore[override]
        """Id of the MLflow run; None until MLflow was reached."""
        return self._state.run_id

    @property
    def offset(self) -> int:  # type: ignore[override]
        """Bytes of the journal whose metrics MLflow has."""
        return self._state.offset

    def forward(self, events: list[Event], offset: int) -> None:
        """Keep the metrics and send them in batches, one per `pace`; after an outage at the next call."""
        if not self.mine and not self._take_over():
            return
        self._waiting += [event for event in events if event.kind == "metrics"]
        self._read = max(self._read, offset)
        if time.monotonic() >= self._due:
            try:
                self._send(self._open(), RunContent())
            except AWAY as error:
                self._missed(error)

    def finish(self, artifact: Artifact) -> None:
        """Send what is left and the results; if MLflow is unreachable, mark them as pending."""
        if self._ended or not (self.mine or self._take_over()):
            return
        try:
            run_id = self._end(FINISHED, project(self._reporter.store, self._state.spec, artifact))
            self._reporter.close(self._state, artifact.ref.digest, run_id)
            self.reported = True
        except AWAY as error:
            self._missed(error)
            self._ledger.save(replace(self._state, status=MADE))
        finally:
            self._claim.release()

    def close(self, status: str) -> None:
        """Send what is left and the final status; if MLflow is unreachable, the next sync does that."""
        if not self.mine or self._ended:
            return
        try:
            self._end(status, RunContent())
            self._ledger.save(replace(self._state, status=status))
            if status == FINISHED:  # without an object
                self._ledger.drop(*self._state.key)
            self.reported = True
        except AWAY as error:
            self._missed(error)
        finally:
            self._claim.release()

    def _resume(self, saved: SyncState | None, *, ended: bool = False) -> None:
        """Continue where an earlier process stopped. If its work folder is gone, start a new run."""
        if saved is None or not (ended or saved.run_id is None or saved.status == MADE or self._work.is_dir()):
            return
        journal = self._work / JOURNAL
        size = journal.stat().st_size if journal.exists() else 0
        offset = saved.offset if saved.offset <= size else 0  # the journal was removed: it begins anew
        self._state = replace(saved, spec=self._state.spec, status=RUNNING, offset=offset)
        self._cut_off = saved.run_id is None
        self._reread()

    def _reread(self) -> None:
        found = list(read_events(self._work / JOURNAL, self._state.offset))
        self._waiting = [event for event, _ in found if event.kind == "metrics"]
        self._read = found[-1][1] if found else self._state.offset

    def _take_over(self) -> bool:
        """Take over if the process that reported this step has died."""
        if self._ended or not self._claim.take():
            return False
        saved = self._ledger.state(*self._state.key)
        if saved is None:
            self._ended = True
            self._claim.release()
            return False
        self._resume(saved)
        return True

    def _open(self) -> str:
        """Return the id of the run: an existing one if MLflow still has it, else a new one."""
        if self._opened and self._state.run_id is not None:
            return self._state.run_id
        spec, client, variants = self._state.spec, self._client, self._reporter.variants
        experiment_id = self._reporter.experiment_of(spec)
        tags, params = spec.tags(self._reporter.store), spec.params()
        if self._variant is not None:
            tags[PARENT] = variants.waiting(spec.mlflow_experiment, self._variant)
        run_id = self._state.run_id or (self._reporter.cut_off_run(spec) if self._cut_off else None)
        run = None if run_id is None else client.active_run(run_id)
        if run is not None:
            client.mlflow().update_run(run.info.run_id, status=RUNNING)
            # Parameters cannot change: they stay, even under the name of an earlier variant.
            params = {name: value for name, value in params.items() if name not in run.data.params}
            self._settings = RunContent(params, tags=tags)
            self._state = replace(self._state, run_id=run.info.run_id)
        else:
            if run_id is not None:  # somebody has deleted it
                self._state = self._state.afresh()
                self._reread()
            self._settings = RunContent(params)
            self._state = replace(self._state, run_id=client.create_run(experiment_id, spec.step.name, tags))
        self._ledger.save(self._state)
        if self._variant is not None:
            variants.seed_is(self._variant, spec.key, RUNNING)
        self._opened, self._due = True, time.monotonic() + self._pace
        return str(self._state.run_id)

    def _send(self, run_id: str, content: RunContent) -> None:
        """Send content together with waiting metrics and, once, the settings of the run."""
        curves, settings = curve_points(self._waiting, self._state.last), self._settings or RunContent()
        if curves or content != RunContent() or self._settings is not None:
            known = {(point.name, point.step) for point in curves}
            rest = tuple(point for point in content.metrics if (point.name, point.step) not in known)
            whole = replace(settings | content, params=settings.params, metrics=curves + rest)
            self._client.send(run_id, whole, self._state.last)
            last = {**self._state.last, **{point.name: point.step for point in curves}}
            self._state = replace(self._state, offset=self._read, last=last)
            self._ledger.save(self._state)
        self._settings, self._waiting, self._failures = None, [], 0
        self._due = time.monotonic() + self._pace

    def _end(self, status: str, content: RunContent) -> str:
        self._ended = True
        run_id = self._open()
        self._send(run_id, content)
        self._client.mlflow().set_terminated(run_id, status)
        if self._variant is not None:
            self._reporter.variants.seed_is(self._variant, self._state.spec.key, status)
        return run_id

    def _missed(self, error: Exception) -> None:
        if self._failures == 0:
            warn_away(self._client, error)
        self._failures += 1
        self._due = time.monotonic() + min(LONGEST_PAUSE, self._pace * 2 ** min(self._failures, 10))


class AddedResults(StageRun):
    """An evaluation, shown in the run of its tagger, or a report, shown in the runs of its variants."""

    def __init__(self, reporter: Reporter, spec: RunSpec) -> None:
        self._reporter = reporter
        self._state = SyncState(reporter.client.address, spec, time.time())
        self._claim = reporter.ledger.claim(*self._state.key)
        self._ended = False
        if self._claim.take():
            self._begin()
        if spec.step.kind == "evaluation":
            tagger = spec.inputs["tagger"]
            known = reporter.ledger.receipts(tagger.kind, tagger.key)
            self.run_id = next((each.run_id for each in known), None)

    def finish(self, artifact: Artifact) -> None:
        """Report the results, unless another process does; in an outage the state waits in the store."""
        if self._ended or not (self._claim.held or self._claim.take()):
            return
        self._ended = True
        try:
            self._reporter.report_added(replace(self._state, status=MADE), artifact)
            self.reported = self._reporter.is_reported(self._state, artifact)
        except AWAY as error:
            self._reporter.ledger.save(replace(self._state, status=MADE))
            warn_away(self._reporter.client, error)
        finally:
            self._claim.release()

    def close(self, _status: str) -> None:
        """Drop the state: there is no object to report. Evaluations that have waited for this one are reported."""
        if self._claim.held and not self._ended:
            if self._reporter.store.pointer(*self._state.key) is None:
                self._reporter.ledger.drop(*self._state.key)
            self._claim.release()
            try:
                self._reporter.report_others(self._state)
            except AWAY as error:
                warn_away(self._reporter.client, error)

    def _begin(self) -> None:
        ledger = self._reporter.ledger
        for receipt in ledger.receipts(*self._state.key):
            ledger.forget(receipt)  # out of date: the object is built again
        known = ledger.state(*self._state.key)
        if known is None:
            ledger.save(self._state)
        else:
            self._state = known
