"""What MLflow has received, and what it has not received yet: small files of the store.

    tracking/pending/<kind>-<key>-<address>.json                 an object that is being built, or not reported yet
    tracking/receipts/<kind>-<key>-<address and experiment>.json   what was reported, and in which run
    tracking/variants/<variant>.json                             the runs of variants that this store made
    tracking/decisions/<time>-<report>.json                      ends of pipelines that wait (decisions.py)
    tracking/locks/                                              which process reports an object

A pending file is written before a build begins and removed after its receipt is written: a kill loses no report, and
no object is reported twice. Knows files only, not MLflow.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from taglm_core.errors import StoreError
from taglm_core.pipeline.kinds import Reporting
from taglm_core.store.durable import is_locked, locked, read_json, write_json
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store
from tasks.tracking.spec import RUNNING, RunSpec

MADE = "MADE"  # the object is there, and its report is not


@dataclass(frozen=True, slots=True)
class SyncState:
    """How far the build of an object has been reported.

    Attributes:
        uri: the tracking store, without user and password.
        spec: the step.
        begun: when the report became due, in seconds since 1970.
        run_id: the run; None where MLflow has not been reached yet.
        offset: bytes of the journal whose metrics MLflow has.
        last: last step that MLflow has of each metric; a resumed process writes steps again.
        status: of the run in MLflow, RUNNING before there is one; or MADE.
    """

    uri: str
    spec: RunSpec
    begun: float = 0.0
    run_id: str | None = None
    offset: int = 0
    last: Mapping[str, int] = field(default_factory=dict)
    status: str = RUNNING

    @property
    def key(self) -> tuple[str, str]:
        """Kind and key of the object."""
        return self.spec.step.kind, self.spec.key

    def afresh(self) -> SyncState:
        """Return the state for a new run: MLflow has nothing."""
        return replace(self, run_id=None, offset=0, last={}, status=RUNNING)


@dataclass(frozen=True, slots=True)
class Receipt:
    """That an object was reported.

    Attributes:
        experiment: name of the experiment that it was reported for.
        kind: of the object; `pipeline` for the end of a pipeline, whose key and digest are its report's.
        key: of the object.
        digest: of the object; empty where the run says that none was made.
        run_id: the run that shows it; None where there are several.
        mlflow_experiment: id of the run's MLflow experiment.
        evaluations: of a tagger's run: digests of the evaluations that were added to it, by split.
        registration: of a pipeline: what was decided about its best tagger.
    """

    experiment: str
    kind: str
    key: str
    digest: str
    run_id: str | None = None
    mlflow_experiment: str = ""
    evaluations: Mapping[str, str] = field(default_factory=dict)
    registration: Mapping[str, Any] | None = None


class Claim:
    """A lock that is taken only if it is free. The system frees it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack: contextlib.ExitStack | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._stack is not None

    def take(self) -> bool:
        """Take the lock, if nobody holds it; return whether it is held."""
        if self._stack is None:
            stack = contextlib.ExitStack()
            if stack.enter_context(locked(self._path, wait=False)):
                self._stack = stack
            else:
                stack.close()
        return self.held

    def release(self) -> None:
        """Give it back."""
        if self._stack is not None:
            self._path.unlink(missing_ok=True)
            self._stack.close()
            self._stack = None


