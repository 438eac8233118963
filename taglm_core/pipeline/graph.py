"""Steps of an experiment.

The config of a step holds only what changes its numbers: no devices, workers, paths and intervals.
No step above a tagger reads the test split (tests/stages/test_graph_and_plan.py).
"""

from __future__ import annotations

from typing import Any

from taglm_core.config.data import DEMO_FILES, DEMO_PREFIX, LabelledConfig, TagScheme, UnlabelledConfig
from taglm_core.config.experiment import Experiment
from taglm_core.config.language_model import SOME_FILE, Direction, LanguageModelConfig
from taglm_core.config.tagger import VariantConfig
from taglm_core.errors import ConfigError
from taglm_core.pipeline.roles import (
    BASE,
    DEV_CORPUS,
    EMBEDDINGS,
    LABELLED,
    LANGUAGE_MODEL,
    MEASURED,
    TRAIN_CORPUS,
    TRAIN_ONLY,
    VECTORS,
    WORD_VECTORS,
)
from taglm_core.pipeline.steps import Graph, Step

TEXT = "corpus/text"
STATISTICS = "statistics"
WORDS = "corpus/train-words"  # the labelled training sentences in the spelling of the text
_NOT_OF_STEPS = ("directions", "continue_from", "fine_tune")  # settings that become steps or inputs


def build_graph(experiment: Experiment) -> Graph:
    """Return all steps of an experiment, each after its inputs.

    Raises:
        ValueError: a `continue_from: latest` is not resolved (`pipeline.bases.resolve_bases`).
    """
    return Graph(
        [
            *_corpora(experiment),
            *_language_models(experiment),
            *_embeddings(experiment),
            *_taggers(experiment),
            *_report(experiment),
        ]
    )


def corpora_graph(experiment: Experiment) -> Graph:
    """Return the steps of the ingest stage alone."""
    return Graph(_corpora(experiment))


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


def _corpora(experiment: Experiment) -> list[Step]:
    labelled, text = experiment.labelled, experiment.unlabelled
    steps: list[Step] = []
    paths = [*(labelled.splits().values() if labelled else ()), text.path if text else None]
    if any(path and path.startswith(DEMO_PREFIX) for path in paths):
        steps.append(Step("demo", "demo-corpus", _dump(experiment.demo), group="demo"))
    if labelled is not None:
        steps += _labelled_corpora(labelled)
    if text is not None:
        inputs, files, config = _source("file", text.path)
        steps.append(
            Step(TEXT, "corpus", {**experiment.text_reading(), **config}, inputs, files, text.name, split="text")
        )
    every = {name: f"corpus/{name}" for name in (*experiment.splits, *(["text"] if text else []))}
    return [*steps, Step(STATISTICS, "corpus-statistics", {}, every, group=experiment.data_set)]


def _labelled_corpora(labelled: LabelledConfig) -> list[Step]:
    steps, group = [], labelled.name
    if labelled.scheme is TagScheme.AUTO:
        steps.append(_scheme_step(labelled))
    drawn = labelled.dev is None or labelled.train_fraction < 1
    source = "corpus/train-source" if drawn else "corpus/train"
    steps.append(_labelled_step(source, "train", labelled.train, labelled))
    if labelled.dev is None:
        draw: dict[str, Any] = {"count": labelled.dev_sentences, "fraction": None, "seed": labelled.sample_seed}
        steps.append(_drawn("corpus/dev", "dev", {**draw, "complement": False}, source, group))
        rest = "corpus/train-rest" if labelled.train_fraction < 1 else "corpus/train"
        steps.append(_drawn(rest, "train", {**draw, "complement": True}, source, group))
        source = rest
    else:
        steps.append(_labelled_step("corpus/dev", "dev", labelled.dev, labelled))
    if labelled.train_fraction < 1:
        draw = {"count": None, "fraction": labelled.train_fraction, "seed": labelled.sample_seed, "complement": False}
        steps.append(_drawn("corpus/train", "train", draw, source, group))
    if labelled.test is not None:
        steps.append(_labelled_step("corpus/test", "test", labelled.test, labelled))
    return steps


