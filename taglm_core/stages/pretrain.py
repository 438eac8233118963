"""Pretrain: text to vocabulary, token ids, and one language model per direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from taglm_core.config.language_model import CharCnnInput, Direction, LanguageModelConfig, Unknown
from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.token_bytes import count_cut
from taglm_core.corpus.token_ids import EXTRA_WORDS_FILE, Shard, TokenIds, write_token_ids
from taglm_core.corpus.vocabulary import WORDS_FILE, count_words
from taglm_core.errors import InputError
from taglm_core.evaluation.curves import CURVE, language_model_curve
from taglm_core.lm.lm_training import Intervals, LmTraining
from taglm_core.lm.lm_vocabulary import LmVocabulary
from taglm_core.lm.model import TrainedLm, WordTable, build_network, load_language_model, save_language_model
from taglm_core.lm.pretrained import NO_ROW, PretrainedVectors
from taglm_core.lm.reading import Sentences, break_state, perplexity_from_state
from taglm_core.lm.streams import Streams
from taglm_core.nn.lm_network import LanguageModel, LmState
from taglm_core.pipeline.bases import require_same_shape
from taglm_core.pipeline.build import BuildContext, BuildResult
from taglm_core.pipeline.roles import BASE, VECTORS
from taglm_core.store.durable import read_json, write_json
from taglm_core.training.checkpoints import Checkpoints
from taglm_core.training.devices import open_device, reserved
from taglm_core.training.journal import JOURNAL, read_events
from taglm_core.training.loop import LoopSettings, train
from taglm_core.training.randomness import seed_torch
from taglm_core.training.ranks import ALONE, Ranks

BREAK_STREAMS = 32
TOKENS_PER_SHARD = 4_000_000
PASSAGE = "passage_sentences"  # key in the config of a step; absent if each sentence is shuffled by itself


def build_vocabulary(context: BuildContext) -> BuildResult:
    """Count the words of the training part of the text."""
    counts = count_words(
        context.inputs["text"].path,
        context.out / WORDS_FILE,
        DatabaseLimits(context.run.threads, context.run.memory_limit, context.work / "duckdb"),
        heldout_fraction=context.config["heldout_fraction"],
        min_count=1,
    )
    return BuildResult(counts=counts)


def build_token_ids(context: BuildContext) -> BuildResult:
    """Write the text as word numbers, in shards."""
    counts = write_token_ids(
        context.inputs["text"].path,
        context.inputs["vocabulary"].path / WORDS_FILE,
        context.out,
        shards=context.config["shards"] or _shards(context.inputs["vocabulary"].manifest.counts["train_tokens"]),
        heldout_fraction=context.config["heldout_fraction"],
        passage=context.config.get(PASSAGE, 1),
    )
    return BuildResult(counts=counts)


def _shards(tokens: int) -> int:
    """Return a number of shards that bounds memory, up to as many files as a process may have open."""
    return min(400, max(16, -(-tokens // TOKENS_PER_SHARD)))


def build_language_model(context: BuildContext) -> BuildResult:
    """Train one direction, measure it on held-out text, and find its break state."""
    settings = dict(context.config)
    direction, passage = Direction(settings.pop("direction")), settings.pop(PASSAGE, 1)
    config = LanguageModelConfig.model_validate({**settings, "directions": (direction,)})
    ranks = context.ranks or ALONE
    device = open_device(
        context.run.device,
        context.run.threads,
        precision=context.run.precision,
        compiled=context.run.compile,
        ranks=ranks,
    )
    words_file, folder = context.inputs["vocabulary"].path / WORDS_FILE, context.inputs["token-ids"].path
    text = TokenIds.open(folder)
    base = _base(context, config, direction)
    vocabulary = _most_frequent(words_file, config) if base is None else base.vocabulary
    vectors = _vectors(context, config, vocabulary) if base is None else base.vectors
    words = _all_words(words_file, folder)
    table = WordTable(words, vocabulary, config, vectors)
    heldout = _reading_order(text.heldout, direction)
    if not heldout:
        raise InputError(
            "what the language model reads", None, "no held-out sentence", "at least one",
            "give more text, or raise unlabelled.heldout_fraction",
        )  # fmt: skip
    with context.clock.once_in(reserved(device, context.locks, context.run.device_share, ranks, context.stop.check)):
        seed_torch(config.seed, "language-model", str(direction))
        network = device.prepared(build_network(config, len(vocabulary), vectors=vectors))
        start = None if base is None else _start_from(base, network, device.torch)
        del base  # the network has its weights
        if not ranks.is_main:  # the same initial weights as the main rank, but other dropout
            seed_torch(config.seed, "language-model", str(direction), "rank", ranks.rank)
        backward = direction is Direction.BACKWARD
        streams = Streams(
            text.train_shards, streams=config.streams, window=config.window, backward=backward, seed=config.seed,
            passage=passage,
        )  # fmt: skip
        intervals = Intervals(context.run.log_steps, context.run.evaluate_steps)
        training = LmTraining(network, table, streams, heldout, config, intervals, device, ranks, start)
        training.measure()
        before = {} if start is None else _look_before(training, context, ranks)
        train(
            training,
            checkpoints=Checkpoints(context.work / "checkpoints", context.run.keep_checkpoints),
            journal=context.journal,
            stop=context.stop,
            settings=LoopSettings(context.run.checkpoint_seconds, context.run.checkpoint_steps),
            ranks=ranks,
        )
        training.take_average()
        perplexity, ended = training.heldout_perplexity(), training.states(BREAK_STREAMS)
        if not ranks.is_main:
            return BuildResult()
        with device.exact():
            network.eval()
            state = break_state(network, table, heldout[: config.break_sentences], ended)
            metrics = _perplexities(network, table, vocabulary, heldout, state)
    save_language_model(TrainedLm(network, vocabulary, config, direction, state, vectors), context.out)
    metrics |= {"heldout/perplexity": perplexity, "tokens_per_second": training.tokens_per_second()}
    context.journal.metrics(training.step, metrics)
    metrics |= before  # the journal holds it as step 0
    tokens = config.steps * config.step_tokens
    counts = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "vocabulary": len(vocabulary),
        "training_tokens": tokens,
        **_history(context, tokens),
        "unread_tokens": streams.unread,
        "epochs_started": streams.epoch + 1,
        "text_tokens": text.train_tokens,
    }
    if isinstance(config.input, CharCnnInput):
        counts["words_cut"] = count_cut(words, max_bytes=config.input.max_bytes)
    if vectors is not None and table.rows is not None:
        counts |= {"words": len(words), "words_with_vectors": int((table.rows >= 0).sum()),
                   "vectors": len(vectors.words), "vectors_in_file": vectors.in_file}  # fmt: skip
    drawn = _draw_curve(context, config)
    return BuildResult(counts, metrics, {"language_model": config.seed}, not_payload=drawn, machine=device.describe())


def _draw_curve(context: BuildContext, config: LanguageModelConfig) -> tuple[str, ...]:
    """Draw the curve of the whole training from its journal; return the names of the files."""
    events = [event for event, _ in read_events(context.work / JOURNAL)]
    figure = language_model_curve(events, config.step_tokens)
    if figure is None:
        return ()
    figure.savefig(context.out / CURVE, dpi=120)
    return (CURVE,)


def _most_frequent(words_file: Path, config: LanguageModelConfig) -> LmVocabulary:
    return LmVocabulary.select(
        words_file, size=config.vocabulary_size, min_count=config.min_count, shapes=config.unknown is Unknown.SHAPE
    )


def _vectors(context: BuildContext, config: LanguageModelConfig, vocabulary: LmVocabulary) -> PretrainedVectors | None:
    if config.vectors is None:
        return None
    (path,) = context.files[VECTORS]
    vectors = PretrainedVectors.read(path)
    if vectors.in_file > len(vectors.words):
        context.journal.message(
            0,
            f"the first {len(vectors.words):,} words of {path.name} are read, of {vectors.in_file:,} vectors in it",
        )
    missing, known = int((vectors.rows(vocabulary.words) == NO_ROW).sum()), len(vocabulary.words)
    say = context.journal.warning if 2 * missing > known else context.journal.message
    say(0, f"{path.name} has no vectors for {missing:,} of the {known:,} words that this language model knows")
    return vectors


def _base(context: BuildContext, config: LanguageModelConfig, direction: Direction) -> TrainedLm | None:
    """Load the language model to go on from, or None (on the CPU; loading draws from the generators: seed after it).

    Raises:
        MismatchError: it has another shape or direction.
    """
    if BASE not in context.inputs:
        return None
    base = context.inputs[BASE]
    require_same_shape("language_models.*", base.manifest.recipe.config, config, direction, base.ref.digest)
    return load_language_model(base.path, torch.device("cpu"))


def _start_from(base: TrainedLm, network: LanguageModel, device: torch.device) -> LmState:
    """Give a network the base's weights; the state its streams start from."""
    network.load_state_dict(base.network.state_dict())
    return LmState(*(part.to(device) for part in base.break_state))


