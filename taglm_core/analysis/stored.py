"""Objects that belong to no step of an experiment: opened by digest, or built when they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taglm_core.config.experiment import Experiment
from taglm_core.corpus.parquet import corpus_files
from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import InputError, MissingObject, StoreError, TagLMError
from taglm_core.pipeline.build import clear_work
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.roles import DEV_CORPUS, TRAIN_CORPUS, VECTORS
from taglm_core.pipeline.steps import Step
from taglm_core.process.launch import make
from taglm_core.store.records import Ref
from taglm_core.store.store import Artifact, Store
from taglm_core.training.journal import Event

logger = logging.getLogger("taglm")


def vector_file(context: PipelineContext, tagger: Artifact, wanted: str) -> str:
    """Return the file of word vectors that a tagger was trained with, found by its digest.

    Args:
        context: context that gives the store and the present experiment.
        tagger: the tagger.
        wanted: digest of the file.

    Raises:
        MissingObject: the file is gone or has changed.
    """
    paths = dict.fromkeys([*_vector_files(tagger.manifest.made.get("experiment")), *_vector_files(context.experiment)])
    for path in paths:
        try:
            if context.store.raw_digest(resolve_files(path)) == wanted:
                return path
        except (InputError, OSError):
            continue
    raise MissingObject(
        f"the file of word vectors that the tagger was trained with is gone or has changed ({', '.join(paths)}); "
        "restore it"
    )


def _vector_files(settings: Any) -> list[str]:
    """Return the files of word vectors of an experiment, given as such or as JSON from a manifest."""
    try:
        graph = build_graph(settings if isinstance(settings, Experiment) else Experiment.model_validate(settings))
    except (ValueError, TagLMError):  # another version of the program wrote it
        return []
    return [step.files[VECTORS] for step in graph.values() if step.kind == "word-vectors"]


def training_files(store: Store, tagger: str) -> list[Path]:
    """Return the Parquet files of the sentences that a tagger learnt from; none if the store lacks them.

    Args:
        store: the store.
        tagger: digest of the tagger.
    """
    try:
        recipe = store.manifest("tagger", tagger).recipe
        both = recipe.config.get("train_on") == "train+dev"
        roles = [TRAIN_CORPUS, DEV_CORPUS] if both else [TRAIN_CORPUS]
        return [path for role in roles for path in corpus_files(stored(store, "corpus", recipe.inputs[role]).path)]
    except StoreError:
        return []


def make_step(context: PipelineContext, step: Step) -> Ref:
    """Return the object of a step whose inputs are all in the store; build it if it is missing."""
    request = context.request(step, {})
    found = context.store.find(request.recipe)
    if found is not None:
        return found
    logger.info("%s: started", step.name)
    made = make(context.store, request, _log_messages(step.name))
    clear_work(context.store, request.recipe)
    return made


def _log_messages(step: str) -> Callable[[list[Event], int], None]:
    def log(events: list[Event], _: int) -> None:
        for event in events:
            if event.kind == "message":
                logger.info("%s: %s", step, event.text)

    return log


def stored(store: Store, kind: str, digest: str) -> Artifact:
    """Open an object by kind and digest.

    Raises:
        MissingObject: the object is not in the store.
        DamagedObject: the object is damaged.
    """
    try:
        manifest = store.manifest(kind, digest)
    except MissingObject as error:
        raise MissingObject(f"{kind} {digest[:12]} is no longer in {store.root}") from error
    return store.open(Ref(kind, manifest.recipe.key, digest, manifest.counts))
