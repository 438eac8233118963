"""Measuring a trained tagger on a dev split that it was not made with, so that two taggers compare.

All that a tagger reads of the split is made as for any evaluation, in the store: what is there already is reused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.experiment import Experiment
from taglm_core.corpus.paths import resolve_files
from taglm_core.errors import InputError, MissingObject, TagLMError
from taglm_core.pipeline.build import clear_work
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.graph import build_graph
from taglm_core.pipeline.kinds import KINDS, recipe_inputs
from taglm_core.pipeline.roles import DEV_CORPUS, TAGGER, TRAIN_CORPUS, TRAIN_ONLY, VECTORS
from taglm_core.pipeline.steps import Graph, Step
from taglm_core.process.launch import SHARED, make
from taglm_core.store.durable import read_json
from taglm_core.store.records import Recipe, Ref
from taglm_core.store.store import Artifact, Store
from taglm_core.training.journal import Event

_DEV = "dev"
logger = logging.getLogger("taglm")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two taggers on the same sentences of a dev split.

    Attributes:
        f1: micro F1 of each, between 0 and 1.
        sentences: that both were measured on: those that neither was trained on.
        of: sentences of the split.
    """

    f1: tuple[float, float]
    sentences: int
    of: int


def compare_on_dev(experiment: Experiment, taggers: tuple[str, str], corpus: str) -> Comparison:
    """Measure two taggers on one dev split, leaving out the sentences that one of them was trained on.

    Args:
        experiment: whose store is used, and how things run.
        taggers: digests of the taggers.
        corpus: digest of the dev corpus.

    Raises:
        MissingObject: one of the taggers is not in the store any more, or something that it reads is not.
        TagLMError: it cannot be measured.
    """
    # seqeval and pyarrow take a second to import, and most runs compare nothing
    from taglm_core.corpus.parquet import read_corpus
    from taglm_core.evaluation.predictions import read_predictions
    from taglm_core.evaluation.scores import score

    context = PipelineContext(experiment, Graph([]))  # what is made here are no steps of the experiment
    store = context.store
    measured = [_measured(store, digest) for digest in taggers]
    try:
        evaluations = [_evaluate(context, each, corpus) for each in measured]
    finally:
        SHARED.close()
    found = [read_predictions(each.path / "predictions.parquet") for each in evaluations]
    seen = {
        sentence.tokens
        for each in measured
        for sentence in read_corpus(_object(store, "corpus", each.manifest.recipe.inputs[TRAIN_CORPUS]).path)
    }
    tokens, gold = found[0].tokens, found[0].gold
    fair = [number for number, sentence in enumerate(tokens) if tuple(sentence) not in seen]
    if not any(tag != "O" for number in fair for tag in gold[number]):
        raise MissingObject(
            f"dev split {corpus[:10]} has {len(fair):,} sentences that neither tagger was trained on, and no entity in "
            "them; a comparison needs sentences that are new to both"
        )
    first, second = (
        score([gold[number] for number in fair], [one.predicted[number] for number in fair]).micro.f1 for one in found
    )
    return Comparison((first, second), len(fair), len(tokens))


def _measured(store: Store, digest: str) -> Artifact:
    """The tagger whose dev figures count: of one that was trained on dev as well, its forerunner on train alone."""
    tagger = _object(store, "tagger", digest)
    alone = tagger.manifest.recipe.inputs.get(TRAIN_ONLY)
    return tagger if alone is None else _object(store, "tagger", alone)


def _evaluate(context: PipelineContext, tagger: Artifact, corpus: str) -> Artifact:
    """The evaluation of a tagger on a dev corpus, made if it is not there."""
    store = context.store
    found = _known_evaluation(store, tagger.ref.digest, corpus)
    if found is not None:
        return found
    _object(store, "corpus", corpus)
    inputs = {TAGGER: ("tagger", tagger.ref.digest), DEV_CORPUS: ("corpus", corpus)}
    name = f"{tagger.manifest.label.partition('/')[2].removeprefix('tagger/')}/{corpus[:10]}"
    inputs |= {role: (ref.kind, ref.digest) for role, ref in _readings(context, tagger, corpus, name)}
    return store.open(_make(context, Step(f"evaluation/{name}", "evaluation", {"split": _DEV}, objects=inputs)))