class Ledger:
    """The files of a store about one tracking store, by its address without user and password."""

    def __init__(self, store: Store, address: str) -> None:
        self.store, self.address, self.root = store, address, tracking_folder(store)

    def pending(self) -> list[SyncState]:
        """Return what MLflow is to receive now: runs before what is added to them, oldest first."""
        found = [state for state in self.everything() if self.is_due(state)]
        return sorted(found, key=lambda state: (state.spec.reporting is not Reporting.OWN_RUN, state.begun))

    def is_due(self, state: SyncState) -> bool:
        """Return whether there is something to send: an object, or the end of a run; and no process is at it."""
        if state.spec.reporting is Reporting.OWN_RUN:
            due = state.status in (RUNNING, MADE)
        else:
            due = self.store.pointer(*state.key) is not None
        return due and not self.is_busy(*state.key)

    def tidy(self) -> None:
        """Drop the states of builds that nobody goes on with: they have ended, and their work is gone."""
        for state in self.everything():
            own = state.spec.reporting is Reporting.OWN_RUN
            if own and (state.status in (RUNNING, MADE) or (self.store.root / "work" / Path(*state.key)).is_dir()):
                continue
            claim = self.claim(*state.key)
            if claim.take():
                if own or not (self.is_building(*state.key) or self.store.pointer(*state.key)):
                    self.drop(*state.key)
                claim.release()

    def everything(self) -> list[SyncState]:
        """Return what waits and what is being built."""
        return [state for state in all_pending(self.store) if state.uri == self.address]

    def state(self, kind: str, key: str) -> SyncState | None:
        """Return the state of an object that waits; None if it does not."""
        return _read_state(self.pending_file(kind, key))

    def save(self, state: SyncState) -> None:
        """Write a state durably."""
        write_json(self.pending_file(*state.key), asdict(state))

    def drop(self, kind: str, key: str) -> None:
        """Remove the state of an object."""
        self.pending_file(kind, key).unlink(missing_ok=True)

    def pending_file(self, kind: str, key: str) -> Path:
        """Return the file of an object's state."""
        return self.root / "pending" / f"{kind}-{key}-{_short(self.address)}.json"

    def claim(self, kind: str, key: str) -> Claim:
        """Return the lock of the process that reports an object."""
        return Claim(self.lock(kind, key))

    def lock(self, kind: str, key: str) -> Path:
        """Return the file of a lock."""
        return self.root / "locks" / f"{kind}-{key}-{_short(self.address)}.lock"

    def is_busy(self, kind: str, key: str) -> bool:
        """Return whether a process reports an object, or builds it."""
        return is_locked(self.lock(kind, key)) or self.is_building(kind, key)

    def is_building(self, kind: str, key: str) -> bool:
        """Return whether a process builds an object, tracked or not."""
        return is_locked(self.store.lock_file(kind, key))

    def receipt(self, kind: str, key: str, experiment: str) -> Receipt | None:
        """Return the receipt of an object for an experiment; None if it was not reported."""
        return _read_receipt(self._receipt_file(kind, key, experiment))

    def receipts(self, kind: str, key: str) -> list[Receipt]:
        """Return the receipts of an object, whatever experiment they are for."""
        found = map(_read_receipt, sorted((self.root / "receipts").glob(f"{kind}-{key}-*.json")))
        return [each for each in found if each is not None and self.receipt(kind, key, each.experiment) == each]

    def record(self, receipt: Receipt) -> None:
        """Write a receipt durably."""
        write_json(self._receipt_file(receipt.kind, receipt.key, receipt.experiment), asdict(receipt))

    def forget(self, receipt: Receipt) -> None:
        """Remove a receipt: the object is built anew, or its run is gone."""
        self._receipt_file(receipt.kind, receipt.key, receipt.experiment).unlink(missing_ok=True)

    def forget_gone(self) -> None:
        """Remove the receipts of objects that no key leads to any more; those of pipelines stay."""
        for path in (self.root / "receipts").glob("*.json"):
            receipt = _read_receipt(path)
            if receipt and receipt.kind != "pipeline" and self.store.pointer(receipt.kind, receipt.key) is None:
                path.unlink(missing_ok=True)

    def artifact(self, kind: str, key: str) -> Artifact | None:
        """Return the object of a key; None if there is none, or a damaged one."""
        pointer = self.store.pointer(kind, key)
        if pointer is None:
            return None
        try:
            return self.store.open(Ref(kind, key, pointer.digest))
        except StoreError:
            return None

    def _receipt_file(self, kind: str, key: str, experiment: str) -> Path:
        return self.root / "receipts" / f"{kind}-{key}-{_short(f'{self.address} {experiment}')}.json"


def tracking_folder(store: Store) -> Path:
    """Return the folder of these files."""
    return store.root / "tracking"


def all_pending(store: Store) -> Iterator[SyncState]:
    """Yield the states of all objects that wait, for whatever tracking store."""
    for path in sorted((tracking_folder(store) / "pending").glob("*.json")):
        state = _read_state(path)
        if state is not None:
            yield state


def put_aside(path: Path) -> Path | None:
    """Take a file out of the way that would fail in every run; return where it is, None if it is gone."""
    aside = path.with_suffix(".aside")
    try:
        return path.replace(aside)
    except FileNotFoundError:  # another process has reported it
        return None


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _read_state(path: Path) -> SyncState | None:
    data: Any = read_json(path)
    try:
        return SyncState(**{**data, "spec": RunSpec.from_json(data["spec"])})
    except (TypeError, KeyError):
        return None  # none, or another version's


def _read_receipt(path: Path) -> Receipt | None:
    data: Any = read_json(path)
    try:
        return Receipt(**data)
    except TypeError:
        return None
