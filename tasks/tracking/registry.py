"""The registry: one model per data set; the alias `champion` is moved by dev F1 alone, never by test scores.

Dev F1 compares on one dev split only. Where that has changed, the champion's tagger is measured on the new one first.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import taglm_core
from taglm_core.analysis.measuring import compare_on_dev
from taglm_core.errors import MissingObject, StoreError
from taglm_core.store.durable import locked
from taglm_core.store.store import Artifact
from tasks.tracking.decisions import (
    CHAMPION,
    DECISION,
    DEV_DIGEST,
    DEV_F1,
    Match,
    decide,
    model_note,
    version_note,
)
from tasks.tracking.entry import LM_ROLE
from tasks.tracking.home import Home

# What loading and predicting imports; versions are those the tagger was registered with.
REQUIREMENTS = ("mlflow", "torch", "numpy", "pyarrow", "safetensors", "pydantic")
PENDING = "taglm.pending"  # a decision that is not on all pages yet
UNDECIDED = "not decided yet"
MODEL_CODE = Path(__file__).with_name("model_code.py")  # run when a model is loaded, never imported here


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


def model_name(group: str) -> str:
    """Name of the registered model of a data set."""
    return f"taglm-{group}"


def registry_lock(locks: Path, model: str) -> Path:
    """The file whose lock says who decides about a registered model.

    Args:
        locks: folder of the store's locks.
        model: name of the registered model.
    """
    return locks / f"registry-{model.replace('/', '-')}.lock"


def register_best(
    home: Home,
    group: str,
    taggers: Mapping[str, Artifact],
    language_models: Mapping[str, Artifact],
    *,
    report: Artifact | None = None,
) -> Registration | None:
    """Register the tagger with the best dev F1 and decide about the champion; a tagger is registered once.

    Args:
        home: of the experiment.
        group: name of the data set.
        taggers: by step name (`tagger/<variant>/seed-<n>`).
        language_models: by step name (`language-model/<name>/<direction>`); those the best tagger reads must be there.
        report: the report that compares the taggers, for the version's tags.

    Returns:
        What was decided; None without taggers.

    Raises:
        MissingObject: a language model of the best tagger is not given.
        MlflowException, OSError, SQLAlchemyError: the tracking store is away.
    """
    if not taggers:
        return None
    step, tagger = best_tagger(taggers)
    client = home.connection.client()
    with locked(registry_lock(home.locks, model_name(group))):
        version = _version_of(client, model_name(group), tagger.ref.digest)
        if version is None:
            version = _register(home, model_name(group), step, tagger, language_models, report)
        return _settle(home, version)


def save_model(folder: Path, tagger: Artifact, language_models: Mapping[str, Artifact]) -> None:
    """Write a tagger as an MLflow model that stands alone: code, weights, no pickle.

    Args:
        folder: where; must not exist.
        tagger: the tagger.
        language_models: by step name; more than it reads may be there.

    Raises:
        MissingObject: one that it reads is not there.
    """
    files = {"tagger": str(tagger.path)}
    for role in tagger.manifest.recipe.inputs:
        if role.startswith(LM_ROLE):
            if role not in language_models:
                raise MissingObject(f"{role} is read by the tagger and was not given; run the pretrain stage")
            files[role.replace("/", "-")] = str(language_models[role].path)
    with warnings.catch_warnings():
        # mlflow.pyfunc warns of type hints of its own classes when it is first used
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(MODEL_CODE),
            artifacts=files,
            code_paths=[str(Path(taglm_core.__file__).parent)],
            pip_requirements=requirements(),
            model_config={"vectors": ""},  # only what is named here may be given when the model is loaded
        )


def requirements() -> list[str]:
    """Pinned packages, without the label of a local build (`2.13.0+cpu`), which no index has."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def best_tagger(taggers: Mapping[str, Artifact]) -> tuple[str, Artifact]:
    """The step and tagger with the best dev F1; of two that share one, that which was trained on dev as well."""

    def rank(item: tuple[str, Artifact]) -> tuple[float, bool]:
        manifest = item[1].manifest
        return manifest.metrics["dev/f1"], manifest.recipe.config.get("train_on") == "train+dev"

    return max(taggers.items(), key=rank)


def _register(
    home: Home,
    name: str,
    step: str,
    tagger: Artifact,
    language_models: Mapping[str, Artifact],
    report: Artifact | None,
) -> ModelVersion:
    """Make a version, about which nothing is decided yet."""
    client, recipe = home.connection.client(), tagger.manifest.recipe
    tags = {
        "taglm.object": tagger.ref.digest,
        "taglm.variant": step.split("/")[1],
        "taglm.seed": str(recipe.config["seed"]),
        DEV_F1: repr(tagger.manifest.metrics["dev/f1"]),
        DEV_DIGEST: recipe.inputs["dev/corpus"],
        "taglm.experiment": home.experiment.name,
    }
    if report is not None:
        tags["taglm.report"] = report.ref.digest
    if not is_registered(client, name):
        client.create_registered_model(name)
    run_id = home.tagger_run(tagger.ref)
    model = _log_model(home, client, run_id, tagger, language_models, tags)
    # The files' own address: MLflow looks `models:/<id>` up in whatever store the process has as its global default.
    return client.create_model_version(
        name,
        model.artifact_location,
        run_id,
        tags={**tags, PENDING: UNDECIDED},
        model_id=model.model_id if run_id else None,
    )


