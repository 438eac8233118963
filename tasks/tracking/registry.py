"""The registry: one model per data set; the alias `champion` is moved by dev F1 alone, never by test scores.

Dev F1 compares on one dev split only. Where that has changed, the champion's tagger is measured on the new one first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from taglm_core.analysis.measuring import compare_on_dev
from taglm_core.config.experiment import Experiment
from taglm_core.errors import MismatchError, StoreError
from taglm_core.pipeline.context import context_for
from taglm_core.pipeline.kinds import Stage
from taglm_core.pipeline.roles import DEV_CORPUS
from taglm_core.store.durable import locked, read_json, write_json
from taglm_core.store.store import Artifact, Store
from tasks.tracking.champion import (
    CARD,
    CHAMPION,
    DECISION,
    DEV_DIGEST,
    DEV_F1,
    Match,
    decide,
    model_note,
    version_note,
)
from tasks.tracking.client import Client
from tasks.tracking.descriptions import experiment_name
from tasks.tracking.receipts import Receipt, tracking_folder
from tasks.tracking.registered_files import MODEL_CARD, save_model
from tasks.tracking.reporter import Reporter
from tasks.tracking.views import experiment_tags

OLD_PENDING = "taglm.pending"  # older versions kept a decision there until it stood on all pages


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of the best tagger.

    Attributes:
        name: of the registered model.
        version: its version.
        champion: whether the alias is on it now.
        decision: in words.
    """

    name: str
    version: str
    champion: bool
    decision: str


NOT_REGISTERED = Registration("", "", champion=False, decision="registry.register_best is false")


def model_name(group: str) -> str:
    """Return the name of the registered model of a data set."""
    return f"taglm-{group}"


def registry_lock(store: Store, model: str) -> Path:
    """Return the file whose lock says who decides about a registered model."""
    return tracking_folder(store) / "locks" / f"registry-{model.replace('/', '-')}.lock"


def register_best(
    reporter: Reporter,
    experiment: Experiment,
    taggers: Mapping[str, Artifact],
    *,
    report: Artifact | None = None,
    ended: float | None = None,
    again: bool = True,
) -> Registration:
    """Register the tagger with the best dev F1 and decide about the champion; a tagger is registered once.

    Args:
        reporter: what reports to the tracking store.
        experiment: that the taggers are of.
        taggers: taggers by step name, at least one.
        report: the report that compares the taggers, for the version's tags.
        ended: when their pipeline ended, in seconds since 1970: a champion of another dev split that was registered
            after that stays.
        again: whether an earlier attempt may have left files.

    Raises:
        MissingObject: a language model of the best tagger is not given.
        MlflowException, OSError, SQLAlchemyError: the tracking store is away.
    """
    step, tagger = best_tagger(taggers)
    return _Registry(reporter, experiment, ended, again=again).register(step, tagger, report)


def best_tagger(taggers: Mapping[str, Artifact]) -> tuple[str, Artifact]:
    """Return step and tagger with the best dev F1; of two that share one, that which was trained on dev as well."""

    def rank(item: tuple[str, Artifact]) -> tuple[float, bool]:
        manifest = item[1].manifest
        return manifest.metrics["dev/f1"], manifest.recipe.config.get("train_on") == "train+dev"

    return max(taggers.items(), key=rank)


