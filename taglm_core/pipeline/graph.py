"""Steps of an experiment.

The config of a step holds only what changes its numbers: no devices, workers, paths and intervals.
No step above a tagger reads the test split (tests/stages/test_graph_and_plan.py).
"""

from __future__ import annotations

from typing import Any

from taglm_core.config.data import UnlabelledConfig
from taglm_core.config.experiment import Experiment
from taglm_core.config.language_model import SOME_FILE, Direction, LanguageModelConfig
from taglm_core.config.tagger import TaggerConfig, VariantConfig
from taglm_core.pipeline.corpora_steps import TEXT, corpora_steps, drawn_step
from taglm_core.pipeline.roles import (
    BASE,
    DEV_CORPUS,
    EMBEDDINGS,
    LABELLED,
    LANGUAGE_MODEL,
    MEASURED,
    TAGGER,
    TRAIN_CORPUS,
    TRAIN_ONLY,
    VECTORS,
    WORD_VECTORS,
)
from taglm_core.pipeline.steps import Graph, Step

WORDS = "corpus/train-words"  # the labelled training sentences in the spelling of the text
_Objects = dict[str, tuple[str, str]]  # kind and digest by role
_NOT_OF_STEPS = ("directions", "continue_from", "fine_tune")  # settings that become steps or inputs


def build_graph(experiment: Experiment) -> Graph:
    """Return all steps of an experiment, each after its inputs.

    Raises:
        ValueError: a `continue_from: latest` or an `init_from` is not resolved (`pipeline.bases.resolve_bases`).
    """
    return Graph(
        [
            *corpora_steps(experiment),
            *_language_models(experiment),
            *_embeddings(experiment),
            *_taggers(experiment),
            *_report(experiment),
        ]
    )


def corpora_graph(experiment: Experiment) -> Graph:
    """Return the steps of the ingest stage alone."""
    return Graph(corpora_steps(experiment))


def language_model_name(lm: str, direction: Direction) -> str:
    """Return the name of the step that trains one direction of a language model."""
    return f"language-model/{lm}/{direction}"


def text_only_name(lm: str, direction: Direction) -> str:
    """Return the name of the step that trains a model before fine-tuning; no other model can have it."""
    return language_model_name(f"{lm}:text", direction)


def embeddings_name(lm: str, direction: Direction, split: str) -> str:
    """Return the name of the step that embeds a split with one direction of a language model."""
    return f"embeddings/{lm}/{direction}/{split}"


def tagger_name(variant: str, seed: int) -> str:
    """Return the name of the step that trains a tagger."""
    return f"tagger/{variant}/seed-{seed}"


def train_only_name(variant: str, seed: int) -> str:
    """Return the name of the step that trains on train alone for a tagger on train and dev; no variant can have it."""
    return f"tagger/{variant}:{TRAIN_ONLY}/seed-{seed}"


def evaluation_name(variant: str, seed: int, split: str) -> str:
    """Return the name of the step that evaluates a tagger on a split."""
    return f"evaluation/{variant}/seed-{seed}/{split}"


def _language_models(experiment: Experiment) -> list[Step]:
    text, labelled = experiment.unlabelled, experiment.data_set
    if text is None:
        return []
    steps = _words(text, TEXT, "", text.name)  # vocabulary and token ids
    if any(config.fine_tune is not None for config in experiment.language_models.values()):
        corpus, token_map = "corpus/train", experiment.embedding.token_map
        if token_map:  # spelled as for embedding
            steps.append(drawn_step(WORDS, "train", {"token_map": dict(token_map)}, corpus, labelled))
            corpus = WORDS
        steps += _words(text, corpus, "/train", labelled)
    for name, config in experiment.language_models.items():
        for direction in config.directions:
            settings = {**_dump(config, without=_NOT_OF_STEPS), "direction": str(direction)}
            settings |= text.order()
            inputs = {"vocabulary": "vocabulary", "token-ids": "token-ids"}
            last = language_model_name(name, direction)
            step = last if config.fine_tune is None else text_only_name(name, direction)
            objects = _base(name, config, direction)
            files: dict[str, str] = {}
            if config.vectors is not None:
                settings["vectors"] = SOME_FILE
                files = {} if objects else {VECTORS: config.vectors}  # a model with a base has the vectors of its base
            steps.append(Step(step, "language-model", settings, inputs, files, text.name, objects=objects))
            if config.fine_tune is not None:
                inputs = {"vocabulary": "vocabulary/train", "token-ids": "token-ids/train", BASE: step}
                settings = {**settings, **_dump(config.fine_tune)}
                steps.append(Step(last, "language-model", settings, inputs, group=labelled, split="train"))
    return steps


def _words(text: UnlabelledConfig, corpus: str, suffix: str, group: str) -> list[Step]:
    """Return the steps of vocabulary and token ids of a corpus for language models."""
    held, vocabulary = {"heldout_fraction": text.heldout_fraction}, f"vocabulary{suffix}"
    config = {**held, "shards": text.shards, **text.order()}
    return [
        Step(vocabulary, "vocabulary", held, {"text": corpus}, group=group),
        Step(f"token-ids{suffix}", "token-ids", config, {"text": corpus, "vocabulary": vocabulary}, group=group),
    ]


def _base(name: str, config: LanguageModelConfig, direction: Direction) -> _Objects:
    """Return the base of a language model as an input by content, so that key and lineage depend on it."""
    given = config.continue_from
    if given is None:
        return {}
    if not isinstance(given, dict):  # or training would silently start from random weights
        raise ValueError(f"language_models.{name}.continue_from: {given} is not resolved (pipeline/bases.py)")
    return {BASE: ("language-model", given[direction])} if direction in given else {}


