"""Embed: language-model states, and word vectors, of the tokens of each labelled split."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from taglm_core.config.embedding import Context, EmbeddingConfig
from taglm_core.corpus.parquet import load_sentences, read_corpus
from taglm_core.corpus.sentence import map_tokens
from taglm_core.corpus.vector_table import write_vector_table
from taglm_core.corpus.word_vectors import WordVectors, read_vectors, write_vectors
from taglm_core.errors import OutOfResources
from taglm_core.lm.cache import INDEX, write_index
from taglm_core.lm.extraction import cache_key
from taglm_core.lm.model import TrainedLm, load_language_model
from taglm_core.lm.shards import Layout, lay_out
from taglm_core.pipeline.build import BuildContext, BuildResult
from taglm_core.pipeline.kinds import KINDS
from taglm_core.pipeline.roles import VECTORS
from taglm_core.stages.embed_shards import ShardWork, fill, memory_needed, sentences_of
from taglm_core.store.durable import read_json, write_json
from taglm_core.store.resources import available_memory, cores, require_disk, size_text
from taglm_core.training.devices import open_device, reserved
from taglm_core.training.journal import Journal

COVERAGE = "coverage.json"
MANY_MISSING = 0.5  # of all tokens
MACHINE = "machine.json"  # in the work folder: device and threads of the finished shards


def build_embeddings(context: BuildContext) -> BuildResult:
    """Compute the states of every token of a corpus; finished shards outlive a kill."""
    config = EmbeddingConfig.model_validate(context.config)
    device = open_device(context.run.device, context.run.threads)
    folder, corpus = context.inputs["language-model"], context.inputs["corpus"]
    layout = lay_out(sentences_of(corpus.path), shard_tokens=config.shard_tokens, context=config.context)
    _say_long_documents(layout, config, context.journal)
    with context.clock.untimed(
        reserved(device, context.locks, context.run.device_share, check_stop=context.stop.check)
    ):
        _require_memory(memory_needed(folder.path, max(layout.rows, default=0), config.batch_sentences))
        lm = load_language_model(folder.path, device.torch, predicts=False)
        key = cache_key(lm, config, language_model=folder.ref.digest, corpus=corpus.ref.digest,
                        version=KINDS["embeddings"].version)  # fmt: skip
        work = ShardWork(folder.path, corpus.path, context.work / "parts", config, key, tuple(layout.rows))
        _keep_parts_of(device.describe(), work.parts)
        missing = work.tidy()
        most = 1 if device.name != "cpu" else context.run.workers or cores()
        require_disk(context.work, work.disk_needed(missing, most), f"the cache of {sum(layout.rows):,} tokens")
        _say_repeated_sentences(layout, context.journal)
        fill(work, lm, context, missing, most - 1)
    largest = 0.0
    for number in range(len(work.rows)):
        part = work.finished(number)
        assert part is not None, f"{work.part(number)} was changed by somebody else"
        largest = max(largest, part.largest)
        _link(work.part(number), context.out)
    write_index(context.out / INDEX, layout.ranges, layout.digests, key)
    counts = {"sentences": len(layout.ranges), "tokens": layout.tokens, "rows": sum(layout.rows), "size": key.width}
    metrics = {"largest_state": largest, **unknown_rates(lm, corpus.path, config.token_map)}
    return BuildResult(counts, metrics, machine=device.describe())


def _require_memory(needed: int) -> None:
    if needed > (free := available_memory()):
        raise OutOfResources(
            f"embedding needs {size_text(needed)} of memory, and {size_text(free)} are available; stop other "
            "programs, set run.workers=1 so that less runs side by side, or take a smaller language model"
        )


def _keep_parts_of(machine: Mapping[str, str | int], parts: Path) -> None:
    """Remove shards of another device or number of threads: their last bits differ."""
    if read_json(parts / MACHINE) != dict(machine):
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        write_json(parts / MACHINE, dict(machine))


def _link(part: Path, folder: Path) -> None:
    """Put a finished shard into the object; until that is published, a later run finds the shard in the work folder."""
    try:
        os.link(part, folder / part.name)
    except OSError:  # a file system without hard links
        shutil.copyfile(part, folder / part.name)


def _say_long_documents(layout: Layout, config: EmbeddingConfig, journal: Journal) -> None:
    longest = max(layout.rows, default=0)
    if config.context is Context.DOCUMENT and longest > 4 * config.shard_tokens:
        journal.message(
            0,
            f"a document of about {longest:,} tokens is one unit of work; where a corpus has no marks of documents "
            "(-DOCSTART-, or a file each), all of it is one: embedding.context=sentence may be meant",
        )


def _say_repeated_sentences(layout: Layout, journal: Journal) -> None:
    if (read := sum(layout.rows)) < layout.tokens:
        text = f"the corpus has {layout.tokens:,} tokens; identical sentences are embedded once, which leaves {read:,}"
        journal.message(0, text)


def unknown_rates(lm: TrainedLm, corpus: Path, token_map: Mapping[str, str]) -> dict[str, float]:
    """Return the shares of all tokens, and of entity tokens, that the language model's vocabulary lacks."""
    counts: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for sentence in read_corpus(corpus):
        tokens = map_tokens(sentence.tokens, token_map)
        counts.update(tokens)
        inside.update(token for token, tag in zip(tokens, sentence.tags or (), strict=False) if tag != "O")
    words = list(counts)
    unknown = {word for word, out in zip(words, lm.vocabulary.is_unknown(lm.vocabulary.ids(words)), strict=True) if out}
    shares = {"unknown_rate": counts, "unknown_rate_entities": inside}
    return {name: sum(n for word, n in found.items() if word in unknown) / found.total()
            for name, found in shares.items() if found}  # fmt: skip


def _say_coverage(name: str, vectors: WordVectors, types: int, missing_rate: float, journal: Journal) -> None:
    missing = types - len(vectors.words)
    said = f"{name} has no vectors for {missing:,} of {types:,} different words ({missing_rate:.1%} of all tokens)"
    if missing_rate > MANY_MISSING:
        journal.warning(0, f"{said}: is it a file of this language, with words written and split as in the corpus?")
    else:
        journal.message(0, said)
    if vectors.not_utf8:
        journal.message(0, f"{name}: words cut off inside a character, which match nothing: {vectors.not_utf8:,}")


def build_word_vectors(context: BuildContext) -> BuildResult:
    """Read the rows of a vector file that the words of one split look up, with a coverage report."""
    counts = Counter(token for tokens, _ in load_sentences(context.inputs["corpus"].path) for token in tokens)
    (path,) = context.files[VECTORS]
    vectors = read_vectors(path, counts.keys(), counts=counts)
    write_vectors(vectors, context.out)
    write_json(context.out / COVERAGE, vectors.coverage, sort_keys=True)
    missing, total = vectors.coverage["missing"], counts.total()
    assert isinstance(missing, dict)
    metrics = {
        "missing_rate": missing["tokens"] / total if total else 0.0,
        "missing_rate_types": missing["types"] / len(counts) if counts else 0.0,
    }
    _say_coverage(path.name, vectors, len(counts), metrics["missing_rate"], context.journal)
    return BuildResult({"rows": len(vectors.words), "size": vectors.dim}, metrics, not_payload=(COVERAGE,))


def build_vector_table(context: BuildContext) -> BuildResult:
    """Write all vectors of a file as a table for exports."""
    (path,) = context.files[VECTORS]
    return BuildResult({"rows": write_vector_table(path, context.out)})
