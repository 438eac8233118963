"""Tag: train taggers and evaluate them (comparison: `taglm_core.stages.comparison`)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.tagger import TaggerConfig
from taglm_core.corpus.parquet import load_sentences
from taglm_core.corpus.word_vectors import WordVectors, load_vectors
from taglm_core.errors import InputError
from taglm_core.evaluation.evaluated import write_evaluation
from taglm_core.evaluation.predictions import Predictions
from taglm_core.lm.cache import EmbeddingCache
from taglm_core.pipeline.build import BuildContext, BuildResult
from taglm_core.pipeline.kinds import KINDS
from taglm_core.pipeline.roles import BASE, EMBEDDINGS, LABELLED, LANGUAGE_MODEL, TRAIN_ONLY, WORD_VECTORS
from taglm_core.tagging.dataset import JoinedStates, States
from taglm_core.tagging.online_vectors import samples
from taglm_core.tagging.tagger_training import TaggerTraining, confidences, decode_all, droppable_rows
from taglm_core.tagging.trained import (
    FrozenVectors,
    LmInput,
    TaggerSpec,
    build_network,
    encode,
    load_network,
    load_spec,
    save_tagger,
    start_vectors,
)
from taglm_core.tagging.transfer import start_from
from taglm_core.tagging.words import TaggerWords, tags_of
from taglm_core.training.checkpoints import Checkpoints
from taglm_core.training.devices import open_device, reserved
from taglm_core.training.loop import LoopSettings, train
from taglm_core.training.randomness import seed_torch

logger = logging.getLogger("taglm")
Sentences = tuple[list[tuple[str, ...]], list[tuple[str, ...]]]


@dataclass(frozen=True)
class _Split:
    """A labelled split with its LM embeddings."""

    tokens: list[tuple[str, ...]]
    tags: list[tuple[str, ...]]
    states: Sequence[States]

    def __add__(self, other: _Split) -> _Split:
        pairs = zip(self.states, other.states, strict=True)
        states = [JoinedStates(first, len(self.tokens), second) for first, second in pairs]
        return _Split(self.tokens + other.tokens, self.tags + other.tags, states)


def build_tagger(context: BuildContext) -> BuildResult:
    """Train one tagger: one variant, one seed."""
    settings = dict(context.config)
    seed, with_vectors = settings.pop("seed"), settings["words"]["vectors"]
    config = TaggerConfig.model_validate({**settings, "words": {**settings["words"], "vectors": None}})
    # auto is float32: for taggers on accelerators no other precision is measured
    precision = "float32" if context.run.precision == "auto" else context.run.precision
    device = open_device(context.run.device, context.run.threads, precision=precision)
    embedding = _embedding(context)
    tokens, tags = _labelled(context, "train")
    caches = _caches(context, "train", tokens, embedding)
    roles = _lm_roles(context, "train")
    sources = tuple(LmInput(*role, cache.key.size, cache.key.layers) for role, cache in zip(roles, caches, strict=True))
    data = _Split(tokens, tags, caches)
    dev_tokens, dev_tags = _labelled(context, "dev")
    dev = _Split(dev_tokens, dev_tags, _caches(context, "dev", dev_tokens, embedding, sources))
    before: dict[str, Any] | None = None  # facts of the tagger whose epochs this one repeats
    if config.train_on == "train+dev":
        data, before = data + dev, load_spec(context.inputs[TRAIN_ONLY].path)[1]
    vectors = [_vectors(context, split) for split in ("train", "dev")] if with_vectors else []
    spec = TaggerSpec(
        config,
        tags_of(data.tags),
        TaggerWords.count(data.tokens, config.words.min_count),
        vectors[0].dim if vectors else config.words.size,
        sources,
        embedding,
    )
    frozen = FrozenVectors.of(spec.words, vectors) if vectors else FrozenVectors.none(spec.word_size)
    with context.clock.untimed(
        reserved(device, context.locks, context.run.device_share, check_stop=context.stop.check)
    ):
        seed_torch(seed, "tagger")
        start, known = start_vectors(spec, vectors, seed, Counter(chain.from_iterable(data.tokens)))
        network, shared = build_network(spec, start, frozen), {}
        if BASE in context.inputs:
            base = context.inputs[BASE]
            shared = {"words_of_base": start_from(network, spec, base.path, base.ref.digest[:12])}
        network.to(device.torch)
        training = TaggerTraining(
            network,
            encode(spec, frozen, data.tokens, data.states, data.tags),
            None if before else (encode(spec, frozen, dev.tokens, dev.states), dev.tags),
            spec.tags,
            config,
            seed,
            droppable_rows(spec.words.single, len(spec.words), known),
            first_phase=before["first_phase_epochs"] if before else None,
            device=device,
        )
        train(
            training,
            checkpoints=Checkpoints(context.work / "checkpoints", context.run.keep_checkpoints),
            journal=context.journal,
            stop=context.stop,
            settings=LoopSettings(context.run.checkpoint_seconds, context.run.checkpoint_steps),
        )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    schedule = training.schedule
    f1, epoch = schedule.best
    if before:
        f1 = before["dev_f1"]  # of the tagger that did not train on dev
    facts = {"parameters": parameters, "dev_f1": f1, "best_epoch": epoch, "seed": seed,
             "vector_samples": samples(vectors), "first_phase_epochs": schedule.first_phase_epochs}  # fmt: skip
    save_tagger(network, spec, facts, context.out)
    counts = {"parameters": parameters, "epochs": schedule.epoch, "best_epoch": epoch, "tags": len(spec.tags),
              "train_sentences": len(data.tokens), "words": len(spec.words), **shared}  # fmt: skip
    return BuildResult(counts, {"dev/f1": f1}, {"tagger": seed}, machine=device.describe())


def build_evaluation(context: BuildContext) -> BuildResult:
    """Tag one split with a trained tagger and score it."""
    split = context.config["split"]
    device = open_device(context.run.device, context.run.threads)
    tokens, gold = _labelled(context, split)
    folder = context.inputs["tagger"].path
    spec, facts = load_spec(folder)
    frozen = FrozenVectors.none(spec.word_size)
    if WORD_VECTORS.name(split=split) in context.inputs:
        frozen = FrozenVectors.of(spec.words, [_vectors(context, split)])
    with context.clock.untimed(
        reserved(device, context.locks, context.run.device_share, check_stop=context.stop.check)
    ):
        network = load_network(folder, spec, frozen, device.torch)
        data = encode(spec, frozen, tokens, _caches(context, split, tokens, spec.embedding, spec.lm))
        predicted = decode_all(network, data, spec.tags)
        confidence = confidences(network, data, predicted, spec.tags)
    predictions = Predictions(range(len(tokens)), tokens, gold, predicted, *confidence)
    facts = {"split": split, "parameters": facts["parameters"], "dev_f1": facts["dev_f1"]}
    found = write_evaluation(context.out, predictions, spec.tags, facts)
    counts = {"sentences": len(tokens), "tokens": sum(map(len, tokens))}
    metrics = {f"{split}/f1": found["scores"]["micro"]["f1"]}
    metrics[f"{split}/calibration_error_spans"] = found["calibration"]["spans"]["error"]
    return BuildResult(counts, metrics, machine=device.describe())


def _labelled(context: BuildContext, split: str) -> Sentences:
    sentences = load_sentences(context.inputs[LABELLED.name(split=split)].path)
    if any(tags is None for _, tags in sentences):
        raise InputError(
            f"{split} split", None, "sentences without tags", "tags", "give a CoNLL file with a tag column"
        )
    return [tokens for tokens, _ in sentences], [tags for _, tags in sentences if tags is not None]


def _lm_roles(context: BuildContext, split: str) -> list[tuple[str, str]]:
    """Return (language model, direction) of the embeddings of a split, in a fixed order."""
    found = [EMBEDDINGS.match(role) for role in context.inputs]
    return sorted((each["lm"], each["direction"]) for each in found if each is not None and each["split"] == split)


def _caches(
    context: BuildContext,
    split: str,
    tokens: Sequence[Sequence[str]],
    embedding: EmbeddingConfig,
    sources: Sequence[LmInput] = (),
) -> list[EmbeddingCache]:
    """Open the embeddings of a split; check that they are of these sentences and models, read out in this way."""
    caches = []
    layers = {(source.name, source.direction): {"layers": source.layers} for source in sources}
    for name, direction in _lm_roles(context, split):
        cache = EmbeddingCache(
            context.inputs[EMBEDDINGS.name(split=split, lm=name, direction=direction)].path,
            language_model=context.inputs[LANGUAGE_MODEL.name(lm=name, direction=direction)].ref.digest,
            corpus=context.inputs[LABELLED.name(split=split)].ref.digest,
            precision=embedding.precision,
            context=str(embedding.context),
            token_map=embedding.token_map,
            version=KINDS["embeddings"].version,
            **layers.get((name, direction), {}),
        )
        cache.check(tokens)
        caches.append(cache)
    return caches


def _embedding(context: BuildContext) -> EmbeddingConfig:
    """Return how training read out the language models' states: new text must be read in the same way."""
    configs = [
        artifact.manifest.recipe.config
        for role, artifact in context.inputs.items()
        if (found := EMBEDDINGS.match(role)) is not None and found["split"] == "train"
    ]
    return EmbeddingConfig.model_validate(configs[0]) if configs else EmbeddingConfig()


def _vectors(context: BuildContext, split: str) -> WordVectors:
    return load_vectors(context.inputs[WORD_VECTORS.name(split=split)].path)
