"""Comparison of stored runs of any experiments."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taglm_core.config.base import is_digest_start
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, DamagedObject, MismatchError, MissingObject
from taglm_core.evaluation.report import Comparison, EvaluationRow, build_comparison
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.graph import build_graph, evaluation_name
from taglm_core.pipeline.naming import with_input_names
from taglm_core.pipeline.plan import flat_settings, plan
from taglm_core.pipeline.roles import LABELLED
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store

_EXPERIMENT = re.compile(r"(?P<path>.+\.ya?ml)(?::(?P<variant>.+))?")
_EXPECTED = (
    "a run is EXPERIMENT.yaml:VARIANT (all its seeds), the beginning (6 characters or more) of the digest of an "
    "evaluation or tagger as `taglm status` shows it, or the id of a tagger's MLflow run"
)


@dataclass(frozen=True)
class EvaluatedRun:
    """Evaluations that are compared as one: all seeds of a variant, or one tagger.

    Attributes:
        text: the user's name of the run.
        label: short name.
        store: store of the evaluations.
        evaluations: evaluations by seed.
    """

    text: str
    label: str
    store: Store
    evaluations: Mapping[int, Artifact]


def find_run(text: str, *, split: str, overrides: Sequence[str] = ()) -> EvaluatedRun:
    """Return the run that a user names.

    Args:
        text: the name as the user wrote it.
        split: split of the evaluation.
        overrides: settings as in ``taglm run --set``; ``run.store`` is the store of runs named without experiment.

    Raises:
        ConfigError: the text names no run, no variant, or several objects.
        MissingObject: the run has not been evaluated.
        DamagedObject: its evaluation is damaged.
    """
    experiment = _EXPERIMENT.fullmatch(text)
    if experiment is not None:
        return _variant(Path(experiment["path"]), experiment["variant"], split, overrides)
    if not is_digest_start(text):
        raise ConfigError(f"found {text!r}; {_EXPECTED}")
    return _object(Store(load_experiment(None, overrides).run.store), text, split)


def compare_runs(runs: Sequence[EvaluatedRun], *, rounds: int, seed: int | None = None) -> Comparison:
    """Compare runs with the first one, on the same sentences.

    Args:
        runs: two or more runs.
        rounds: rounds of randomisation and of the bootstrap.
        seed: seed of their generators; None for the default of experiments.

    Raises:
        ConfigError: a run is given twice.
        MismatchError: the runs were evaluated on different sentences.
    """
    rows, labels = [], labels_of(runs)
    for label, run in zip(labels, runs, strict=True):
        for number, evaluation in run.evaluations.items():
            rows.append(EvaluationRow.read(label, number, evaluation.path))
    seed = Experiment().significance.seed if seed is None else seed
    try:
        return build_comparison(rows, reference=labels[0], rounds=rounds, seed=seed)
    except MismatchError as error:
        names = {
            evaluation.path: f"{label}, seed {number}"
            for label, run in zip(labels, runs, strict=True)
            for number, evaluation in run.evaluations.items()
        }
        raise with_input_names(error, names) from error


def labels_of(runs: Sequence[EvaluatedRun]) -> list[str]:
    """Return names for tables: short ones if they differ, else the users' own.

    Raises:
        ConfigError: a run is given twice.
    """
    for labels in ([run.label for run in runs], [run.text for run in runs]):
        if len(set(labels)) == len(labels):
            return labels
    raise ConfigError(f"the runs are {', '.join(run.text for run in runs)}; give each once")


def differing_settings(runs: Sequence[EvaluatedRun]) -> dict[str, tuple[str, ...]]:
    """Return the settings that differ between runs, down to the raw files: one value per run, by setting.

    The settings of a run are those of its first evaluation. Seeds are left out. An input that some runs lack appears
    with its digest; its own settings are left out.
    """
    evaluations = [next(iter(run.evaluations.values())).manifest for run in runs]
    taggers = tuple(manifest.recipe.inputs["tagger"] for manifest in evaluations)
    return _Differences([run.store for run in runs]).of(taggers)


class _Differences:
    """Walk over the inputs of several objects in parallel that skips equal inputs and visits none twice."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = stores
        self._kinds = {digest: kind for store in stores for kind, digest in store.objects()}
        self._visited: set[tuple[str | None, ...]] = set()

    def of(self, digests: tuple[str, ...], prefix: str = "") -> dict[str, tuple[str, ...]]:
        pairs = zip(self._stores, digests, strict=True)
        recipes = [store.manifest(self._kinds[digest], digest).recipe for store, digest in pairs]
        configs = [dict(flat_settings(recipe.config)) for recipe in recipes]
        found: dict[str, tuple[str, ...]] = {}
        for name in sorted({name for config in configs for name in config} - {"seed"}):
            values = tuple(str(config.get(name, "-")) for config in configs)
            if len(set(values)) > 1:
                found[f"{prefix}{name}"] = values
        for role in sorted({role for recipe in recipes for role in recipe.inputs}):
            # Inputs of dev differ as those of train do.
            if role.startswith(("dev/embeddings", "dev/word-vectors")):
                continue
            inputs = tuple(recipe.inputs.get(role) for recipe in recipes)
            if len(set(inputs)) == 1 or inputs in self._visited:
                continue
            self._visited.add(inputs)
            found |= self._input(role, inputs, f"{prefix}{role}")
        return found

    def _input(self, role: str, digests: tuple[str | None, ...], name: str) -> dict[str, tuple[str, ...]]:
        present = tuple(digest for digest in digests if digest in self._kinds)
        if len(present) == len(digests):
            return self.of(present, f"{name} > ")
        if role.startswith("train/embeddings"):
            return {}
        return {name: tuple("-" if digest is None else digest[:12] for digest in digests)}


