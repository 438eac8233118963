"""Ingest: raw files to stored corpora, one per split."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from taglm_core.config.data import TextFormat
from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.demo.generate import generate
from taglm_core.corpus.layout import FoundLayout, Layout
from taglm_core.corpus.parquet import CorpusCounts, read_corpus, write_corpus, write_text_batches
from taglm_core.corpus.sentence import ReadCounts, Sentence, map_tokens
from taglm_core.corpus.split import split_corpus
from taglm_core.corpus.statistics import corpus_statistics, overlap
from taglm_core.corpus.text import read_text
from taglm_core.formats.documents import read_documents
from taglm_core.formats.labelled import LabelledReader, LabelledReading, what_was_met
from taglm_core.formats.segmenting import record_of, segment
from taglm_core.pipeline.build import BuildContext, BuildResult
from taglm_core.store.durable import write_json
from taglm_core.store.resources import cores

logger = logging.getLogger("taglm")
SCHEME_FILE = "scheme.json"
TOKENIZER_FILE = "tokenizer.json"
MOST_NOTES = 5


def build_demo_corpus(context: BuildContext) -> BuildResult:
    """Generate the demo corpus as the raw files that the other steps read."""
    counts = generate(context.out, **context.config)
    return BuildResult(counts=counts, seeds={"demo": context.config["seed"]})


def build_tag_scheme(context: BuildContext) -> BuildResult:
    """Find the tag scheme of the labelled files, all splits together, and what is unusual in how they are written.

    The payload holds nothing else: other test data in the same layout changes nothing downstream.
    """
    paths = [*(path for files in context.files.values() for path in files), *_demo_files(context)]
    paths = list(dict.fromkeys(paths))  # a file may serve as two splits; name its bad lines once
    found = _find_layout(LabelledReader(paths, LabelledReading.of(context.config)))
    write_json(context.out / SCHEME_FILE, found.layout.to_dict(), sort_keys=True)
    doubt = {"doubt": found.doubts[0]} if found.doubts else {}
    write_json(context.out / "evidence.json", {**found.evidence.describe(), **doubt}, sort_keys=True)
    return BuildResult(not_payload=("evidence.json",))


def build_corpus(context: BuildContext) -> BuildResult:
    """Read one split into Parquet, draw one from another, or write its words as the language models' text does."""
    config = context.config
    if "token_map" in config:
        counts = write_corpus(_mapped(context.inputs["source"].path, config["token_map"]), context.out, scheme=None)
        return _corpus_built(context, counts, {})
    if "complement" in config:
        source = context.inputs["source"].path
        counts = split_corpus(
            source,
            context.out,
            seed=config["seed"],
            count=config["count"],
            fraction=config["fraction"],
            complement=config["complement"],
        )
        return _corpus_built(context, counts, {"draw": config["seed"]})
    paths = context.files["file"] if "file" in context.files else [context.inputs["demo"].path / config["demo_file"]]
    read = ReadCounts()
    if config["format"] == "text":
        if "text_format" in config:
            counts = _write_raw_text(context, paths, read)
        else:
            counts = write_corpus(read_text(paths, counts=read), context.out, scheme=None, read=read)
        _say_notes(context, [*read.notes, *what_was_met(counts)])
        return _corpus_built(context, counts, {})
    reader = LabelledReader(paths, LabelledReading.of(config), read)
    layout = _layout(context, reader)
    counts = write_corpus(
        reader.sentences(layout),
        context.out,
        scheme=layout.scheme,
        notation=layout.notation,
        strict=reader.reading.strict,
        read=read,
    )
    if reader.tokenizer is not None:
        write_json(context.out / TOKENIZER_FILE, reader.tokenizer.to_json(), sort_keys=True)
    _say_notes(context, read.notes)
    _say_what_was_met(counts, layout)
    return _corpus_built(context, counts, {}, layout)


def _write_raw_text(context: BuildContext, paths: Sequence[Path], read: ReadCounts) -> CorpusCounts:
    """Write a text that comes as documents or rows, with the record of its tokenizer beside it."""
    config = context.config
    documents = read_documents(paths, TextFormat(config["text_format"]), config.get("column"), counts=read)
    record = record_of(config)
    if record is not None:
        write_json(context.out / TOKENIZER_FILE, record.to_json(), sort_keys=True)
    batches = segment(documents, record, processes=context.run.workers or cores(), check_stop=context.stop.check)
    return write_text_batches(batches, context.out, read=read)


def build_statistics(context: BuildContext) -> BuildResult:
    """Compute statistics, duplicates and overlap of all splits: for people, read by no other step."""
    limits = DatabaseLimits(context.run.threads, context.run.memory_limit, context.work / "duckdb")
    corpora = {name: artifact.path for name, artifact in context.inputs.items()}
    figures = {name: corpus_statistics(path, limits) for name, path in corpora.items()}
    result = {"corpora": figures, "overlap": overlap(corpora, limits)}
    write_json(context.out / "statistics.json", result, sort_keys=True)
    return BuildResult()


def _say_notes(context: BuildContext, notes: list[str]) -> None:
    for note in notes[:MOST_NOTES]:
        context.journal.warning(0, note)
    if len(notes) > MOST_NOTES:
        context.journal.warning(0, f"and so in {len(notes) - MOST_NOTES:,} more files")


def _corpus_built(
    context: BuildContext, counts: CorpusCounts, seeds: dict[str, int], layout: Layout | None = None
) -> BuildResult:
    described = counts.to_dict()
    if layout is not None and layout != Layout(layout.scheme):  # an unusual layout, for later readers of the raw file
        described["layout"] = layout.to_dict()
    write_json(context.out / "counts.json", described, sort_keys=True)
    numbers = {name: value for name, value in described.items() if isinstance(value, int)}
    beside = [name for name in ("counts.json", TOKENIZER_FILE) if (context.out / name).is_file()]
    return BuildResult(counts=numbers, seeds=seeds, not_payload=tuple(beside))


def _mapped(corpus: Path, token_map: Mapping[str, str]) -> Iterator[Sentence]:
    for sentence in read_corpus(corpus):
        yield Sentence(map_tokens(sentence.tokens, token_map), None, sentence.document_id, line=1)


def _layout(context: BuildContext, reader: LabelledReader) -> Layout:
    """Return the layout found over all splits, or over this one if the experiment names the scheme."""
    if "scheme" in context.inputs:
        return Layout.from_dict(json.loads((context.inputs["scheme"].path / SCHEME_FILE).read_bytes()))
    return _find_layout(reader).layout


def _find_layout(reader: LabelledReader) -> FoundLayout:
    found = reader.layout()
    for remark in found.remarks:
        logger.info("%s", remark)
    for doubt in found.doubts:
        logger.warning("%s", doubt)
    return found


def _say_what_was_met(counts: CorpusCounts, layout: Layout) -> None:
    if counts.comment_lines:
        logger.info("comment lines (they begin with #) that are skipped: %s", f"{counts.comment_lines:,}")
    for line in what_was_met(counts):
        logger.warning("%s", line)
    if counts.repaired_tags:
        logger.warning(
            "tags that break the scheme %s: %s. They are read as conlleval reads them; labelled.strict: true refuses "
            "them. The first of them:\n  %s",
            layout.scheme.upper(),
            f"{counts.repaired_tags:,}",
            "\n  ".join(counts.repairs[:3]),
        )


def _demo_files(context: BuildContext) -> Iterator[Path]:
    for name in context.config["demo_files"].values():
        yield context.inputs["demo"].path / name
