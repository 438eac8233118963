"""What a step reports while it is being built: its run, fed from the journal, and how that ends.

MLflow may be away at any moment, from the start on. Work goes on then; metrics wait, and are sent at the next chance.
The state file is written after MLflow has what it says. Each metric keeps the time that stands in the journal, so that
what is sent again after a crash between the two is the same point, not another.
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
    """A step without a run; what is handed to it is passed over.

    Attributes:
        run_id: of the MLflow run, if there is one.
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
        """End work that made no object. Does nothing after `finish`."""


class OwnRun(StageRun):
    """A step with a run of its own.

    Args:
        reporter: what reports to the tracking store.
        spec: the step.
        work: its work folder.
        pace: seconds between two batches of metrics.
        left: the state that a build left which has ended; None while the step is being built.
    """

    def __init__(
        self, reporter: Reporter, spec: RunSpec, work: Path, *, pace: float, left: SyncState | None = None
    ) -> None:
        self._reporter, self._client, self._ledger = reporter, reporter.client, reporter.ledger
        self._work, self._pace = work, pace
        self._variant = Variant.of_spec(spec, reporter.store)
        self._state = SyncState(self._client.address, spec, time.time())
        self._claim = self._ledger.claim(*self._state.key)
        self._waiting: list[Event] = []  # metrics that MLflow does not have
        self._read = 0  # offset after the newest of them
        self._settings: RunContent | None = None  # what the run does not show of itself yet
        self._cut_off = self._opened = self._ended = False
        self._due, self._failures = 0.0, 0
        if self._claim.take():
            self._resume(left or self._ledger.state(*self._state.key), ended=left is not None)
            if left is None:
                for receipt in self._ledger.receipts(*self._state.key):
                    self._ledger.forget(receipt)  # it is made again
            self._ledger.save(self._state)  # a kill leaves a trace, even if MLflow is away until then
            try:
                self._open()
            except AWAY as error:
                self._missed(error)

    @property
    def mine(self) -> bool:
        """Whether this process reports the step."""
        return self._claim.held

    @property
    def run_id(self) -> str | None:  # type: ignore[override]
        """Of the MLflow run; None until MLflow has been reached."""
        return self._state.run_id

    @property
    def offset(self) -> int:  # type: ignore[override]
        """Bytes of the journal whose metrics MLflow has."""
        return self._state.offset

    def forward(self, events: list[Event], offset: int) -> None:
        """Keep the metrics and send them, a batch in a while; in an outage at the next chance."""
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
        """Send what is left and the results; in an outage the state says that they wait."""
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
        """Send what is left, and how it ended; in an outage the next sync ends the run, or goes on with it."""
        if not self.mine or self._ended:
            return
        try:
            self._end(status, RunContent())
            self._ledger.save(replace(self._state, status=status))
            if status == FINISHED:  # though nothing was made
                self._ledger.drop(*self._state.key)
            self.reported = True
        except AWAY as error:
            self._missed(error)
        finally:
            self._claim.release()

    def _resume(self, saved: SyncState | None, *, ended: bool = False) -> None:
        """Go on where an earlier process stopped, unless its work is gone; then its run has ended."""
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
        """Go on reporting where another process ended before the step did."""
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
        """Return the id of the run: the one that was begun, if it is still there, or a new one."""
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
            # Work that was begun as another variant's keeps that name.
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
        """Send content, with the metrics that wait and the settings of a run that has none yet."""
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
    """A step whose results belong to runs of other steps: its tagger's, or those of its variants."""

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
        """Drop the state: without an object there is nothing to report. What has waited for it is reported."""
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
            ledger.forget(receipt)  # it is made again
        known = ledger.state(*self._state.key)
        if known is None:
            ledger.save(self._state)
        else:
            self._state = known
