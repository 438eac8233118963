"""Tracking of an experiment: which steps get a run, how runs end, and the run of a whole pipeline."""

from __future__ import annotations

import contextlib
import getpass
import logging
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import taglm_core
from taglm_core.config.experiment import Experiment
from taglm_core.corpus.split_facts import Finding
from taglm_core.errors import Interrupted, StoreError, TagLMError
from taglm_core.pipeline.graph import STATISTICS, build_graph
from taglm_core.pipeline.steps import Step
from taglm_core.store.durable import write_json
from taglm_core.store.records import Recipe, Ref
from taglm_core.store.store import Artifact
from taglm_core.training.journal import JOURNAL, read_events
from tasks.tracking.added import AddedResults
from tasks.tracking.address import resolve_uri
from tasks.tracking.claim import Claim
from tasks.tracking.connection import AWAY, Connection, warn_away
from tasks.tracking.descriptions import FINDINGS, findings_text, run_by_id_link
from tasks.tracking.entry import FAILED, FINISHED, KILLED, OWN_RUNS, STATE_FILE, Entry, State
from tasks.tracking.home import Home
from tasks.tracking.outcome import Outcome, begun_path, outcomes, put_aside
from tasks.tracking.publishing import Published, publish
from tasks.tracking.runs import StageRun, TrackedRun
from tasks.tracking.words import drop, drop_stale, orphans, words
from tasks.urls import mlflow_ui

__all__ = ["NoTracker", "StageRun", "Tracker", "open_tracker"]
logger = logging.getLogger("taglm")
ADDED_TO_RUNS = ("evaluation", "report")
PACE = 2.0  # seconds between two batches of metrics
LAST_CHANCE = 120.0  # seconds that a run waits at its end for a store that is away


