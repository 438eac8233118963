"""The runs of variants: parents of their seeds, with mean and standard deviation once a report is there.

A variant's run belongs to one report. Once it has that, no later run changes it: seeds that are trained after that, or
another comparison, get a new run of the variant. Which run that is stands in a small file of the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from taglm_core.pipeline.kinds import Stage
from taglm_core.store.durable import locked, read_json, write_json
from tasks.tracking.client import Client
from tasks.tracking.content import RunContent
from tasks.tracking.descriptions import NOTE
from tasks.tracking.receipts import Ledger
from tasks.tracking.spec import FAILED, FINISHED, KILLED, PARENT, REPORT_TAG, RUNNING, SEEDS_TAG, Variant
from tasks.tracking.views import experiment_tags

_WORST_FIRST = (RUNNING, FAILED, KILLED)  # of the seeds of a variant, what its own run says


@dataclass(frozen=True, slots=True)
class VariantState:
    """What is known of the newest run of a variant.

    Attributes:
        run_id: the run; None while it is being made.
        complete: whether it has its settings.
        status: of the run.
        seeds: status of its taggers' runs, by key.
        report: digest of the report that it shows; None while it waits for one.
    """

    run_id: str | None = None
    complete: bool = False
    status: str = RUNNING
    seeds: Mapping[str, str] = field(default_factory=dict)
    report: str | None = None


class VariantRuns:
    """Makes runs of variants, and keeps their status."""

    def __init__(self, client: Client, ledger: Ledger) -> None:
        self._client, self._ledger = client, ledger

    def waiting(self, mlflow_experiment: str, variant: Variant) -> str:
        """Return the id of the variant's run that waits for its report, made if there is none.

        One that a kill or an outage left without its settings gets them.
        """
        with self._held(variant) as path:
            return str(self._waiting(path, mlflow_experiment, variant).run_id)

    def seed_is(self, variant: Variant, key: str, status: str) -> None:
        """Note the status of a seed. The variant's run is as its worst seed, until it has its report."""
        with self._held(variant) as path:
            state = _load(path)
            if state is None or state.run_id is None or state.report is not None:
                return
            seeds = {**state.seeds, key: status}
            worst = next((each for each in _WORST_FIRST if each in seeds.values()), FINISHED)
            with self._client.or_forget(state.run_id, partial(path.unlink, missing_ok=True)):
                if worst != state.status:
                    self._set_status(state.run_id, worst)
                write_json(path, asdict(replace(state, seeds=seeds, status=worst)))

    def report(self, mlflow_experiment: str, variant: Variant, digest: str, page: Callable[[], RunContent]) -> str:
        """Send a report to the run of a variant, which belongs to it from then on; return the run's id."""
        with self._held(variant) as path:
            state = self._waiting(path, mlflow_experiment, variant, digest)
            run_id = str(state.run_id)
            with self._client.or_forget(run_id, partial(path.unlink, missing_ok=True)):
                if state.status != FINISHED:  # a seed failed once, and was made by another run since
                    self._set_status(run_id, FINISHED)
                self._client.send(run_id, page())
            write_json(path, asdict(replace(state, status=FINISHED, report=digest)))
            return run_id

    @contextmanager
    def _held(self, variant: Variant) -> Iterator[Path]:
        """Hold the lock on a variant: two of its seeds look for its run, and then make it."""
        text = " ".join((self._ledger.address, *variant.identity().values(), str(variant.seeds_text)))
        name = hashlib.sha256(text.encode()).hexdigest()[:32]
        with locked(self._ledger.lock("variant", name)):
            yield self._ledger.root / "variants" / f"{name}.json"

    def _waiting(self, path: Path, mlflow_experiment: str, variant: Variant, report: str | None = None) -> VariantState:
        state = _load(path)
        # Perhaps an older version, or a process that was killed, made one; or an earlier run has just this report.
        if state is None or state.run_id is None or (report is not None and state.report not in (None, report)):
            state = self._found(mlflow_experiment, variant, report)
        if state is not None and state.report in (None, report) and state.run_id is not None:
            if not state.complete:
                with self._client.or_forget(state.run_id, partial(path.unlink, missing_ok=True)):
                    self._client.send(state.run_id, RunContent(variant.params()))
                state = replace(state, complete=True)
        else:
            state = self._made(path, mlflow_experiment, variant)
        write_json(path, asdict(state))
        return state

    def _made(self, path: Path, mlflow_experiment: str, variant: Variant) -> VariantState:
        experiment_id = self._client.experiment(mlflow_experiment, experiment_tags(Stage.TAG))
        note = f"Variant {variant.name} of experiment {variant.experiment}; its seeds are the runs below."
        write_json(path, asdict(VariantState()))
        run_id = self._client.create_run(experiment_id, variant.name, {**variant.tags(), NOTE: note})
        write_json(path, asdict(VariantState(run_id)))
        self._client.send(run_id, RunContent(variant.params()))
        return VariantState(run_id, complete=True)

    def _found(self, mlflow_experiment: str, variant: Variant, report: str | None) -> VariantState | None:
        """Return the run that has a report, else the newest one without a report, of the same seeds where both say."""
        if self._client.is_new(mlflow_experiment):
            return None
        runs = self._client.find_runs(mlflow_experiment, variant.identity())
        seeds = (None, variant.seeds_text)
        waiting = [run for run in runs if REPORT_TAG not in run.data.tags
                   and (variant.seeds_text is None or run.data.tags.get(SEEDS_TAG) in seeds)]  # fmt: skip
        shown = [run for run in runs if report is not None and run.data.tags.get(REPORT_TAG) == report]
        run = next(iter(shown + waiting), None)
        if run is None:
            return None
        its_report = run.data.tags.get(REPORT_TAG)
        complete = its_report is not None or variant.params().items() <= run.data.params.items()
        children = {} if its_report else self._seeds_of(mlflow_experiment, run)
        return VariantState(run.info.run_id, complete, run.info.status, children, its_report)

    def _seeds_of(self, mlflow_experiment: str, run: Run) -> dict[str, str]:
        found: dict[str, str] = {}  # a seed that was begun again counts by its newest run
        for seed in self._client.find_runs(mlflow_experiment, {PARENT: run.info.run_id}):
            found.setdefault(seed.data.tags.get("taglm.key", seed.info.run_id), seed.info.status)
        return found

    def _set_status(self, run_id: str, status: str) -> None:
        client = self._client.mlflow()
        if status == RUNNING:
            client.update_run(run_id, status=RUNNING)
        else:
            client.set_terminated(run_id, status)


def _load(path: Path) -> VariantState | None:
    data: Any = read_json(path)
    try:
        return VariantState(**data)
    except TypeError:
        return None