class _Registry:
    """One registered model, as an experiment registers in it."""

    def __init__(self, reporter: Reporter, experiment: Experiment, ended: float | None, *, again: bool) -> None:
        self._reporter, self._experiment, self._ended, self._again = reporter, experiment, ended, again
        self._name = model_name(experiment.data_set)
        self._client: Client = reporter.client
        self._group = experiment_name(Stage.TAG, experiment.data_set)
        self._measured = False  # which takes a while

    def register(self, step: str, tagger: Artifact, report: Artifact | None) -> Registration:
        """Make a version, unless there is one, and decide about it."""
        client, name = self._client.mlflow(), self._name
        with locked(registry_lock(self._reporter.store, name)):
            versions = list(client.search_model_versions(f"name = '{name}'"))
            known = (each for each in versions if each.tags.get("taglm.object") == tagger.ref.digest)
            version = next(known, None)
            if version is None:
                if not versions:
                    _create_model(client, name)
                version = self._make_version(step, tagger, report)
                versions.append(version)
            return self._settle(version, versions)

    def _make_version(self, step: str, tagger: Artifact, report: Artifact | None) -> ModelVersion:
        """Make a version, about which nothing is decided yet."""
        recipe, ref = tagger.manifest.recipe, tagger.ref
        with context_for(self._experiment) as context:
            variant = context.graph[step].variant
        tags = {
            "taglm.object": ref.digest,
            "taglm.variant": variant,
            "taglm.seed": str(recipe.config["seed"]),
            DEV_F1: repr(tagger.manifest.metrics["dev/f1"]),
            DEV_DIGEST: recipe.inputs[DEV_CORPUS],
            "taglm.experiment": self._experiment.name,
            CARD: MODEL_CARD,
        }
        if report is not None:
            tags["taglm.report"] = report.ref.digest
        run = self._reporter.run_of(self._group, ref.kind, ref.key, ref.digest)
        model = self._log_model(run, tagger, tags)
        # The files' own address: MLflow looks `models:/<id>` up in whatever store the process has as global default.
        return self._client.mlflow().create_model_version(
            self._name, model.artifact_location, None if run is None else run.run_id, tags=tags, await_creation_for=0,
            model_id=model.model_id if run else None,
        )  # fmt: skip

    def _log_model(self, run: Receipt | None, tagger: Artifact, tags: dict[str, str]) -> LoggedModel:
        """Store the model's files; a registration that was cut off is gone on with, so that no copies pile up."""
        client, where = self._client.mlflow(), self._client.experiment(self._group, experiment_tags(Stage.TAG))
        text = f"tags.`taglm.object` = '{tagger.ref.digest}'"
        known = client.search_logged_models([where], text, max_results=1) if self._again else []
        if known and known[0].status == LoggedModelStatus.READY:
            return known[0]
        run_id = None if run is None else run.run_id
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            save_model(folder, tagger, self._experiment, tags)
            made = known[0] if known else client.create_logged_model(where, "tagger", run_id, tags)
            self._client.put_folder(made.artifact_location, folder)
        # MLflow refuses to add an output again.
        if run_id is not None and not (known and made.model_id in _outputs(client, run_id)):
            client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
        client.finalize_logged_model(made.model_id, "READY")
        return made

    def _settle(self, version: ModelVersion, versions: Sequence[ModelVersion]) -> Registration:
        """Decide about a version and say so on its pages, unless that is done: also where a kill came in between.

        The decision is kept in the store before the alias moves, and the alias moves before the version calls itself
        champion.
        """
        client, name, number = self._client.mlflow(), self._name, str(version.version)
        lock = self._reporter.ledger.lock(name.replace("/", "-"), number)
        draft = tracking_folder(self._reporter.store) / "decisions" / lock.with_suffix(".draft").name
        decision = (read_json(draft) or {}).get("decision") or version.tags.get(OLD_PENDING)
        holder = champion_of(client, name)
        on_it = _is(holder, version)
        if decision is None and DECISION in version.tags:
            return Registration(name, number, on_it, version.tags[DECISION])
        if on_it and not (decision or "").startswith(CHAMPION):
            decision = f"{CHAMPION}: set by hand"  # while it waited
        if not on_it:
            on_it, decision = self._decide(version, holder)
            if self._measured and not _is(champion_of(client, name), holder):  # another machine moved the alias
                self._measured = False
                return self._settle(version, versions)
            write_json(draft, {"decision": decision})
            if on_it:
                make_champion(client, name, number)
                holder = version
        client.set_model_version_tag(name, number, DECISION, str(decision))
        decided = _tagged(version, str(decision))
        where = self._client.experiment(self._group, experiment_tags(Stage.TAG)) if version.run_id else ""
        write_pages(client, decided, [decided if _is(each, version) else each for each in versions], holder, where)
        if OLD_PENDING in version.tags:
            client.delete_model_version_tag(name, number, OLD_PENDING)
        draft.unlink(missing_ok=True)
        return Registration(name, number, on_it, str(decision))

    def _decide(self, challenger: ModelVersion, champion: ModelVersion | None) -> tuple[bool, str]:
        """Return whether the alias moves to a version, and why.

        Both are measured on its dev split, where the champion was not.
        """

        def match() -> Match:
            assert champion is not None
            digest = challenger.tags[DEV_DIGEST]
            if champion.tags[DEV_DIGEST] == digest:
                mine, its = (float(version.tags[DEV_F1]) for version in (challenger, champion))
                return Match(mine, its, digest, _sentences(self._reporter.store, digest))
            if self._ended is not None and champion.creation_timestamp > 1000 * self._ended:
                raise MismatchError("it was chosen after this tagger's pipeline had ended")
            taggers = (challenger.tags["taglm.object"], champion.tags["taglm.object"])
            self._measured, found = True, compare_on_dev(self._experiment, taggers, digest)
            return Match(*found.f1, digest, found.sentences, found.of, anew=True)

        return decide(challenger.name, challenger, champion, match)


def write_pages(
    client: MlflowClient,
    version: ModelVersion,
    versions: Sequence[ModelVersion],
    champion: ModelVersion | None,
    mlflow_experiment: str,
) -> None:
    """Write the descriptions of a version and of its model; a version without a decision keeps its own.

    Args:
        client: of the tracking store.
        version: the version.
        versions: all of the model.
        champion: the version that has the alias.
        mlflow_experiment: id of the MLflow experiment of the version's run.
    """
    if DECISION in version.tags:
        note = version_note(version.tags, version.run_id, mlflow_experiment)
        client.update_model_version(version.name, str(version.version), note)
    number = None if champion is None else str(champion.version)
    client.update_registered_model(version.name, model_note(versions, version.name, number))


def make_champion(client: MlflowClient, name: str, version: str) -> None:
    """Move the alias `champion` of a registered model to a version."""
    client.set_registered_model_alias(name, CHAMPION, version)


def champion_of(client: MlflowClient, name: str) -> ModelVersion | None:
    """Return the version that the alias is on; None without one, and without such a model."""
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, or no such alias
            return None
        raise


def is_registered(client: MlflowClient, name: str) -> bool:
    """Return whether there is such a model."""
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def _create_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _tagged(version: ModelVersion, decision: str) -> ModelVersion:
    """Return a version as MLflow has it once its decision is set."""
    tags = [ModelVersionTag(*each) for each in {**version.tags, DECISION: decision}.items()]
    return ModelVersion(version.name, version.version, version.creation_timestamp, run_id=version.run_id, tags=tags)


def _is(one: ModelVersion | None, other: ModelVersion | None) -> bool:
    numbers = [None if version is None else str(version.version) for version in (one, other)]
    return numbers[0] == numbers[1]


def _sentences(store: Store, corpus: str) -> int | None:
    """Return how many sentences a corpus has; None where it is gone."""
    try:
        return store.manifest("corpus", corpus).counts["sentences"]
    except StoreError:
        return None


def _outputs(client: MlflowClient, run_id: str) -> list[str]:
    """Return the ids of the models that a run has made."""
    outputs = client.get_run(run_id).outputs
    return [] if outputs is None else [made.model_id for made in outputs.model_outputs]