class Tracker(Home):
    """Tells MLflow what an experiment does.

    Args:
        experiment: the experiment.
        uri: tracking store; None as configured (see `resolve_uri`).
        pace: seconds between two batches of metrics of a run.

    Raises:
        ConfigError: the tracking store cannot be one. A store that is away is no error.
    """

    def __init__(self, experiment: Experiment, *, uri: str | None = None, pace: float = PACE) -> None:
        super().__init__(experiment, Connection(resolve_uri(uri or experiment.run.tracking_uri)))
        self._pace = pace
        self._commit, self._user = _commit(), _user()
        self._own: Path | None = None  # word of the end that is being told

    @contextlib.contextmanager
    def stage_run(
        self, step: Step, recipe: Recipe, work: Path, *, inputs: Mapping[str, Ref], prefect_run: str | None = None
    ) -> Iterator[StageRun]:
        """The run of one step while it is being built; ended when the block ends, however it ends.

        Args:
            step: the step.
            recipe: what it is made from.
            work: its work folder.
            inputs: the objects it reads, by role.
            prefect_run: id of the Prefect flow run.
        """
        entry = Entry(
            self.experiment.name, step, recipe.key, dict(inputs), str(self.store.root), prefect_run, self._commit,
            self._user, self.experiment.seeds,
        )  # fmt: skip
        if step.kind == "report":
            write_json(begun_path(self.store.root, self.connection.address, self.experiment.name, recipe.key), {})
        run = self._run(entry, work / STATE_FILE, work / JOURNAL)
        try:
            yield run
        except BaseException as error:
            # A cancelled Prefect run comes as TerminationSignal, Ctrl-C as KeyboardInterrupt: not Exceptions.
            failed = isinstance(error, Exception) and not isinstance(error, Interrupted)
            run.close(FAILED if failed else KILLED)
            raise
        run.close(FINISHED)

    def publish(
        self, refs: Mapping[str, Ref], *, prefect_run: str | None = None, patience: float = LAST_CHANCE
    ) -> Published:
        """The end of a pipeline: its run is linked to those of its steps, its best tagger registered.

        Word of it is in the store until all is told: by the next run, if the tracking store is away.

        Args:
            refs: the objects of the experiment, by step name.
            prefect_run: id of the Prefect flow run.
            patience: seconds to wait for a store that is away and has not heard of all steps.
        """
        outcome = Outcome(self.connection.address, self.experiment, refs, prefect_run)
        word = self._own = outcome.save(self.store.root)
        published = Published()
        try:
            if self.tell_rest(patience):
                published = publish(self, refs, prefect_run)
                word.unlink(missing_ok=True)
        except AWAY as error:
            warn_away(self.connection, error)
        finally:
            self._own = None
        return published

    def note_findings(self, refs: Mapping[str, Ref], findings: Sequence[Finding]) -> None:
        """Say on the page of the corpora's run what is suspicious about them.

        Args:
            refs: the objects of the ingest stage, by step name.
            findings: all that the experiment does not accept.
        """
        try:
            run_id = self.step_run(build_graph(self.experiment)[STATISTICS], refs[STATISTICS])
            if run_id is not None:
                self.connection.client().set_tag(run_id, FINDINGS, findings_text(findings))
        except AWAY as error:
            warn_away(self.connection, error)

    def address(self, run_id: str | None) -> str | None:
        """Where MLflow's UI shows a run; None for none."""
        return None if run_id is None else run_by_id_link(mlflow_ui(self.connection.uri), run_id)

    def catch_up(self) -> bool:
        """Tell what an outage or a kill left untold, and end the runs of processes that are gone.

        Returns:
            Whether that was tried to the end: the store is not away, and nobody else is at it.
        """
        claim = Claim(self.locks / "tracking.lock")
        if not claim.take():
            return False
        try:
            self._catch_up()
        except AWAY as error:
            warn_away(self.connection, error)
            return False
        finally:
            claim.release()
        return True

    def tell_rest(self, patience: float = LAST_CHANCE) -> bool:
        """At the end of a run: what was made while the store was away is told, if it comes back in time.

        Args:
            patience: seconds to wait for it; what is then left is told by the next run.

        Returns:
            Whether no step waits any more for the store to come back.
        """
        tried, address = self.catch_up(), self.connection.address
        if not tried and words(self.store, address):
            logger.info("waiting %.0f s at most for tracking store %s, to tell it the rest", patience, address)
        end = time.monotonic() + patience
        while not tried and words(self.store, address):
            if time.monotonic() >= end:
                return False
            time.sleep(self._pace)
            tried = self.connection.answers() and self.catch_up()
        return True

    def _catch_up(self) -> None:
        """After each one that could not be told the store is asked: if it is away, the others need not be tried."""
        store, address = self.store, self.connection.address
        drop_stale(store)
        ends = [
            (path, outcome) for path, outcome in outcomes(store.root)
            if path != self._own and (outcome is None or outcome.uri == address)
        ]  # fmt: skip
        dead = orphans(store, address)
        if not (dead or ends or words(store, address)):
            return
        self.connection.ask()
        for path, state in dead:
            with _aside(path, f"the end of {state.entry.step.name}"):
                if not self._end_orphan(state, path):
                    self.connection.ask()
        for path, state in words(store, address):
            with _aside(path, f"the result of {state.entry.step.name}"):
                if not self._tell_later(state, path):
                    self.connection.ask()
        left = {(state.entry.step.kind, state.entry.key) for _, state in words(store, address)}
        for path, outcome in ends:
            with _aside(path, "the outcome of a pipeline"):
                if outcome is None:
                    raise ValueError("it cannot be read, or another version wrote it")
                of_it = {(ref.kind, ref.key) for ref in outcome.refs.values()}
                if left.isdisjoint(of_it) and not self._publish_later(outcome, path):  # else links would be missing
                    self.connection.ask()

    def _run(self, entry: Entry, path: Path, journal: Path) -> StageRun:
        if entry.step.kind in OWN_RUNS:
            return TrackedRun(self.connection, entry, path, journal, pace=self._pace)
        return AddedResults(self.connection, entry) if entry.step.kind in ADDED_TO_RUNS else StageRun()

    def _end_orphan(self, state: State, path: Path) -> bool:
        """A step whose process is gone: finished if its object is there, else killed. Gives whether it was told."""
        if state.entry.word.exists():  # which was written just before the process was killed, and counts
            replace(state, status=FINISHED).save(path)
            return True
        artifact = self._made_by(state)
        run = self._run(state.entry, path, path.with_name(JOURNAL))
        if not isinstance(run, TrackedRun) or not run.mine:
            return True  # it is being worked on
        self._hand_on(run, path.with_name(JOURNAL))
        run.finish(artifact) if artifact is not None else run.close(KILLED)
        return run.settled

    def _tell_later(self, state: State, path: Path) -> bool:
        """An object that was made while the store was away; gives whether it was told."""
        artifact = self._artifact(state.entry)
        if artifact is None or state.status == FINISHED:  # its process was killed when it had told it
            drop(self.store, path, state.entry)
            return True
        run = self._run(state.entry, path, artifact.path / JOURNAL)
        self._hand_on(run, artifact.path / JOURNAL)
        run.finish(artifact)
        return run.settled

    def _publish_later(self, outcome: Outcome, path: Path) -> bool:
        """A pipeline that ended while the store was away; gives whether it was told."""
        try:
            publish(Home(outcome.experiment, self.connection), outcome.refs, outcome.prefect_run)
        except AWAY as error:
            warn_away(self.connection, error)
            return False
        path.unlink(missing_ok=True)
        logger.info("told tracking store %s how %s ended", self.connection.address, outcome.experiment.name)
        return True

    @staticmethod
    def _hand_on(run: StageRun, journal: Path) -> None:
        events = list(read_events(journal, run.offset))
        if events:
            run.forward([event for event, _ in events], events[-1][1])

    def _made_by(self, state: State) -> Artifact | None:
        """The object that a step's own run made, not one that was there before."""
        artifact = self._artifact(state.entry)
        if artifact is None or artifact.manifest.made.get("mlflow_run") != state.run_id:
            return None
        return artifact

    def _artifact(self, entry: Entry) -> Artifact | None:
        pointer = self.store.pointer(entry.step.kind, entry.key)
        if pointer is None:
            return None
        try:
            return self.store.open(Ref(entry.step.kind, entry.key, pointer.digest))
        except StoreError:
            return None