def _settle(home: Home, version: ModelVersion) -> Registration:
    """Decide about a version and say so on its pages, unless that is done: also of one that a kill left in between.

    The alias moves before the version calls itself champion; until all is said, the decision waits in the tag PENDING.
    """
    client, name, number = home.connection.client(), version.name, str(version.version)
    holder = champion_of(client, name)
    on_it = _is(holder, version)
    if PENDING not in version.tags:
        return Registration(name, number, on_it, version.tags.get(DECISION, ""))
    decision = version.tags[PENDING]
    if on_it and not decision.startswith(CHAMPION):
        decision = f"{CHAMPION}: set by hand"  # while it waited
    if not on_it:
        on_it, decision = _decide(home, version, holder)
        if not _is(champion_of(client, name), holder):  # a run on another machine moved the alias meanwhile
            return _settle(home, version)
        client.set_model_version_tag(name, number, PENDING, decision)
        if on_it:
            client.set_registered_model_alias(name, CHAMPION, number)
    client.set_model_version_tag(name, number, DECISION, decision)
    write_pages(client, name, number)
    client.delete_model_version_tag(name, number, PENDING)
    return Registration(name, number, on_it, decision)


def write_pages(client: MlflowClient, name: str, number: str) -> None:
    """Write the descriptions of a version that is decided about, and of its model.

    Args:
        client: of the tracking store.
        name: of the registered model.
        number: of the version.
    """
    version, holder = client.get_model_version(name, number), champion_of(client, name)
    if DECISION in version.tags:
        run = client.get_run(version.run_id).info if version.run_id else None
        step = f"tagger/{version.tags['taglm.variant']}/seed-{version.tags['taglm.seed']}"
        client.update_model_version(name, number, version_note(step, version.tags, run))
    champion = None if holder is None else str(holder.version)
    client.update_registered_model(name, model_note(client.search_model_versions(f"name = '{name}'"), name, champion))


def _is(one: ModelVersion | None, other: ModelVersion | None) -> bool:
    numbers = [None if version is None else str(version.version) for version in (one, other)]
    return numbers[0] == numbers[1]


def _decide(home: Home, challenger: ModelVersion, champion: ModelVersion | None) -> tuple[bool, str]:
    """Whether the alias moves to a version, and why. Both are measured on its dev split, where the champion was not."""

    def match() -> Match:
        assert champion is not None
        digest = challenger.tags[DEV_DIGEST]
        if champion.tags[DEV_DIGEST] == digest:
            mine, its = (float(version.tags[DEV_F1]) for version in (challenger, champion))
            return Match(mine, its, digest, _sentences(home, digest))
        taggers = (challenger.tags["taglm.object"], champion.tags["taglm.object"])
        found = compare_on_dev(home.experiment, taggers, digest)
        return Match(*found.f1, digest, found.sentences, found.of, anew=True)

    return decide(challenger.name, challenger, champion, match)


def _sentences(home: Home, corpus: str) -> int | None:
    """How many sentences a corpus has; None where it is gone."""
    try:
        return home.store.manifest("corpus", corpus).counts["sentences"]
    except StoreError:
        return None


def _log_model(
    home: Home,
    client: MlflowClient,
    run_id: str | None,
    tagger: Artifact,
    language_models: Mapping[str, Artifact],
    tags: dict[str, str],
) -> LoggedModel:
    """Store the model's files; those of a registration that was cut off are gone on with, so that no copies pile up."""
    where = home.tag_experiment()
    known = client.search_logged_models([where], f"tags.`taglm.object` = '{tagger.ref.digest}'", max_results=1)
    if known and known[0].status == LoggedModelStatus.READY:
        return known[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        save_model(folder, tagger, language_models)
        made = known[0] if known else client.create_logged_model(where, "tagger", run_id, tags)
        client.log_model_artifacts(made.model_id, str(folder))
    if run_id is not None and made.model_id not in _outputs(client, run_id):  # MLflow refuses to add one again
        client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    client.finalize_logged_model(made.model_id, "READY")
    return made


def _outputs(client: MlflowClient, run_id: str) -> list[str]:
    """Ids of the models that a run has made."""
    outputs = client.get_run(run_id).outputs
    return [] if outputs is None else [made.model_id for made in outputs.model_outputs]


def is_registered(client: MlflowClient, name: str) -> bool:
    """Whether there is such a model."""
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def champion_of(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that the alias is on; None without one, and without such a model."""
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, or no such alias
            return None
        raise


def _version_of(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """The version that an object was registered as."""
    versions = client.search_model_versions(f"name = '{name}'")
    return next((version for version in versions if version.tags.get("taglm.object") == digest), None)