def _known_evaluation(store: Store, tagger: str, corpus: str) -> Artifact | None:
    """The evaluation, if it is in the store, whether what it was made from is there or not."""
    wanted = {"tagger": tagger, DEV_CORPUS: corpus}
    for pointer in store.pointers("evaluation"):
        recipe = pointer.recipe
        if wanted.items() <= recipe.inputs.items() and recipe.version == KINDS["evaluation"].version:
            found = store.find(recipe)
            if found is not None:
                return store.open(found)
    return None


def _readings(context: PipelineContext, tagger: Artifact, corpus: str, name: str) -> Iterator[tuple[str, Ref]]:
    """Yield what a tagger reads of a dev corpus, by role: language models, their embeddings, and word vectors."""
    facts = read_json(tagger.path / "config.json") or {}
    embedding = EmbeddingConfig.model_validate(facts.get("embedding", {})).model_dump(mode="json")
    inputs = recipe_inputs(tagger.manifest.recipe)
    models = {(one.lm, one.direction): one for one in inputs if one.lm and one.kind == "language-model"}
    for model in models.values():
        yield model.role, _object(context.store, "language-model", model.digest).ref
    for one in inputs:
        if one.split == _DEV and one.kind == "embeddings":
            model = models[one.lm, one.direction]
            objects = {"language-model": ("language-model", model.digest), "corpus": ("corpus", corpus)}
            step = Step(f"embeddings/{one.lm}/{one.direction}/{name}", "embeddings", embedding, objects=objects)
            yield one.role, _make(context, step)
        elif one.split == _DEV and one.kind == "word-vectors":
            yield one.role, _vectors(context, tagger, one.digest, corpus, name)


def _vectors(context: PipelineContext, tagger: Artifact, vectors: str, corpus: str, name: str) -> Ref:
    """Return the words of a corpus in the vector file that a tagger was trained with.

    Args:
        context: where the store is, and how things run.
        tagger: the tagger.
        vectors: digest of the word vectors that it was trained with.
        corpus: digest of the dev corpus.
        name: for the step.

    Raises:
        MissingObject: that file is not where it was, and nothing in the store was read from it for this corpus.
    """
    store = context.store
    read = _object(store, "word-vectors", vectors).manifest.recipe
    wanted = read.inputs[VECTORS]
    known = store.find(Recipe("word-vectors", KINDS["word-vectors"].version, {}, {"corpus": corpus, VECTORS: wanted}))
    if known is not None:  # another tagger has read it
        return known
    paths = dict.fromkeys([*_vector_files(tagger.manifest.made.get("experiment")), *_vector_files(context.experiment)])
    for path in paths:
        try:
            same = store.raw_digest(resolve_files(path)) == wanted
        except (InputError, OSError):
            continue
        if same:
            objects = {"corpus": ("corpus", corpus)}
            step = Step(f"word-vectors/{name}", "word-vectors", {}, files={VECTORS: path}, objects=objects)
            return _make(context, step)
    raise MissingObject(
        f"the file of word vectors that the tagger was trained with is gone or has changed ({', '.join(paths)}); "
        "put it back there"
    )


def _vector_files(settings: Any) -> list[str]:
    """Files of word vectors that an experiment names, given as itself or as a manifest keeps it."""
    try:
        graph = build_graph(settings if isinstance(settings, Experiment) else Experiment.model_validate(settings))
    except (ValueError, TagLMError):  # made by another version of the program
        return []
    return [step.files[VECTORS] for step in graph.values() if step.kind == "word-vectors"]


def _make(context: PipelineContext, step: Step) -> Ref:
    """Return the object of a step whose inputs are all in the store, made if it is not there."""
    request = context.request(step, {})
    found = context.store.find(request.recipe)
    if found is not None:
        return found
    logger.info("%s: started, so that two taggers can be compared on one dev split", step.name)
    made = make(context.store, request, _log_messages(step.name))
    clear_work(context.store, request.recipe)
    return made


def _log_messages(step: str) -> Callable[[list[Event], int], None]:
    def log(events: list[Event], _: int) -> None:
        for event in events:
            if event.kind == "message":
                logger.info("%s: %s", step, event.text)

    return log


def _object(store: Store, kind: str, digest: str) -> Artifact:
    """An object by its content.

    Raises:
        MissingObject: it is not in the store.
        DamagedObject: it is not whole.
    """
    try:
        manifest = store.manifest(kind, digest)
    except MissingObject as error:
        raise MissingObject(f"{kind} {digest[:12]} is not in {store.root} any more") from error
    return store.open(Ref(kind, manifest.recipe.key, digest, manifest.counts))
