"""Ingest: raw files to stored corpora, one per split."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.demo.generate import generate
from taglm_core.corpus.parquet import CorpusCounts, read_corpus, write_corpus
from taglm_core.corpus.schemes import Scheme, SchemeEvidence
from taglm_core.corpus.sentence import ReadCounts, Sentence, map_tokens
from taglm_core.corpus.split import split_corpus
from taglm_core.corpus.statistics import corpus_statistics, overlap
from taglm_core.corpus.text import read_text
from taglm_core.stages.building import Bench, Built

logger = logging.getLogger("taglm")
SCHEME_FILE = "scheme.json"
MOST_NOTES = 5


def build_demo_corpus(bench: Bench) -> Built:
    """Generate the demo corpus as the raw files that the other steps read."""
    counts = generate(bench.out, **bench.config)
    return Built(counts=counts, seeds={"demo": bench.config["seed"]})


def build_tag_scheme(bench: Bench) -> Built:
    """Find the tag scheme of the labelled files, all splits together.

    Only the scheme's name is payload: other test bytes of the same scheme change nothing downstream.
    """
    evidence = SchemeEvidence()
    columns = bench.config["columns"]
    for path in (*(path for files in bench.files.values() for path in files), *_demo_files(bench)):
        for sentence in read_conll([path], word_column=columns["word"], tag_column=columns["tag"]):
            evidence.add(sentence.tags or (), sentence.path, sentence.line)
    doubt = evidence.doubt()
    if doubt is not None:
        logger.warning("%s", doubt)
    _write_json(bench.out / SCHEME_FILE, {"scheme": str(evidence.decide())})
    _write_json(bench.out / "evidence.json", evidence.describe())
    return Built(not_payload=("evidence.json",))


def build_corpus(bench: Bench) -> Built:
    """Read one split into Parquet, draw one from another, or write its words as the language models' text does."""
    config = bench.config
    if "token_map" in config:
        counts = write_corpus(_mapped(bench.inputs["source"].path, config["token_map"]), bench.out, scheme=None)
        return _corpus_built(bench, counts, {})
    if "complement" in config:
        source = bench.inputs["source"].path
        counts = split_corpus(
            source,
            bench.out,
            seed=config["seed"],
            count=config["count"],
            fraction=config["fraction"],
            complement=config["complement"],
        )
        return _corpus_built(bench, counts, {"draw": config["seed"]})
    paths = bench.files["file"] if "file" in bench.files else [bench.inputs["demo"].path / config["demo_file"]]
    read = ReadCounts()
    if config["format"] == "text":
        counts = write_corpus(read_text(paths, counts=read), bench.out, scheme=None, read=read)
        _say_notes(bench, read.notes)
        return _corpus_built(bench, counts, {})
    columns = config["columns"]
    sentences = read_conll(paths, word_column=columns["word"], tag_column=columns["tag"], counts=read)
    counts = write_corpus(sentences, bench.out, scheme=_scheme(bench), read=read)
    _say_notes(bench, read.notes)
    return _corpus_built(bench, counts, {})


def build_statistics(bench: Bench) -> Built:
    """Statistics of every split, duplicates, and what the splits share: for people, read by no other step."""
    settings: dict[str, Any] = {
        "threads": bench.run.threads,
        "memory_limit": bench.run.memory_limit,
        "temp_dir": bench.work / "duckdb",
    }
    corpora = {name: artifact.path for name, artifact in bench.inputs.items()}
    figures = {name: corpus_statistics(path, **settings) for name, path in corpora.items()}
    result = {"corpora": figures, "overlap": overlap(corpora, **settings)}
    _write_json(bench.out / "statistics.json", result)
    return Built()


def _say_notes(bench: Bench, notes: list[str]) -> None:
    for note in notes[:MOST_NOTES]:
        bench.journal.warning(0, note)
    if len(notes) > MOST_NOTES:
        bench.journal.warning(0, f"and so in {len(notes) - MOST_NOTES:,} more files")


def _corpus_built(bench: Bench, counts: CorpusCounts, seeds: dict[str, int]) -> Built:
    told = counts.to_dict()
    _write_json(bench.out / "counts.json", told)
    numbers = {name: value for name, value in told.items() if isinstance(value, int)}
    return Built(counts=numbers, seeds=seeds, not_payload=("counts.json",))


def _mapped(corpus: Path, token_map: Mapping[str, str]) -> Iterator[Sentence]:
    for sentence in read_corpus(corpus):
        yield Sentence(map_tokens(sentence.tokens, token_map), None, sentence.document_id, line=1)


def _scheme(bench: Bench) -> Scheme:
    if "scheme" in bench.config:
        return Scheme(bench.config["scheme"])
    found = json.loads((bench.inputs["scheme"].path / SCHEME_FILE).read_text(encoding="utf-8"))
    return Scheme(found["scheme"])


def _demo_files(bench: Bench) -> Iterator[Path]:
    for name in bench.config["demo_files"].values():
        yield bench.inputs["demo"].path / name


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")
