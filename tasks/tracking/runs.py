"""The run of one step: opened or taken up again, fed from the journal, ended.

The tracking store may be away at any moment, from the start on. Work goes on then; metrics wait, and are told at the
next chance. What the store has is remembered in `tracking.json` only after it has it, and each metric keeps the time
that stands in the journal, so that what is told again after a crash between the two is the same point, not another.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from taglm_core.store.store import Artifact
from taglm_core.training.journal import Event, read_events
from tasks.tracking.claim import Claim
from tasks.tracking.connection import AWAY, Connection, warn_away
from tasks.tracking.entry import FINISHED, KILLED, PARENT, RUNNING, Entry, State
from tasks.tracking.results import datasets, log_own
from tasks.tracking.variants import update_status, variant_of, variant_run
from tasks.tracking.views import experiment_tags

LONGEST_PAUSE = 60.0  # seconds between two tries while the store is away


class StageRun:
    """A step without a run; what is said to it is passed over.

    Attributes:
        run_id: of the MLflow run, if there is one.
        offset: bytes of the journal whose metrics the store has; following goes on from there.
        settled: whether the store has been told everything, results included.
    """

    run_id: str | None = None
    offset: int = 0
    settled: bool = False

    def forward(self, events: list[Event], offset: int) -> None:
        """Hand on journal events, and the offset after them."""

    def finish(self, artifact: Artifact) -> None:
        """The object is made: tell its results."""

    def close(self, status: str) -> None:
        """The work ended without an object. Nothing happens after `finish`."""


class TrackedRun(StageRun):
    """A step with a run of its own.

    Args:
        connection: the tracking store.
        entry: the step.
        path: where `tracking.json` is kept.
        journal: the step's journal.
        pace: seconds between two batches of metrics.
    """

    def __init__(self, connection: Connection, entry: Entry, path: Path, journal: Path, *, pace: float) -> None:
        self._connection, self._path, self._journal, self._pace = connection, path, journal, pace
        self._state = State(connection.address, entry)
        self._claim = Claim(entry.claim)
        self._pending: list[Event] = []
        self._read = 0  # offset after the newest event in _pending
        self._due, self._failures = 0.0, 0
        self._opened = self._ended = False
        if self._claim.take():
            self._take_up(State.load(path))
            self._try_to_open()

    @property
    def mine(self) -> bool:
        """Whether this process tells the store about the step."""
        return self._claim.held

    @property
    def run_id(self) -> str | None:  # type: ignore[override]
        """Of the MLflow run; None until the store has been reached."""
        return self._state.run_id

    @property
    def offset(self) -> int:  # type: ignore[override]
        """Bytes of the journal whose metrics the store has."""
        return self._state.offset

    def forward(self, events: list[Event], offset: int) -> None:
        """Keep the metrics and tell them, every few seconds; in an outage at the next chance."""
        if not self.mine and not self._take_over():
            return
        self._pending += [event for event in events if event.kind == "metrics"]
        self._read = max(self._read, offset)
        if time.monotonic() >= self._due:
            try:
                self._flush()
            except AWAY as error:
                self._missed(error)

    def finish(self, artifact: Artifact) -> None:
        """Tell what is left and the results; in an outage, leave word in the store's `tracking` folder."""
        if self._ended or not (self.mine or self._take_over()):
            return
        self._ended, word = True, self._state.entry.word
        try:
            client, run_id = self._flush()
            log_own(client, run_id, self._state.entry, artifact)
            self._end(client, run_id, FINISHED)
            self.settled = True
            if word == self._path:
                word.unlink(missing_ok=True)
        except AWAY as error:
            self._missed(error)
            self._state.save(word)
            if word != self._path:
                replace(self._state, status=FINISHED).save(self._path)  # from here on, the other file counts
        finally:
            self._claim.release()

    def close(self, status: str) -> None:
        """Tell what is left, and how it ended."""
        if not self.mine or self._ended:
            return
        self._ended = True
        try:
            self._end(*self._flush(), status)
            self.settled = True
        except AWAY as error:
            self._missed(error)  # tracking.json still says RUNNING: the next tracker ends the run, or goes on with it
        finally:
            self._claim.release()

    def _take_up(self, saved: State | None) -> None:
        """Go on where an earlier process stopped, if it told the same store about the same work."""
        entry = self._state.entry
        fits = saved is not None and (saved.uri, saved.entry.key) == (self._state.uri, entry.key)
        if saved is not None and fits and saved.status != FINISHED:
            size = self._journal.stat().st_size if self._journal.exists() else 0
            told = saved.offset if saved.offset <= size else 0  # the journal was removed: it begins anew
            self._state = replace(saved, entry=entry, status=RUNNING, offset=told)
            self._read = told

    def _take_over(self) -> bool:
        """Another process told the store about this step until now: go on if it ended before the step did."""
        if self._ended or not self._claim.take():
            return False
        saved = State.load(self._path)
        if saved is None or saved.status == FINISHED:
            self._ended = True
            self._claim.release()
            return False
        self._take_up(saved)
        self._reread()
        return True

    def _reread(self) -> None:
        found = list(read_events(self._journal, self._state.offset))
        self._pending = [event for event, _ in found if event.kind == "metrics"]
        self._read = found[-1][1] if found else self._state.offset

    def _try_to_open(self) -> None:
        try:
            if self._state.run_id is None:
                self._state.save(self._path)  # a kill leaves a trace, even if the store is away until then
            self._open()
        except AWAY as error:
            self._missed(error)

    def _open(self) -> tuple[MlflowClient, str]:
        client, entry = self._connection.client(), self._state.entry
        if self._opened and self._state.run_id is not None:
            return client, self._state.run_id
        experiment = self._connection.experiment(entry.mlflow_experiment, experiment_tags(entry.step.stage))
        if self._state.run_id is not None and not is_usable(client, self._state.run_id):
            self._state = self._state.afresh()
            self._reread()
        tags, variant = entry.tags(), variant_of(entry)
        if variant is not None:
            tags[PARENT] = variant_run(self._connection, entry.mlflow_experiment, variant)
        run_id = self._state.run_id
        if run_id is None:
            run_id = str(client.create_run(experiment, run_name=entry.step.name, tags=tags).info.run_id)
            self._state = replace(self._state, run_id=run_id)
        self._state.save(self._path)
        end_stale(self._connection, experiment, entry, run_id)
        client.update_run(run_id, status=RUNNING)
        known = client.get_run(run_id).data.params  # work that was begun as another variant's keeps that name
        params = [Param(name, value) for name, value in entry.params().items() if name not in known]
        client.log_batch(run_id, params=params, tags=[RunTag(name, value) for name, value in tags.items()])
        self._connection.log_inputs(run_id, datasets(entry))
        if variant is not None:
            update_status(self._connection, tags[PARENT])
        self._opened = True
        return client, run_id

    def _flush(self) -> tuple[MlflowClient, str]:
        client, run_id = self._open()
        metrics, last = fresh_metrics(self._pending, self._state.last)
        if metrics:
            client.log_batch(run_id, metrics=metrics)
        if self._read != self._state.offset or metrics:
            self._state = replace(self._state, offset=self._read, last=last)
            self._state.save(self._path)
        self._pending, self._failures = [], 0
        self._due = time.monotonic() + self._pace
        return client, run_id

    def _end(self, client: MlflowClient, run_id: str, status: str) -> None:
        client.set_terminated(run_id, status)
        parent = client.get_run(run_id).data.tags.get(PARENT)
        if parent is not None:
            update_status(self._connection, parent)
        self._state = replace(self._state, status=status)
        self._state.save(self._path)

    def _missed(self, error: Exception) -> None:
        if self._failures == 0:
            warn_away(self._connection, error)
        self._failures += 1
        self._due = time.monotonic() + min(LONGEST_PAUSE, self._pace * 2 ** min(self._failures, 10))


def fresh_metrics(events: Sequence[Event], last: Mapping[str, int]) -> tuple[list[Metric], dict[str, int]]:
    """The points that were not told before, and the last step of each metric after them."""
    metrics, last = [], dict(last)
    for event in events:
        for name, value in event.values.items():
            if event.step > last.get(name, -1):
                metrics.append(Metric(name, float(value), int(event.time * 1000), event.step))
                last[name] = event.step
    return metrics, dict(last)


def end_stale(connection: Connection, experiment: str, entry: Entry, own: str) -> None:
    """End runs of the same work, in the same store, whose process is gone: the work's lock is ours."""
    client = connection.client()
    text = f"tags.`taglm.key` = '{entry.key}' and attributes.status = '{RUNNING}'"
    for run in client.search_runs([experiment], text):
        if run.info.run_id != own and run.data.tags.get("taglm.store") == entry.store:
            client.set_terminated(run.info.run_id, KILLED)
            if (parent := run.data.tags.get(PARENT)) is not None:
                update_status(connection, parent)


def is_usable(client: MlflowClient, run_id: str) -> bool:
    """Whether a run is still there and not deleted."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