def _drawn(name: str, split: str, draw: dict[str, Any], source: str, group: str) -> Step:
    return Step(name, "corpus", draw, {"source": source}, group=group, split=split)


def _scheme_step(labelled: LabelledConfig) -> Step:
    inputs: dict[str, str] = {}
    files: dict[str, str] = {}
    demo: dict[str, Any] = {}
    for split, path in labelled.splits().items():
        if path is not None:
            its_inputs, its_files, config = _source(split, path)
            inputs |= its_inputs
            files |= its_files
            if config:
                demo[split] = config["demo_file"]
    config = {"columns": _dump(labelled.columns), "demo_files": demo, **labelled.reading()}
    return Step("scheme", "tag-scheme", config, inputs, files, labelled.name)


def _labelled_step(name: str, split: str, path: str, labelled: LabelledConfig) -> Step:
    inputs, files, config = _source("file", path)
    config = {"format": "conll", "columns": _dump(labelled.columns), **labelled.reading(), **config}
    if labelled.scheme is TagScheme.AUTO:
        inputs = {**inputs, "scheme": "scheme"}
    else:
        config["scheme"] = str(labelled.scheme)
    return Step(name, "corpus", config, inputs, files, labelled.name, split=split)


def _source(role: str, path: str) -> tuple[dict[str, str], dict[str, str], dict[str, Any]]:
    """Return inputs, raw files and config of a source path: raw files, or a file of the demo corpus."""
    if not path.startswith(DEMO_PREFIX):
        return {}, {role: path}, {}
    name = path.removeprefix(DEMO_PREFIX)
    if name not in DEMO_FILES:
        raise ConfigError(f"{path!r}: the demo corpus has {', '.join(DEMO_PREFIX + known for known in DEMO_FILES)}")
    return {"demo": "demo"}, {}, {"demo_file": DEMO_FILES[name]}


def _language_models(experiment: Experiment) -> list[Step]:
    text, labelled = experiment.unlabelled, experiment.data_set
    if text is None:
        return []
    steps = _words(text, TEXT, "", text.name)  # vocabulary and token ids
    if any(config.fine_tune is not None for config in experiment.language_models.values()):
        corpus, token_map = "corpus/train", experiment.embedding.token_map
        if token_map:  # spelled as for embedding
            steps.append(_drawn(WORDS, "train", {"token_map": dict(token_map)}, corpus, labelled))
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


def _base(name: str, config: LanguageModelConfig, direction: Direction) -> dict[str, tuple[str, str]]:
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
            config = _dump(experiment.tagger_of(variant))
            config["words"] = {**config["words"], "vectors": config["words"]["vectors"] is not None}
            inputs = _reads(experiment, variant, "train") | _reads(experiment, variant, "dev")
            inputs |= _models(variant)
            name = tagger_name(variant.name, seed)
            if config["train_on"] == "train+dev":
                alone = {**config, "train_on": "train", "seed": seed}
                steps.append(_tagger(train_only_name(variant.name, seed), alone, inputs, group, variant))
                inputs = {**inputs, TRAIN_ONLY: train_only_name(variant.name, seed)}
            steps.append(_tagger(name, {**config, "seed": seed}, inputs, group, variant))
    for split in experiment.splits[1:]:
        for seed in experiment.seeds:
            for variant in experiment.variants:
                inputs = {"tagger": _measured(experiment, variant, seed, split), **_reads(experiment, variant, split)}
                inputs |= _models(variant)
                name = evaluation_name(variant.name, seed, split)
                steps.append(Step(name, "evaluation", {"split": split}, inputs, group=group, variant=variant.name))
    return steps


def _tagger(name: str, config: dict[str, Any], inputs: dict[str, str], group: str, variant: VariantConfig) -> Step:
    return Step(name, "tagger", config, inputs, group=group, variant=variant.name)


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
