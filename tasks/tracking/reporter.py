"""Reports finished objects: to a run of their own, to the run of their tagger, or to the runs of their variants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from taglm_core.pipeline.kinds import Reporting
from taglm_core.store.durable import locked
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store
from tasks.tracking.client import Client
from tasks.tracking.descriptions import NOTE, run_link
from tasks.tracking.pages import compared_variants, variant_page
from tasks.tracking.projection import OBJECT_TAG, project_evaluation
from tasks.tracking.receipts import MADE, Ledger, Receipt, SyncState
from tasks.tracking.spec import FAILED, FINISHED, KILLED, PARENT, RUNNING, RunSpec, Variant
from tasks.tracking.variants import VariantRuns
from tasks.tracking.views import experiment_tags

_EVALUATION_TAG = "taglm.evaluation."


class Reporter:
    """What reports the objects of one store to one tracking store."""

    def __init__(self, client: Client, store: Store) -> None:
        self.client, self.store = client, store
        self.ledger = Ledger(store, client.address)
        self.variants = VariantRuns(client, self.ledger)

    def experiment_of(self, spec: RunSpec) -> str:
        """Return the id of the MLflow experiment of a step's run."""
        return self.client.experiment(spec.mlflow_experiment, experiment_tags(spec.step.stage))

    def cut_off_run(self, spec: RunSpec) -> str | None:
        """Return the run that a kill left before its id was noted.

        An evaluation has one run for an experiment, however often it is made.
        """
        identity = {"taglm.kind": spec.step.kind, "taglm.key": spec.key, "taglm.store": str(self.store.root)}
        own = spec.reporting is Reporting.OWN_RUN
        if not own:
            identity["taglm.experiment"] = spec.experiment
        runs = self.client.find_runs(spec.mlflow_experiment, identity, 1)
        return next((run.info.run_id for run in runs if run.info.status == RUNNING or not own), None)

    def close(self, state: SyncState, digest: str, run_id: str | None = None) -> None:
        """Write the receipt of an object, and remove it from what waits."""
        spec = state.spec
        where = self.experiment_of(spec) if run_id is not None else ""
        self.ledger.record(Receipt(spec.experiment, spec.step.kind, spec.key, digest, run_id, where))
        self.ledger.drop(*state.key)

    def is_reported(self, state: SyncState, artifact: Artifact) -> bool:
        """Return whether a receipt says so: the process was killed when it had written that."""
        receipt = self.ledger.receipt(*state.key, state.spec.experiment)
        return receipt is not None and receipt.digest == artifact.ref.digest

    def report_added(self, state: SyncState, artifact: Artifact) -> None:
        """Report an object that has no run of its own; the process holds its claim.

        An evaluation waits for the run of its tagger, and for other evaluations of the same tagger that are under way:
        the last one of them reports all.
        """
        if self.is_reported(state, artifact):
            self.ledger.drop(*state.key)
        elif state.spec.reporting is Reporting.WITH_VARIANTS:
            self.report_variants(state.spec, artifact)
            self.close(state, artifact.ref.digest)
        else:
            self._report_evaluations(state, artifact)

    def report_waiting(self, state: SyncState) -> None:
        """Report an object that was made earlier and has no run of its own, unless another process does."""
        claim, artifact = self.ledger.claim(*state.key), self.ledger.artifact(*state.key)
        if not claim.take():
            return
        try:
            if artifact is None:
                self.ledger.drop(*state.key)
            else:
                self.report_added(state, artifact)
        finally:
            claim.release()

    def report_others(self, state: SyncState) -> None:
        """Report the evaluations that have waited for this one, which will not be made."""
        if state.spec.step.kind == "evaluation":
            for other in self.others(state):
                if other.status == MADE:
                    self.report_waiting(other)

    def report_variants(self, spec: RunSpec, report: Artifact) -> None:
        """Send a report to the runs of its variants, which belong to it from then on."""
        for variant, seeds in compared_variants(self.store, spec):
            found = {seed: self.run_of(spec.mlflow_experiment, "tagger", *each) for seed, each in seeds.items()}
            runs = {seed: run for seed, run in found.items() if run is not None}
            page = partial(variant_page, self.store, spec, report, variant, runs)
            self.variants.report(spec.mlflow_experiment, variant, report.ref.digest, page)

    def run_of(self, mlflow_experiment: str, kind: str, key: str, digest: str) -> Receipt | None:
        """Return the run that made an object, whatever experiment it was for; None if none did.

        Without a receipt MLflow is asked: an older version, or another store, may have reported it. Of several runs
        the newest counts that says it made the object, else the newest one of the same work.
        """
        for known in self.ledger.receipts(kind, key):
            if known.digest == digest and known.run_id is not None:
                return known
        runs = self.client.find_runs(mlflow_experiment, {"taglm.kind": kind, "taglm.key": key})
        run = next((each for each in runs if each.data.tags.get(OBJECT_TAG) == digest), next(iter(runs), None))
        if run is None:
            return None
        tags = run.data.tags
        added = {name.removeprefix(_EVALUATION_TAG): tags[name] for name in tags if name.startswith(_EVALUATION_TAG)}
        found = Receipt(tags.get("taglm.experiment", ""), kind, key, tags.get(OBJECT_TAG, ""), run.info.run_id,
                        run.info.experiment_id, added)  # fmt: skip
        if found.digest == digest:
            self.ledger.record(found)
        return found

    def _report_evaluations(self, state: SyncState, artifact: Artifact) -> None:
        """Report the evaluations of one tagger that are made, in one batch."""
        tagger = state.spec.inputs["tagger"]
        with locked(self.ledger.lock("evaluations-of", tagger.key)):
            self.ledger.save(replace(state, status=MADE))
            if self._tagger_waits(tagger):
                return
            run = self.run_of(state.spec.mlflow_experiment, tagger.kind, tagger.key, tagger.digest)
            if run is None or not _is_of(run, state, artifact):
                self._report_alone(state, artifact, run)
                return
            others = list(self.others(state))
            if any(other.status != MADE for other in others):
                return
            found = [(each, made) for each in others if (made := self.ledger.artifact(*each.key)) is not None]
            found = [(state, artifact), *((each, made) for each, made in found if _is_of(run, each, made))]
            self._send_evaluations(run, found)

    def _send_evaluations(self, run: Receipt, found: Sequence[tuple[SyncState, Artifact]]) -> None:
        added = {**run.evaluations, **{_split(state): artifact.ref.digest for state, artifact in found}}
        content = None
        for state, artifact in found:
            page = project_evaluation(self.store, state.spec, artifact, sorted(added))
            content = page if content is None else content | page
        assert content is not None
        with self.client.or_forget(str(run.run_id), partial(self.ledger.forget, run)):  # then each has a run of its own
            self.client.send(str(run.run_id), content)
        self.ledger.record(replace(run, evaluations=added))
        for state, artifact in found:
            self.close(state, artifact.ref.digest, run.run_id)

    def _report_alone(self, state: SyncState, artifact: Artifact, tagger: Receipt | None) -> None:
        """Give an evaluation a run of its own, below the variant of its experiment."""
        spec, variant = state.spec, Variant.of_spec(state.spec, self.store)
        assert variant is not None
        run_id = state.run_id
        if run_id is None:
            note = f"`{spec.step.name}` of {spec.experiment}; its tagger was not trained for this experiment's run"
            if tagger is not None:
                link = run_link("", tagger.mlflow_experiment, str(tagger.run_id))
                note += f": [the tagger's run]({link})"
            parent = self.variants.waiting(spec.mlflow_experiment, variant)
            tags = {**spec.tags(self.store), PARENT: parent, NOTE: note}
            run_id = self.cut_off_run(spec) or self.client.create_run(self.experiment_of(spec), spec.step.name, tags)
            self.ledger.save(replace(state, run_id=run_id))
        split = _split(state)
        self.client.send(run_id, project_evaluation(self.store, spec, artifact, [split], alone=True))
        self.client.mlflow().set_terminated(run_id, FINISHED)
        self.variants.seed_is(variant, spec.key, FINISHED)
        self.close(state, artifact.ref.digest, run_id)

    def others(self, state: SyncState) -> Iterator[SyncState]:
        """Yield the states of other evaluations of the same tagger, for the same experiment, that somebody makes."""
        for other in self.ledger.everything():
            same = other.spec.step.kind == "evaluation" and other.spec.experiment == state.spec.experiment
            same = same and other.key != state.key and other.spec.inputs["tagger"] == state.spec.inputs["tagger"]
            if same and (other.status == MADE or self.ledger.is_busy(*other.key)):
                yield other

    def _tagger_waits(self, tagger: Ref) -> bool:
        """Return whether the tagger will have a run: it was trained while MLflow was away."""
        waiting = self.ledger.state(tagger.kind, tagger.key)
        return (
            waiting is not None
            and waiting.status not in (KILLED, FAILED)
            and self.ledger.artifact(*waiting.key) is not None
        )


def _is_of(run: Receipt, state: SyncState, artifact: Artifact) -> bool:
    """Return whether an evaluation belongs to a tagger's run: of the same experiment, without other scores on it."""
    known = run.evaluations.get(_split(state), artifact.ref.digest)
    return (run.experiment, known) == (state.spec.experiment, artifact.ref.digest)


def _split(state: SyncState) -> str:
    return str(state.spec.step.config["split"])
