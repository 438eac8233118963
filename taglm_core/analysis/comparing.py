"""Comparing runs that are in the store, whatever experiment they come from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, DamagedObject, MismatchError, MissingObject
from taglm_core.evaluation.report import Comparison, EvaluationRow, build_comparison
from taglm_core.pipeline.bases import resolve_bases
from taglm_core.pipeline.graph import build_graph, evaluation_name
from taglm_core.pipeline.naming import in_other_words
from taglm_core.pipeline.plan import flat_settings, plan
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store

_EXPERIMENT = re.compile(r"(?P<path>.+\.ya?ml)(?::(?P<variant>.+))?")
_DIGEST = re.compile(r"[0-9a-f]{6,32}")
_WAYS = (
    "a run is EXPERIMENT.yaml:VARIANT (all its seeds), the beginning (6 characters or more) of the object of an "
    "evaluation or a tagger as `taglm status` shows it, or the id of a tagger's MLflow run"
)


@dataclass(frozen=True)
class EvaluatedRun:
    """Evaluations that are compared as one: a variant's seeds, or one tagger.

    Attributes:
        text: what the user called it.
        label: a short name.
        store: where they are.
        evaluations: by seed.
    """

    text: str
    label: str
    store: Store
    evaluations: Mapping[int, Artifact]


def find_run(text: str, *, split: str, overrides: Sequence[str] = ()) -> EvaluatedRun:
    """Find what a user calls a run.

    Args:
        text: as the user wrote it.
        split: the split it was evaluated on.
        overrides: settings, as in ``taglm run --set``; ``run.store`` says where runs without an experiment are.

    Raises:
        ConfigError: no run, no variant of that name, or several objects that begin like this.
        MissingObject: the run has not been evaluated.
        DamagedObject: its evaluation is not what it was.
    """
    experiment = _EXPERIMENT.fullmatch(text)
    if experiment is not None:
        return _variant(Path(experiment["path"]), experiment["variant"], split, overrides)
    if not _DIGEST.fullmatch(text):
        raise ConfigError(f"found {text!r}; {_WAYS}")
    return _object(Store(load_experiment(None, overrides).run.store), text, split)


def compare_runs(runs: Sequence[EvaluatedRun], *, rounds: int, seed: int | None = None) -> Comparison:
    """Compare runs on the same sentences with the first one.

    Args:
        runs: two or more.
        rounds: of randomisation and bootstrap.
        seed: of their generators; None for the one that experiments take by default.

    Raises:
        ConfigError: a run is given twice.
        MismatchError: they were evaluated on different sentences.
    """
    rows, labels = [], labels_of(runs)
    for label, run in zip(labels, runs, strict=True):
        for number, evaluation in run.evaluations.items():
            rows.append(EvaluationRow.read(label, number, evaluation.path))
    chance = Experiment().significance.seed if seed is None else seed
    try:
        return build_comparison(rows, reference=labels[0], rounds=rounds, seed=chance)
    except MismatchError as error:
        names = {
            evaluation.path: f"{label}, seed {number}"
            for label, run in zip(labels, runs, strict=True)
            for number, evaluation in run.evaluations.items()
        }
        raise in_other_words(error, names) from error


def labels_of(runs: Sequence[EvaluatedRun]) -> list[str]:
    """Names for tables: short ones where they tell the runs apart.

    Raises:
        ConfigError: a run is given twice.
    """
    for labels in ([run.label for run in runs], [run.text for run in runs]):
        if len(set(labels)) == len(labels):
            return labels
    raise ConfigError(f"the runs are {', '.join(run.text for run in runs)}; give each once")


def differing_settings(runs: Sequence[EvaluatedRun]) -> dict[str, tuple[str, ...]]:
    """What the runs were made from, down to the raw files, where they differ: values by setting, one per run.

    Seeds are left out; settings of a run are those of its first evaluation. An input that not all of them have is named
    with its digest and not looked into.
    """
    evaluations = [next(iter(run.evaluations.values())).manifest for run in runs]
    taggers = tuple(manifest.recipe.inputs["tagger"] for manifest in evaluations)
    return _Differences([run.store for run in runs]).of(taggers)


class _Differences:
    """Walks the inputs of several objects side by side; equal ones are passed over, and none is told twice."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = stores
        self._kinds = {digest: kind for store in stores for kind, digest in store.objects()}
        self._told: set[tuple[str | None, ...]] = set()

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
            # What is read of dev is as what is read of train, and the language models stand beside their embeddings.
            if role.startswith(("dev/embeddings", "dev/word-vectors")):
                continue
            its = tuple(recipe.inputs.get(role) for recipe in recipes)
            if len(set(its)) == 1 or its in self._told:
                continue
            self._told.add(its)
            found |= self._input(role, its, f"{prefix}{role}")
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
        asked = f"no variant {variant!r}" if variant else "no variant named"
        raise ConfigError(f"{path}: {asked}; write {' or '.join(f'{path}:{name}' for name in names)}")
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
    """The newest evaluation on each corpus of the tagger that is meant; there must be one such."""
    found: dict[tuple[str, str], Ref] = {}
    for pointer in store.pointers("evaluation"):  # oldest first: of several versions the newest stays
        inputs = pointer.recipe.inputs
        tagger, corpus = inputs["tagger"], inputs[f"{pointer.recipe.config['split']}/corpus"]
        if pointer.recipe.config["split"] != split or store.damage("evaluation", pointer.digest) is not None:
            continue
        if pointer.digest.startswith(start) or tagger.startswith(start) or _mlflow_run(store, tagger) == start:
            found[tagger, corpus] = Ref("evaluation", pointer.recipe.key, pointer.digest)
    if not found:
        raise ConfigError(f"nothing evaluated on {split} begins with {start!r} in {store.root}; {_WAYS}")
    if len(found) > 1:
        several = ", ".join(
            f"{ref.digest[:12]} ({store.manifest('evaluation', ref.digest).label} on corpus {corpus[:12]})"
            for (_, corpus), ref in found.items()
        )
        raise ConfigError(f"{start!r} may be {several}; write the beginning of one of these")
    evaluation = _open(store, next(iter(found.values())))
    manifest = evaluation.manifest
    name = manifest.label.replace("/evaluation/", ":").removesuffix(f"/{split}")  # experiment:variant/seed-1
    seed = store.manifest("tagger", manifest.recipe.inputs["tagger"]).seeds["tagger"]
    return EvaluatedRun(start, f"{name}@{evaluation.ref.digest[:8]}", store, {seed: evaluation})


def _open(store: Store, ref: Ref) -> Artifact:
    """An object; a damaged one is set aside, so that the next run makes it anew."""
    try:
        return store.open(ref)
    except DamagedObject as error:
        place = store.set_aside(ref.kind, ref.digest, str(error))
        raise DamagedObject(
            f"{ref.kind} {ref.digest[:12]} is damaged and was set aside as {place}; `taglm run` of its experiment "
            "makes it anew"
        ) from error


def _mlflow_run(store: Store, tagger: str) -> str | None:
    if store.damage("tagger", tagger) is not None:
        return None
    run = store.manifest("tagger", tagger).made.get("mlflow_run")
    return None if run is None else str(run)
