"""Tracking of an experiment: what its steps report while they are built, and what is sent later."""

from __future__ import annotations

import contextlib
import functools
import getpass
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import taglm_core
from taglm_core.config.experiment import Experiment
from taglm_core.corpus.split_facts import Finding
from taglm_core.errors import Interrupted, TagLMError
from taglm_core.pipeline.context import context_for
from taglm_core.pipeline.corpora_steps import STATISTICS
from taglm_core.pipeline.kinds import Reporting
from taglm_core.pipeline.steps import Step
from taglm_core.store.records import Recipe, Ref
from taglm_core.store.store import Store
from tasks.tracking.address import resolve_uri
from tasks.tracking.client import AWAY, Client, warn_away
from tasks.tracking.compatibility import adopt_old_files
from tasks.tracking.decisions import PendingEnd, append, waiting
from tasks.tracking.descriptions import FINDINGS, experiment_name, findings_text, run_by_id_link
from tasks.tracking.live import AddedResults, OwnRun, StageRun
from tasks.tracking.pipelines import publish
from tasks.tracking.receipts import MADE, Claim, Receipt, SyncState, put_aside
from tasks.tracking.reporter import Reporter
from tasks.tracking.spec import FAILED, FINISHED, KILLED, RunSpec
from tasks.urls import mlflow_ui

__all__ = ["NoTracker", "StageRun", "Tracker", "open_tracker"]
logger = logging.getLogger("taglm")
PACE = 60.0  # seconds between two batches of metrics
ASK_AGAIN = 2.0  # seconds between two attempts at a store that is away, at the end of a run
LAST_CHANCE = 120.0  # seconds that a run waits at its end for a store that is away


