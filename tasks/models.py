"""Taggers by the names that users give them: folder, registered model, experiment and variant, digest, MLflow run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taglm import Tagger
from taglm_core.analysis.exporting import export_tagger
from taglm_core.analysis.stored import stored
from taglm_core.config.experiment import Experiment
from taglm_core.config.load import load_experiment
from taglm_core.errors import ConfigError, MissingObject
from taglm_core.lineage import find_object
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import tagger_name
from taglm_core.pipeline.steps import Graph
from taglm_core.store.store import Artifact, Store
from taglm_core.tagging.exported import INDEX, VectorsIncluded
from tasks.tracking.address import is_there, resolve_uri

REGISTERED = "models:/"
EXPECTED = (
    "expected a folder that `taglm export` wrote, models:/NAME@champion, EXPERIMENT.yaml:VARIANT, the beginning of a "
    "tagger's digest, or the MLflow run id of a tagger"
)
_EXPERIMENT = re.compile(r"(?P<path>.+\.ya?ml)(?::(?P<variant>.+))?")
_RUN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class StoredTagger:
    """A tagger in a store.

    Attributes:
        tagger: the tagger.
        experiment: experiment that gives the store, the tokenizer and the vectors to export.
    """

    tagger: Artifact
    experiment: Experiment

    @property
    def context(self) -> PipelineContext:
        """Return the context of its store, without steps."""
        return PipelineContext(self.experiment, Graph([]))


def find_stored(name: str, experiment: Experiment, overrides: Sequence[str] = ()) -> StoredTagger:
    """Return the stored tagger that a user names.

    Args:
        name: the name.
        experiment: experiment that gives the store, unless the name is that of an experiment.
        overrides: settings as in `taglm run --set`.

    Raises:
        ConfigError: the text names no tagger.
        MissingObject: the tagger is not in the store.
        TrackingAway: it is a registered model, and MLflow does not answer.
    """
    found = _EXPERIMENT.fullmatch(name)
    if found is not None:
        return _best_of_variant(Path(found["path"]), found["variant"], overrides)
    store = Store(experiment.run.store)
    digest = name
    if name.startswith(REGISTERED):
        uri = resolve_uri(experiment.run.tracking_uri)
        if not is_there(uri):
            raise ConfigError(f"{name}: {uri} does not exist yet and has no registered model; run an experiment first")
        from tasks.tracking.aliases import registered_object

        digest = registered_object(uri, name.removeprefix(REGISTERED))
    elif _RUN.fullmatch(name):
        digest = _made_in(store, name) or name
    try:
        kind, digest = find_object(store, digest if "/" in digest else f"tagger/{digest}")
    except ConfigError as error:
        raise ConfigError(f"found {name!r}; {EXPECTED}") from error
    except MissingObject as error:
        raise MissingObject(f"found no tagger {name!r} in {store.root}; {EXPECTED}") from error
    if kind != "tagger":
        raise ConfigError(f"{name} is a {kind}; {EXPECTED}")
    return StoredTagger(stored(store, "tagger", digest), experiment)


def experiment_of(name: str, experiment: Experiment, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment in the name of a tagger; the given experiment if the name has none."""
    found = _EXPERIMENT.fullmatch(name)
    return experiment if found is None else load_experiment(Path(found["path"]), overrides)


def open_tagger(
    name: str, experiment: Experiment, overrides: Sequence[str] = (), *, vectors: str | None = None
) -> Tagger:
    """Open the tagger that a user names, ready to tag text.

    Args:
        name: the name; a stored tagger is exported to a temporary folder first.
        experiment: experiment that gives store and tracking store.
        overrides: settings as in `taglm run --set`.
        vectors: file of word vectors, for exports that include none.

    Raises:
        ConfigError: the text names no tagger.
        MissingObject: the tagger is not in the store.
        DamagedObject: a file is damaged.
        TrackingAway: it is a registered model, and MLflow does not answer.
    """
    if name.startswith(REGISTERED):
        return Tagger.load(name, vectors=vectors, tracking_uri=resolve_uri(experiment.run.tracking_uri))
    if Path(name).is_dir() or (Path(name) / INDEX).is_file():
        return Tagger.load(name, vectors=vectors)
    return load_stored(find_stored(name, experiment, overrides), vectors=vectors)


def load_stored(found: StoredTagger, *, vectors: str | None = None) -> Tagger:
    """Load a stored tagger through a temporary export.

    Args:
        found: the tagger.
        vectors: as in `open_tagger`.
    """
    settings = found.experiment
    with tempfile.TemporaryDirectory() as temporary:
        folder, included = Path(temporary) / "export", VectorsIncluded(settings.registry.vectors)
        export_tagger(found.context, found.tagger, folder, text=settings.text, vectors=included, card=False)
        return Tagger.load(folder, vectors=vectors)


def _best_of_variant(path: Path, variant: str | None, overrides: Sequence[str]) -> StoredTagger:
    """Return the tagger of a variant with the best dev F1 over its seeds; of the last variant if none is named."""
    context = PipelineContext.resolve(load_experiment(path, overrides))
    experiment, decisions = context.experiment, context.plan()
    names = [known.name for known in experiment.variants]
    variant = names[-1] if variant is None else variant
    if variant not in names:
        raise ConfigError(f"{path}: no variant {variant!r}; write {' or '.join(f'{path}:{name}' for name in names)}")
    refs = [decisions[tagger_name(variant, seed)].ref for seed in experiment.seeds]
    taggers = [context.store.open(ref) for ref in refs if ref is not None]
    if not taggers:
        raise MissingObject(f"{path}:{variant} is not trained; run `taglm run {path}`")
    best = max(taggers, key=lambda tagger: tagger.manifest.metrics["dev/f1"])
    return StoredTagger(best, experiment)


def _made_in(store: Store, run: str) -> str | None:
    """Return the digest of the tagger that an MLflow run made."""
    for kind, digest in store.objects():
        intact = kind == "tagger" and store.damage(kind, digest) is None
        if intact and store.manifest(kind, digest).made.get("mlflow_run") == run:
            return digest
    return None