class NoTracker:
    """Tells nobody: `run.tracking` is off. Takes what `Tracker` takes."""

    def stage_run(self, *_: object, **__: object) -> contextlib.AbstractContextManager[StageRun]:
        """A step without a run."""
        return contextlib.nullcontext(StageRun())

    def note_findings(self, *_: object) -> None:
        """Nothing."""

    def publish(self, *_: object, **__: object) -> Published:
        """Nothing."""
        return Published()

    def address(self, *_: object) -> str | None:
        """No page."""
        return None

    def catch_up(self) -> None:
        """Nothing is ever untold."""

    def tell_rest(self) -> None:
        """Nothing is ever untold."""


def open_tracker(experiment: Experiment, *, uri: str | None = None, catch_up: bool = True) -> Tracker | NoTracker:
    """The tracker an experiment asks for; what was left untold is told first, unless there is something to say."""
    if not experiment.run.tracking:
        return NoTracker()
    tracker = Tracker(experiment, uri=uri)
    if catch_up:
        tracker.catch_up()
    return tracker


@contextlib.contextmanager
def _aside(path: Path, what: str) -> Iterator[None]:
    """Word that can never be told is put aside: its objects are damaged or gone, or another version wrote it."""
    try:
        yield
    except AWAY:  # some are ValueErrors as well
        raise
    except (TagLMError, LookupError, ValueError) as error:
        put_aside(path, what, str(error) or type(error).__name__)


def _commit() -> str | None:
    """Commit of the program's sources, if they are a checkout."""
    command = ["git", "-C", str(Path(taglm_core.__file__).parent), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None