def _look_before(training: LmTraining, context: BuildContext, ranks: Ranks) -> dict[str, float]:
    """Measure held-out perplexity of the base, once: kept with the unfinished work for runs that resume it."""
    path = context.work / "before.json"
    known = read_json(path)
    if ranks.broadcast(known is not None):
        return dict(known or {})
    value = training.heldout_perplexity()  # all ranks together
    found = {"heldout/perplexity_before": value}
    if ranks.is_main:
        context.journal.metrics(0, found)
        vectors = "; its word vectors are this one's, too" if "vectors" in context.config else ""
        about = f"held-out perplexity of the language model that this one goes on from: {value:.1f}{vectors}"
        context.journal.message(0, about)
        write_json(path, found)
    return found


def _history(context: BuildContext, tokens: int) -> dict[str, int]:
    """Return training tokens including those of all models before, and the number of these models."""
    if BASE not in context.inputs:
        return {"training_tokens_total": tokens, "continued": 0}
    counts = context.inputs[BASE].manifest.counts
    before = counts.get("training_tokens_total", counts["training_tokens"])
    return {"training_tokens_total": before + tokens, "continued": counts.get("continued", 0) + 1}


def _perplexities(
    network: LanguageModel, table: WordTable, vocabulary: LmVocabulary, heldout: Sentences, state: LmState
) -> dict[str, float]:
    """Measure the held-out sentences, each read by itself: from the break state and from zero."""
    unknown = torch.from_numpy(vocabulary.is_unknown(np.arange(len(vocabulary))))
    from_break = perplexity_from_state(network, table, heldout, state, unknown)
    from_zero = perplexity_from_state(network, table, heldout, network.zero_state(1), unknown)
    return {
        "heldout/perplexity_break_state": from_break.perplexity,
        "heldout/perplexity_zero_state": from_zero.perplexity,
        "heldout/unknown_rate": from_break.unknown,
        "heldout/tokens": float(from_break.tokens),
    }


def _reading_order(shard: Shard, direction: Direction) -> Sentences:
    step = -1 if direction is Direction.BACKWARD else 1
    return [shard.sentence(number)[::step] for number in range(len(shard))]


def _all_words(words_file: Path, token_ids: Path) -> list[str]:
    """Return words by number: those of the training part, then those that only held-out sentences have."""
    words: list[str] = pq.read_table(words_file, columns=["word"])["word"].to_pylist()
    extra: list[str] = pq.read_table(token_ids / EXTRA_WORDS_FILE, columns=["word"])["word"].to_pylist()
    return words + extra