def _variant(path: Path, variant: str | None, split: str, overrides: Sequence[str]) -> EvaluatedRun:
    experiment = load_experiment(path, overrides)
    store = Store(experiment.run.store)
    experiment = resolve_bases(store, experiment).experiment
    names = [known.name for known in experiment.variants]
    if variant is None and len(names) == 1:
        variant = names[0]
    if variant not in names:
        problem = f"no variant {variant!r}" if variant else "no variant given"
        raise ConfigError(f"{path}: {problem}; write {' or '.join(f'{path}:{name}' for name in names)}")
    decisions = plan(store, build_graph(experiment))
    found: dict[int, Artifact] = {}
    for seed in experiment.seeds:
        ref = decisions[evaluation_name(variant, seed, split)].ref
        if ref is None:
            command = shlex.join(["taglm", "run", str(path), *(f"--set={override}" for override in overrides)])
            raise MissingObject(f"{path}:{variant} seed {seed} is not evaluated on {split}; run `{command}`")
        found[seed] = _open(store, ref)
    return EvaluatedRun(f"{path}:{variant}", f"{path.stem}:{variant}", store, found)


def _object(store: Store, start: str, split: str) -> EvaluatedRun:
    """Return the one evaluation that a digest or MLflow run names; the newest of several on the same corpus."""
    found: dict[tuple[str, str], Ref] = {}
    for pointer in store.pointers("evaluation"):  # oldest first, so that the newest version wins
        inputs = pointer.recipe.inputs
        tagger, corpus = inputs["tagger"], inputs[LABELLED.name(split=pointer.recipe.config["split"])]
        if pointer.recipe.config["split"] != split or store.damage("evaluation", pointer.digest) is not None:
            continue
        if pointer.digest.startswith(start) or tagger.startswith(start) or _mlflow_run(store, tagger) == start:
            found[tagger, corpus] = Ref("evaluation", pointer.recipe.key, pointer.digest)
    if not found:
        raise ConfigError(f"nothing evaluated on {split} begins with {start!r} in {store.root}; {_EXPECTED}")
    if len(found) > 1:
        several = ", ".join(
            f"{ref.digest[:12]} ({store.manifest('evaluation', ref.digest).label} on corpus {corpus[:12]})"
            for (_, corpus), ref in found.items()
        )
        raise ConfigError(f"{start!r} may be {several}; give the beginning of one of these digests")
    evaluation = _open(store, next(iter(found.values())))
    manifest = evaluation.manifest
    name = manifest.label.replace("/evaluation/", ":").removesuffix(f"/{split}")  # experiment:variant/seed-1
    seed = store.manifest("tagger", manifest.recipe.inputs["tagger"]).seeds["tagger"]
    return EvaluatedRun(start, f"{name}@{evaluation.ref.digest[:8]}", store, {seed: evaluation})


def _open(store: Store, ref: Ref) -> Artifact:
    """Open an object; set a damaged one aside, so that the next run builds it again."""
    try:
        return store.open(ref)
    except DamagedObject as error:
        path = store.set_aside(ref.kind, ref.digest, str(error))
        raise DamagedObject(
            f"{ref.kind} {ref.digest[:12]} is damaged and was set aside as {path}; `taglm run` of its experiment "
            "builds it again"
        ) from error


def _mlflow_run(store: Store, tagger: str) -> str | None:
    if store.damage("tagger", tagger) is not None:
        return None
    run = store.manifest("tagger", tagger).made.get("mlflow_run")
    return None if run is None else str(run)
