"""Comparing runs that are in the store, whatever experiment they come from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, MissingObject
from taglm_core.evaluation.report import Comparison, EvaluationRow, build_comparison
from taglm_core.stages.graph import build_graph, evaluation_name
from taglm_core.stages.planning import plan
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
        label: for tables.
        evaluations: by seed.
    """

    label: str
    evaluations: Mapping[int, Artifact]


def find_run(store: Store, text: str, *, split: str, overrides: Sequence[str] = ()) -> EvaluatedRun:
    """Find what a user calls a run.

    Args:
        store: where it is.
        text: as the user wrote it.
        split: the split it was evaluated on.
        overrides: settings of the experiment, as in ``taglm run --set``.

    Raises:
        ConfigError: no run, no variant of that name, or several objects that begin like this.
        MissingObject: the run has not been evaluated.
    """
    experiment = _EXPERIMENT.fullmatch(text)
    if experiment is not None:
        return _variant(store, Path(experiment["path"]), experiment["variant"], split, overrides)
    if not _DIGEST.fullmatch(text):
        raise ConfigError(f"found {text!r}; {_WAYS}")
    return _object(store, text, split)


def compare_runs(runs: Sequence[EvaluatedRun], *, rounds: int, seed: int = 0) -> Comparison:
    """Compare runs on the same sentences with the first one.

    Raises:
        ConfigError: a run is given twice.
        MismatchError: they were evaluated on different sentences.
    """
    labels = [run.label for run in runs]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"the runs are {', '.join(labels)}; give each once")
    rows = []
    for run in runs:
        for number, evaluation in run.evaluations.items():
            data = json.loads((evaluation.path / "scores.json").read_text(encoding="utf-8"))
            path = evaluation.path / "predictions.parquet"
            rows.append(EvaluationRow(run.label, number, data["parameters"], data["scores"], data["dev_f1"], path))
    return build_comparison(rows, reference=labels[0], rounds=rounds, seed=seed)


def differing_settings(store: Store, runs: Sequence[EvaluatedRun]) -> dict[str, tuple[str, ...]]:
    """What the runs were made from, down to the raw files, where they differ: values by setting, one per run.

    Seeds are left out; settings of a run are those of its first evaluation. An input that not all of them have is named
    with its digest and not looked into.
    """
    evaluations = [next(iter(run.evaluations.values())).manifest for run in runs]
    taggers = tuple(manifest.recipe.inputs["tagger"] for manifest in evaluations)
    return _Differences(store).of(taggers)


class _Differences:
    """Walks the inputs of several objects side by side; equal ones are passed over, and none is told twice."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kinds = {digest: kind for kind, digest in store.objects()}
        self._told: set[tuple[str | None, ...]] = set()

    def of(self, digests: tuple[str, ...], prefix: str = "") -> dict[str, tuple[str, ...]]:
        recipes = [self._store.manifest(self._kinds[digest], digest).recipe for digest in digests]
        configs = [dict(_flat(recipe.config)) for recipe in recipes]
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


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _variant(store: Store, path: Path, variant: str | None, split: str, overrides: Sequence[str]) -> EvaluatedRun:
    experiment = load_experiment(path, overrides)
    names = [known.name for known in experiment.variants]
    if variant is None and len(names) == 1:
        variant = names[0]
    if variant not in names:
        asked = f"no variant {variant!r}" if variant else "no variant named"
        raise ConfigError(f"{path}: {asked}; write {' or '.join(f'{path}:{name}' for name in names)}")
    decisions = plan(store, build_graph(experiment))
    found: dict[int, Ref] = {}
    for seed in experiment.seeds:
        ref = decisions[evaluation_name(variant, seed, split)].ref
        if ref is None:
            raise MissingObject(f"{path}:{variant} seed {seed} is not evaluated on {split}; run `taglm run {path}`")
        found[seed] = ref
    return EvaluatedRun(f"{experiment.name}:{variant}", {seed: store.open(ref) for seed, ref in found.items()})


def _object(store: Store, start: str, split: str) -> EvaluatedRun:
    found: dict[str, Ref] = {}
    for pointer in store.pointers("evaluation"):
        tagger = pointer.recipe.inputs["tagger"]
        if pointer.recipe.config["split"] != split or store.damage("evaluation", pointer.digest) is not None:
            continue
        if pointer.digest.startswith(start) or tagger.startswith(start) or _mlflow_run(store, tagger) == start:
            found[pointer.digest] = Ref("evaluation", pointer.recipe.key, pointer.digest)
    if not found:
        raise ConfigError(f"nothing evaluated on {split} begins with {start!r} in {store.root}; {_WAYS}")
    if len(found) > 1:
        raise ConfigError(f"{', '.join(digest[:12] for digest in found)} begin with {start!r}; write more of it")
    evaluation = store.open(next(iter(found.values())))
    manifest = evaluation.manifest
    name = manifest.label.replace("/evaluation/", ":").removesuffix(f"/{split}")  # experiment:variant/seed-1
    seed = store.manifest("tagger", manifest.recipe.inputs["tagger"]).seeds["tagger"]
    return EvaluatedRun(f"{name}@{evaluation.ref.digest[:8]}", {seed: evaluation})


def _mlflow_run(store: Store, tagger: str) -> str | None:
    if store.damage("tagger", tagger) is not None:
        return None
    run = store.manifest("tagger", tagger).made.get("mlflow_run")
    return None if run is None else str(run)