def _embeddings(experiment: Experiment) -> list[Step]:
    config, group = _dump(experiment.embedding), experiment.data_set
    read = dict.fromkeys((lm, way) for variant in experiment.variants for lm in variant.lm
                           for way in variant.directions)  # fmt: skip
    steps = []
    for split in experiment.splits:
        for lm, direction in read:
            inputs = {"language-model": language_model_name(lm, direction), "corpus": f"corpus/{split}"}
            steps.append(
                Step(embeddings_name(lm, direction, split), "embeddings", config, inputs, group=group, split=split)
            )
        vectors = {experiment.tagger_of(variant).words.vectors for variant in experiment.variants}
        for path in sorted(path for path in vectors if path is not None):
            name = _vectors_name(experiment, path, split)
            corpus = {"corpus": f"corpus/{split}"}
            steps.append(Step(name, "word-vectors", {}, corpus, {VECTORS: path}, group))
    return steps


def _vectors_name(experiment: Experiment, path: str, split: str) -> str:
    paths = sorted({p for v in experiment.variants if (p := experiment.tagger_of(v).words.vectors) is not None})
    return f"word-vectors/{split}" if len(paths) == 1 else f"word-vectors-{paths.index(path) + 1}/{split}"


def _reads(experiment: Experiment, variant: VariantConfig, split: str) -> dict[str, str]:
    """Return the inputs of a variant of one split: corpus, embeddings, word vectors."""
    inputs = {LABELLED.name(split=split): f"corpus/{split}"}
    for lm in variant.lm:
        for direction in variant.directions:
            inputs[EMBEDDINGS.name(split=split, lm=lm, direction=direction)] = embeddings_name(lm, direction, split)
    vectors = experiment.tagger_of(variant).words.vectors
    if vectors is not None:
        inputs[WORD_VECTORS.name(split=split)] = _vectors_name(experiment, vectors, split)
    return inputs


def _taggers(experiment: Experiment) -> list[Step]:
    group, steps = experiment.data_set, []
    if experiment.labelled is None:
        return []
    for seed in experiment.seeds:
        for variant in experiment.variants:
            settings = experiment.tagger_of(variant)
            config, objects = _dump(settings, without=("init_from",)), _tagger_base(settings, seed)
            config["words"] = {**config["words"], "vectors": config["words"]["vectors"] is not None}
            inputs = _reads(experiment, variant, "train") | _reads(experiment, variant, "dev")
            inputs |= _models(variant)
            name = tagger_name(variant.name, seed)
            if config["train_on"] == "train+dev":
                alone = {**config, "train_on": "train", "seed": seed}
                steps.append(_tagger(train_only_name(variant.name, seed), alone, inputs, objects, group, variant))
                inputs = {**inputs, TRAIN_ONLY: train_only_name(variant.name, seed)}
            steps.append(_tagger(name, {**config, "seed": seed}, inputs, objects, group, variant))
    for split in experiment.splits[1:]:
        for seed in experiment.seeds:
            for variant in experiment.variants:
                inputs = {"tagger": _measured(experiment, variant, seed, split), **_reads(experiment, variant, split)}
                inputs |= _models(variant)
                name = evaluation_name(variant.name, seed, split)
                steps.append(Step(name, "evaluation", {"split": split}, inputs, group=group, variant=variant.name))
    return steps


def _tagger(
    name: str, config: dict[str, Any], inputs: dict[str, str], objects: _Objects, group: str, variant: VariantConfig
) -> Step:
    return Step(name, "tagger", config, inputs, group=group, objects=objects, variant=variant.name)


def _tagger_base(config: TaggerConfig, seed: int) -> _Objects:
    """Return the tagger that a tagger starts from as an input by content."""
    given = config.init_from
    if given is None:
        return {}
    if not isinstance(given, dict):  # or training would silently start from random weights
        raise ValueError(f"tagger.init_from: {given} is not resolved (pipeline/bases.py)")
    return {BASE: (TAGGER, given[seed])}


def _measured(experiment: Experiment, variant: VariantConfig, seed: int, split: str) -> str:
    """Return the tagger to evaluate on a split; on dev, for one trained on dev too, its forerunner on train alone."""
    both = experiment.tagger_of(variant).train_on == "train+dev"
    return train_only_name(variant.name, seed) if both and split == "dev" else tagger_name(variant.name, seed)


def _models(variant: VariantConfig) -> dict[str, str]:
    """Return the language models as inputs; their digests identify the embeddings that the caches must hold."""
    arms = [(lm, way) for lm in variant.lm for way in variant.directions]
    return {LANGUAGE_MODEL.name(lm=lm, direction=way): language_model_name(lm, way) for lm, way in arms}


def _report(experiment: Experiment) -> list[Step]:
    if experiment.labelled is None:
        return []
    arms = [(variant.name, seed) for variant in experiment.variants for seed in experiment.seeds]
    inputs = {
        MEASURED.name(split=split, variant=variant, seed=seed): evaluation_name(variant, seed, split)
        for split in experiment.splits[1:]
        for variant, seed in arms
    }
    inputs[TRAIN_CORPUS] = "corpus/train"  # for seen sentences and known words in the error analysis
    if any(experiment.tagger_of(variant).train_on == "train+dev" for variant in experiment.variants):
        inputs[DEV_CORPUS] = "corpus/dev"  # for all variants on test, which are compared span by span
    config = {"variants": [variant.name for variant in experiment.variants], "seeds": list(experiment.seeds),
              "data_set": experiment.labelled.name, "significance": _dump(experiment.significance)}  # fmt: skip
    return [Step("report", "report", config, inputs, group=experiment.labelled.name)]


def _dump(settings: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    dumped: dict[str, Any] = settings.model_dump(mode="json", exclude=set(without))
    return dumped
