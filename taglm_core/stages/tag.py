"""Tag: taggers are trained, evaluated on dev and test, and compared."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from taglm_core.config.embedding import EmbeddingConfig
from taglm_core.config.tagger import TaggerConfig
from taglm_core.corpus.parquet import corpus_files, load_sentences
from taglm_core.corpus.schemes import split_tag
from taglm_core.corpus.word_vectors import WordVectors, load_vectors
from taglm_core.errors import InputError
from taglm_core.evaluation.calibration import Calibration, calibrate_spans, calibrate_tokens, pool
from taglm_core.evaluation.error_report import errors_to_markdown, strata_samples
from taglm_core.evaluation.errors import VariantErrors, analyse_errors
from taglm_core.evaluation.predictions import (
    Predictions,
    check_same_tokens,
    read_predictions,
    write_conlleval,
    write_predictions,
)
from taglm_core.evaluation.report import EvaluationRow, build_comparison, to_json
from taglm_core.evaluation.scores import score, type_confusion
from taglm_core.evaluation.tables import markdown_text, to_markdown
from taglm_core.lm.cache import EmbeddingCache
from taglm_core.stages.building import Bench, Built
from taglm_core.stages.steps import DEV_CORPUS, KINDS, TRAIN_CORPUS, TRAIN_ONLY
from taglm_core.tagging.dataset import JoinedStates, States
from taglm_core.tagging.job import TaggerJob, confidences, decode_all, droppable_rows
from taglm_core.tagging.online_vectors import samples
from taglm_core.tagging.trained import (
    FixedVectors,
    LmInput,
    TaggerSpec,
    build_network,
    encode,
    load_network,
    load_spec,
    save_tagger,
    start_vectors,
)
from taglm_core.tagging.words import TaggerWords, tags_of
from taglm_core.training.checkpoints import Checkpoints
from taglm_core.training.devices import open_device, reserved
from taglm_core.training.loop import LoopSettings, train
from taglm_core.training.randomness import seed_torch

logger = logging.getLogger("taglm")
MISTAKES = 10
"""So many mistakes of each outcome are named in a report."""

Sentences = tuple[list[tuple[str, ...]], list[tuple[str, ...]]]


@dataclass(frozen=True)
class _Split:
    """What a tagger learns from, or is measured on."""

    tokens: list[tuple[str, ...]]
    tags: list[tuple[str, ...]]
    states: Sequence[States]

    def __add__(self, other: _Split) -> _Split:
        pairs = zip(self.states, other.states, strict=True)
        states = [JoinedStates(first, len(self.tokens), second) for first, second in pairs]
        return _Split(self.tokens + other.tokens, self.tags + other.tags, states)


def build_tagger(bench: Bench) -> Built:
    """Train one tagger: one variant, one seed."""
    settings = dict(bench.config)
    seed, with_vectors = settings.pop("seed"), settings["words"]["vectors"]
    config = TaggerConfig.model_validate({**settings, "words": {**settings["words"], "vectors": None}})
    # float32 unless asked for: what auto is for a language model is not measured for taggers on accelerators
    precision = "float32" if bench.run.precision == "auto" else bench.run.precision
    device = open_device(bench.run.device, bench.run.threads, precision=precision)
    embedding = _embedding(bench)
    tokens, tags = _labelled(bench, "train")
    caches = _caches(bench, "train", tokens, embedding)
    roles = _lm_roles(bench, "train")
    sources = tuple(LmInput(*role, cache.key.size, cache.key.layers) for role, cache in zip(roles, caches, strict=True))
    data = _Split(tokens, tags, caches)
    dev_tokens, dev_tags = _labelled(bench, "dev")
    dev = _Split(dev_tokens, dev_tags, _caches(bench, "dev", dev_tokens, embedding, sources))
    before: dict[str, Any] | None = None  # facts of the tagger whose epochs are repeated
    if config.train_on == "train+dev":
        data, before = data + dev, load_spec(bench.inputs[TRAIN_ONLY].path)[1]
    vectors = [_vectors(bench, split) for split in ("train", "dev")] if with_vectors else []
    spec = TaggerSpec(
        config,
        tags_of(data.tags),
        TaggerWords.count(data.tokens, config.words.min_count),
        vectors[0].dim if vectors else config.words.size,
        sources,
        embedding,
    )
    fixed = FixedVectors.of(spec.words, vectors) if vectors else FixedVectors.none(spec.word_size)
    with bench.clock.once_in(reserved(device, bench.locks, bench.run.device_share, between=bench.stop.check)):
        seed_torch(seed, "tagger")
        start, known = start_vectors(spec, vectors, seed, Counter(chain.from_iterable(data.tokens)))
        network = build_network(spec, start, fixed).to(device.torch)
        job = TaggerJob(
            network,
            encode(spec, fixed, data.tokens, data.states, data.tags),
            None if before else (encode(spec, fixed, dev.tokens, dev.states), dev.tags),
            spec.tags,
            config,
            seed,
            droppable_rows(spec.words.single, len(spec.words), known),
            first_phase=before["first_phase_epochs"] if before else None,
            device=device,
        )
        train(
            job,
            checkpoints=Checkpoints(bench.work / "checkpoints", bench.run.keep_checkpoints),
            journal=bench.journal,
            stop=bench.stop,
            settings=LoopSettings(bench.run.checkpoint_seconds, bench.run.checkpoint_steps),
        )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    f1, epoch = job.schedule.best
    if before:
        f1 = before["dev_f1"]  # of the tagger that did not train on dev
    facts = {"parameters": parameters, "dev_f1": f1, "best_epoch": epoch, "seed": seed,
             "first_phase_epochs": job.schedule.first_phase_epochs, "vector_samples": samples(vectors)}  # fmt: skip
    save_tagger(network, spec, facts, bench.out)
    counts = {"parameters": parameters, "epochs": job.schedule.epoch, "best_epoch": epoch, "tags": len(spec.tags),
              "train_sentences": len(data.tokens), "words": len(spec.words)}  # fmt: skip
    return Built(counts, {"dev/f1": f1}, {"tagger": seed}, machine=device.describe())


def build_evaluation(bench: Bench) -> Built:
    """Tag one split with a trained tagger and score it."""
    split = bench.config["split"]
    device = open_device(bench.run.device, bench.run.threads)
    tokens, gold = _labelled(bench, split)
    folder = bench.inputs["tagger"].path
    spec, facts = load_spec(folder)
    fixed = FixedVectors.none(spec.word_size)
    if f"{split}/word-vectors" in bench.inputs:
        fixed = FixedVectors.of(spec.words, [_vectors(bench, split)])
    with bench.clock.once_in(reserved(device, bench.locks, bench.run.device_share, between=bench.stop.check)):
        network = load_network(folder, spec, fixed, device.torch)
        data = encode(spec, fixed, tokens, _caches(bench, split, tokens, spec.embedding, spec.lm))
        predicted = decode_all(network, data, spec.tags)
        confidence = confidences(network, data, predicted, spec.tags)
    predictions = Predictions(range(len(tokens)), tokens, gold, predicted, *confidence)
    calibration = {
        "tokens": calibrate_tokens(gold, predicted, confidence.tokens),
        "spans": calibrate_spans(gold, predicted, confidence.spans),
    }
    write_predictions(bench.out / "predictions.parquet", predictions)
    check_same_tokens(tokens, read_predictions(bench.out / "predictions.parquet").tokens)
    write_conlleval(bench.out / "conlleval.txt", predictions)
    scores = score(gold, predicted)
    known = set(spec.tags)
    data_out = {
        "split": split,
        "parameters": facts["parameters"],
        "dev_f1": facts["dev_f1"],
        "scores": scores.to_dict(),
        "type_confusion": type_confusion(gold, predicted),
        "calibration": {name: found.to_dict() for name, found in calibration.items()},
        "tags_unseen_in_training": sorted({tag for sentence in gold for tag in sentence} - known),
    }
    _write_json(bench.out / "scores.json", data_out)
    counts = {"sentences": len(tokens), "tokens": sum(map(len, tokens))}
    metrics = {f"{split}/f1": scores.micro.f1, f"{split}/calibration_error_spans": calibration["spans"].error}
    return Built(counts, metrics, machine=device.describe())


def build_report(bench: Bench) -> Built:
    """Compare the variants on test: mean, standard deviation, significance against the first, where they err.

    Without a test split they are compared on dev.
    """
    config = bench.config
    split = "test" if any(role.startswith("test/") for role in bench.inputs) else "dev"
    rows, unseen = [], set()
    for variant in config["variants"]:
        for seed in config["seeds"]:
            folder = bench.inputs[f"{split}/{variant}/{seed}"].path
            unseen.update(_read_json(folder / "scores.json")["tags_unseen_in_training"])
            rows.append(EvaluationRow.read(variant, seed, folder))
    significance = config["significance"]
    comparison = build_comparison(
        rows,
        reference=config["variants"][0],
        rounds=significance["rounds"],
        seed=significance["seed"],
        split=split,
    )
    learnt_from = [role for role in (TRAIN_CORPUS, DEV_CORPUS) if role in bench.inputs]
    measured, dev = _errors(bench, split, learnt_from), _errors(bench, "dev", [TRAIN_CORPUS], MISTAKES)
    _write_json(bench.out / "report.json", to_json(comparison))
    _write_json(bench.out / "errors.json", {
        name: {variant: found.to_dict() for variant, found in errors.items()}
        for name, errors in ((split, measured), ("dev", dev))
    })  # fmt: skip
    text = f"{to_markdown(comparison)}\n{errors_to_markdown(measured, dev, split)}"
    if unseen:
        known = {
            kind for role in learnt_from for kind in _read_json(bench.inputs[role].path / "counts.json")["entities"]
        }
        note = f"entities of the {split} split that training has none of, counted as errors: {_in_words(unseen, known)}"
        logger.warning("%s", note)
        text += f"\nNote: {markdown_text(note)}.\n"
    (bench.out / "report.md").write_text(text, encoding="utf-8")
    # Imported here: the processes that train and evaluate import this module, too, and draw nothing.
    from taglm_core.evaluation.figures import f1_bars, reliability_figure, strata_bars

    calibrations = {
        f"{variant}, spans": pool(
            Calibration.from_dict(row.calibration["spans"]) for row in rows if row.variant == variant
        )
        for variant in config["variants"]
    }
    figures = {
        "f1.png": f1_bars(comparison),
        "f1_by_kind_of_entity.png": strata_bars(strata_samples(measured)),
        "reliability.png": reliability_figure(calibrations),
    }
    for name, figure in figures.items():
        figure.savefig(bench.out / name, dpi=120)
    return Built(
        {"variants": len(config["variants"]), "seeds": len(config["seeds"])}, not_payload=("report.md", *figures)
    )


def _errors(bench: Bench, split: str, learnt_from: Sequence[str], mistakes: int = 0) -> dict[str, VariantErrors]:
    """The error analysis of every variant on a split, seen from the corpora of these roles."""
    files = {
        variant: [
            bench.inputs[f"{split}/{variant}/{seed}"].path / "predictions.parquet" for seed in bench.config["seeds"]
        ]
        for variant in bench.config["variants"]
    }
    return analyse_errors(
        files,
        [path for role in learnt_from for path in corpus_files(bench.inputs[role].path)],
        threads=bench.run.threads,
        memory_limit=bench.run.memory_limit,
        temp_dir=bench.work / "duckdb",
        mistakes=mistakes,
    )


_LENGTHS = {"S": "of one word", "B": "of several words", "E": "of several words", "I": "of three words or more"}


def _in_words(unseen: set[str], known: set[str]) -> str:
    """BIOES tags that training lacks, as people name them: types, or entity lengths of a known type."""
    kinds = {split_tag(tag)[1] for tag in unseen} - known
    lengths = {f"{kind} {_LENGTHS[prefix]}" for prefix, kind in map(split_tag, unseen) if kind in known}
    return ", ".join([*(f"type {kind}" for kind in sorted(kinds)), *sorted(lengths)])


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")


def _labelled(bench: Bench, split: str) -> Sentences:
    sentences = load_sentences(bench.inputs[f"{split}/corpus"].path)
    if any(tags is None for _, tags in sentences):
        raise InputError(
            f"{split} split", None, "sentences without tags", "tags", "give a CoNLL file with a tag column"
        )
    return [tokens for tokens, _ in sentences], [tags for _, tags in sentences if tags is not None]


def _lm_roles(bench: Bench, split: str) -> list[tuple[str, str]]:
    """(language model, direction) of the embeddings a split has, in a fixed order."""
    prefix = f"{split}/embeddings/"
    roles = [role.removeprefix(prefix).rsplit("/", 1) for role in bench.inputs if role.startswith(prefix)]
    return sorted((name, direction) for name, direction in roles)


def _caches(
    bench: Bench,
    split: str,
    tokens: Sequence[Sequence[str]],
    embedding: EmbeddingConfig,
    sources: Sequence[LmInput] = (),
) -> list[EmbeddingCache]:
    """The embeddings of a split, checked to be of these sentences and language models, and read out in this way."""
    caches = []
    layers = {(source.name, source.direction): {"layers": source.layers} for source in sources}
    for name, direction in _lm_roles(bench, split):
        cache = EmbeddingCache(
            bench.inputs[f"{split}/embeddings/{name}/{direction}"].path,
            language_model=bench.inputs[f"language-model/{name}/{direction}"].ref.digest,
            corpus=bench.inputs[f"{split}/corpus"].ref.digest,
            precision=embedding.precision,
            context=str(embedding.context),
            token_map=embedding.token_map,
            version=KINDS["embeddings"].version,
            **layers.get((name, direction), {}),
        )
        cache.check(tokens)
        caches.append(cache)
    return caches


def _embedding(bench: Bench) -> EmbeddingConfig:
    """How the states of the language models were read out for training: new text must be read in the same way."""
    configs = [
        artifact.manifest.recipe.config
        for role, artifact in bench.inputs.items()
        if role.startswith("train/embeddings/")
    ]
    return EmbeddingConfig.model_validate(configs[0]) if configs else EmbeddingConfig()


def _vectors(bench: Bench, split: str) -> WordVectors:
    return load_vectors(bench.inputs[f"{split}/word-vectors"].path)