class Tracker(Reporter):
    """Reports to MLflow what an experiment does.

    Args:
        experiment: the experiment.
        uri: tracking store; None as configured (see `resolve_uri`).
        pace: seconds between two batches of metrics of a run.

    Raises:
        ConfigError: the tracking store cannot be one. A store that is away is no error.
    """

    def __init__(self, experiment: Experiment, *, uri: str | None = None, pace: float = PACE) -> None:
        super().__init__(Client(resolve_uri(uri or experiment.run.tracking_uri)), Store(experiment.run.store))
        self.experiment, self._pace = experiment, pace
        self._published: dict[Path, Receipt] = {}
        self._tried: set[Path] = set()  # ends that this process has tried to send

    @contextlib.contextmanager
    def stage_run(
        self, step: Step, recipe: Recipe, work: Path, *, inputs: Mapping[str, Ref], prefect_run: str | None = None
    ) -> Iterator[StageRun]:
        """The run of one step while it is being built; ended when the block ends, however it ends."""
        spec = RunSpec(
            self.experiment.name, step, recipe.key, dict(inputs), prefect_run, _commit(), _user(),
            tuple(self.experiment.seeds),
        )  # fmt: skip
        run = self._run(spec, work)
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
    ) -> Receipt | None:
        """Report the end of a pipeline: its run is linked to those of its steps, its best tagger registered.

        It is written into the store first: the next run sends it, if the tracking store is away.

        Args:
            refs: the objects of the experiment, by step name.
            prefect_run: id of the Prefect flow run.
            patience: seconds to wait for a store that is away.
        """
        end = PendingEnd(self.client.address, self.experiment, refs, prefect_run, time=time.time())
        path = append(self.store, end)
        self._tried.discard(path)
        try:
            if self.flush(patience) and path not in self._tried:  # another process is at it
                self._attempt(path, "the outcome of a pipeline", partial(self._publish, path, end))
        except AWAY as error:
            warn_away(self.client, error)
        return self._published.pop(path, None)

    def note_findings(self, refs: Mapping[str, Ref], findings: Sequence[Finding]) -> None:
        """Say on the page of the corpora's run what is suspicious about them."""
        with context_for(self.experiment) as context:
            step, ref = context.graph[STATISTICS], refs[STATISTICS]
        try:
            run = self.run_of(experiment_name(step.stage, step.group), ref.kind, ref.key, ref.digest)
            if run is not None:
                self.client.mlflow().set_tag(str(run.run_id), FINDINGS, findings_text(findings))
        except AWAY as error:
            warn_away(self.client, error)

    def address(self, run_id: str | None) -> str | None:
        """Return where MLflow's UI shows a run; None for none."""
        return None if run_id is None else run_by_id_link(mlflow_ui(self.client.uri), run_id)

    def sync(self) -> bool:
        """Send what an outage or a kill left, and end the runs of processes that are gone.

        Returns:
            Whether everything was tried: MLflow is not away, and no other process is at it.
        """
        claim = Claim(self.ledger.lock("sync", "all"))
        if not claim.take():
            return False
        try:
            self._sync()
        except AWAY as error:
            warn_away(self.client, error)
            return False
        finally:
            claim.release()
        return True

    def flush(self, patience: float = LAST_CHANCE) -> bool:
        """Send everything at the end of a run; wait for MLflow where it is away.

        Args:
            patience: seconds to wait; what is left then is sent by the next run.

        Returns:
            Whether nothing waits any more for MLflow to come back.
        """
        done, end = self.sync(), time.monotonic() + patience
        if not done and self.ledger.pending():
            logger.info("waiting %.0f s at most for MLflow at %s, to send the rest", patience, self.client.address)
        while not done and self.ledger.pending():
            if time.monotonic() >= end:
                return False
            time.sleep(min(ASK_AGAIN, self._pace))
            done = self.client.answers() and self.sync()
        return True

    def _sync(self) -> None:
        adopt_old_files(self.store)
        self.ledger.tidy()
        pending = self.ledger.pending()
        if pending:
            self.client.ask()
        for state in pending:
            path = self.ledger.pending_file(*state.key)
            self._attempt(path, f"the result of {state.spec.step.name}", partial(self._report_later, state))
        left = {state.key for state in self.ledger.pending()}
        for path, end in waiting(self.store):
            if end is None:
                self._set_aside(path, "the outcome of a pipeline", "it cannot be read, or another version wrote it")
            elif end.uri == self.client.address and left.isdisjoint((ref.kind, ref.key) for ref in end.refs.values()):
                self._tried.add(path)  # without its steps links would be missing
                self._attempt(path, "the outcome of a pipeline", partial(self._publish, path, end))

    def _attempt(self, path: Path, what: str, send: Callable[[], None]) -> None:
        """Send one thing. What MLflow refuses is in no other one's way; what makes no sense is put aside.

        Raises:
            MlflowException, OSError, SQLAlchemyError: MLflow is away, so that the rest need not be tried.
        """
        try:
            send()
        except AWAY as error:  # some are ValueErrors as well
            if not self.client.answers():
                raise
            warn_away(self.client, error)
        except (TagLMError, LookupError, ValueError) as error:
            self._set_aside(path, what, str(error) or type(error).__name__)

    def _set_aside(self, path: Path, what: str, why: str) -> None:
        if (aside := put_aside(path)) is not None:
            logger.warning("%s: %s is not reported to MLflow: %s; run its experiment again", aside, what, why)

    def _report_later(self, state: SyncState) -> None:
        artifact, own = self.ledger.artifact(*state.key), state.spec.reporting is Reporting.OWN_RUN
        if not own:
            self.report_waiting(state)
        elif artifact is not None and self.is_reported(state, artifact):
            self.ledger.drop(*state.key)  # its process was killed when it had written the receipt
        elif artifact is None and state.status == MADE and state.run_id is None:
            self.ledger.drop(*state.key)  # the object is gone
        else:
            # An object that was there before is not what a build was to make.
            made = artifact is not None and (
                state.status == MADE or artifact.manifest.made.get("mlflow_run") == state.run_id
            )
            run = OwnRun(self, state.spec, self.store.root / "work" / Path(*state.key), pace=self._pace, left=state)
            if run.mine:
                run.finish(artifact) if made and artifact is not None else run.close(KILLED)
                if not run.reported:
                    self.client.ask()

    def _publish(self, path: Path, end: PendingEnd) -> None:
        self._published[path] = publish(self, end)
        path.unlink(missing_ok=True)

    def _run(self, spec: RunSpec, work: Path) -> StageRun:
        match spec.reporting:
            case Reporting.OWN_RUN:
                return OwnRun(self, spec, work, pace=self._pace)
            case Reporting.WITH_TAGGER | Reporting.WITH_VARIANTS:
                return AddedResults(self, spec)
        return StageRun()


def _nothing(*_: object, **__: object) -> None:
    """Do nothing."""


class NoTracker:
    """Reports nothing: `run.tracking` is off. Takes what `Tracker` takes."""

    publish = note_findings = address = sync = flush = staticmethod(_nothing)

    def stage_run(self, *_: object, **__: object) -> contextlib.AbstractContextManager[StageRun]:
        """A step without a run."""
        return contextlib.nullcontext(StageRun())


_TRACKERS: dict[tuple[str, ...], Tracker] = {}
_OPENING = threading.Lock()


def open_tracker(experiment: Experiment, *, sync: bool = True) -> Tracker | NoTracker:
    """Return the tracker of an experiment, one a process; the first time, what waits is sent.

    Args:
        experiment: the experiment.
        sync: not where the caller has something to write into the store first.
    """
    if not experiment.run.tracking:
        return NoTracker()
    store = Path(experiment.run.store).absolute()
    key = (resolve_uri(experiment.run.tracking_uri), str(store), experiment.model_dump_json())
    with _OPENING:
        known = _TRACKERS.get(key)
        tracker = known or _TRACKERS.setdefault(key, Tracker(experiment))
    if sync and known is None:
        tracker.sync()
    return tracker


@functools.cache
def _commit() -> str | None:
    """Return the commit of the program's sources, if they are a checkout."""
    command = ["git", "-C", str(Path(taglm_core.__file__).parent), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


@functools.cache
def _user() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None
