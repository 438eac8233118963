"""Scores of two taggers on one dev split, even if it is not the one they were trained with.

Embeddings, word vectors and evaluations of the split are built as for any evaluation; stored ones are reused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from taglm_core.analysis.stored import make_step, stored, vector_file
from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.experiment import Experiment
from taglm_core.errors import MissingObject
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.kinds import KINDS, recipe_inputs
from taglm_core.pipeline.roles import DEV_CORPUS, TAGGER, TRAIN_CORPUS, TRAIN_ONLY, VECTORS
from taglm_core.pipeline.steps import Graph, Step
from taglm_core.process.launch import SHARED
from taglm_core.store.durable import read_json
from taglm_core.store.records import Recipe, Ref
from taglm_core.store.store import Artifact, Store

_DEV = "dev"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of two taggers on the same sentences of a dev split.

    Attributes:
        f1: micro F1 of each tagger, between 0 and 1.
        sentences: number of sentences compared; neither tagger was trained on them.
        of: number of sentences of the split.
    """

    f1: tuple[float, float]
    sentences: int
    of: int


def compare_on_dev(experiment: Experiment, taggers: tuple[str, str], corpus: str) -> Comparison:
    """Score two taggers on one dev split, without the sentences that one of them was trained on.

    Args:
        experiment: experiment that gives the store and the `run` section.
        taggers: digests of the taggers.
        corpus: digest of the dev corpus.

    Raises:
        MissingObject: a tagger or one of its inputs is no longer in the store.
        TagLMError: a tagger cannot be evaluated.
    """
    # imported here: seqeval and pyarrow take a second, and most runs compare nothing
    from taglm_core.corpus.parquet import read_corpus
    from taglm_core.evaluation.predictions import read_predictions
    from taglm_core.evaluation.scores import score

    context = PipelineContext(experiment, Graph([]))  # the steps below belong to no experiment
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
        for sentence in read_corpus(stored(store, "corpus", each.manifest.recipe.inputs[TRAIN_CORPUS]).path)
    }
    tokens, gold = found[0].tokens, found[0].gold
    fair = [number for number, sentence in enumerate(tokens) if tuple(sentence) not in seen]
    if not any(tag != "O" for number in fair for tag in gold[number]):
        raise MissingObject(
            f"dev split {corpus[:10]} has {len(fair):,} sentences that neither tagger was trained on, and they hold no "
            "entity; a comparison needs sentences that are new to both taggers"
        )
    first, second = (
        score([gold[number] for number in fair], [one.predicted[number] for number in fair]).micro.f1 for one in found
    )
    return Comparison((first, second), len(fair), len(tokens))


def _measured(store: Store, digest: str) -> Artifact:
    """Return the tagger to score on dev: for one trained on dev as well, the one trained on train alone."""
    tagger = stored(store, "tagger", digest)
    alone = tagger.manifest.recipe.inputs.get(TRAIN_ONLY)
    return tagger if alone is None else stored(store, "tagger", alone)


def _evaluate(context: PipelineContext, tagger: Artifact, corpus: str) -> Artifact:
    """Return the evaluation of a tagger on a dev corpus; build it if it is missing."""
    store = context.store
    found = _known_evaluation(store, tagger.ref.digest, corpus)
    if found is not None:
        return found
    stored(store, "corpus", corpus)
    inputs = {TAGGER: ("tagger", tagger.ref.digest), DEV_CORPUS: ("corpus", corpus)}
    name = f"{tagger.manifest.label.partition('/')[2].removeprefix('tagger/')}/{corpus[:10]}"
    inputs |= {role: (ref.kind, ref.digest) for role, ref in _inputs(context, tagger, corpus, name)}
    return store.open(make_step(context, Step(f"evaluation/{name}", "evaluation", {"split": _DEV}, objects=inputs)))


def _known_evaluation(store: Store, tagger: str, corpus: str) -> Artifact | None:
    """Return the evaluation if it is in the store, even if its inputs are not."""
    wanted = {"tagger": tagger, DEV_CORPUS: corpus}
    for pointer in store.pointers("evaluation"):
        recipe = pointer.recipe
        if wanted.items() <= recipe.inputs.items() and recipe.version == KINDS["evaluation"].version:
            found = store.find(recipe)
            if found is not None:
                return store.open(found)
    return None


def _inputs(context: PipelineContext, tagger: Artifact, corpus: str, name: str) -> Iterator[tuple[str, Ref]]:
    """Yield the other inputs of an evaluation by role; build missing ones: language models, embeddings, vectors."""
    facts = read_json(tagger.path / "config.json") or {}
    embedding = EmbeddingConfig.model_validate(facts.get("embedding", {})).model_dump(mode="json")
    inputs = recipe_inputs(tagger.manifest.recipe)
    models = {(one.lm, one.direction): one for one in inputs if one.lm and one.kind == "language-model"}
    for model in models.values():
        yield model.role, stored(context.store, "language-model", model.digest).ref
    for one in inputs:
        if one.split == _DEV and one.kind == "embeddings":
            model = models[one.lm, one.direction]
            objects = {"language-model": ("language-model", model.digest), "corpus": ("corpus", corpus)}
            step = Step(f"embeddings/{one.lm}/{one.direction}/{name}", "embeddings", embedding, objects=objects)
            yield one.role, make_step(context, step)
        elif one.split == _DEV and one.kind == "word-vectors":
            yield one.role, _vectors(context, tagger, one.digest, corpus, name)


def _vectors(context: PipelineContext, tagger: Artifact, vectors: str, corpus: str, name: str) -> Ref:
    """Return the word vectors of a corpus, read from the vector file that a tagger was trained with.

    Args:
        context: context that gives the store and the `run` section.
        tagger: the tagger.
        vectors: digest of the word vectors that the tagger was trained with.
        corpus: digest of the dev corpus.
        name: name of the evaluation, part of the name of the step.

    Raises:
        MissingObject: the file is gone or changed, and the store holds no vectors of it for this corpus.
    """
    store = context.store
    wanted = stored(store, "word-vectors", vectors).manifest.recipe.inputs[VECTORS]
    known = store.find(Recipe("word-vectors", KINDS["word-vectors"].version, {}, {"corpus": corpus, VECTORS: wanted}))
    if known is not None:  # built for another tagger
        return known
    path = vector_file(context, tagger, wanted)
    step = Step(
        f"word-vectors/{name}", "word-vectors", {}, files={VECTORS: path}, objects={"corpus": ("corpus", corpus)}
    )
    return make_step(context, step)
