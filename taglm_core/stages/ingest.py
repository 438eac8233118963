"""Ingest: raw files to stored corpora, one per split."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.conll_faults import Columns, Separator
from taglm_core.corpus.demo.generate import generate
from taglm_core.corpus.layout import FoundLayout, Layout, find_layout
from taglm_core.corpus.parquet import CorpusCounts, read_corpus, write_corpus
from taglm_core.corpus.schemes import Scheme
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
    """Find the tag scheme of the labelled files, all splits together, and what is unusual in how they are written.

    Nothing else is payload: other test bytes in the same layout change nothing downstream.
    """
    paths = [*(path for files in bench.files.values() for path in files), *_demo_files(bench)]
    paths = list(dict.fromkeys(paths))  # a file may be two splits; its bad lines are named once
    found = _find_layout(bench, paths, scheme=None)
    _write_json(bench.out / SCHEME_FILE, found.layout.to_dict())
    doubt = {"doubt": found.doubts[0]} if found.doubts else {}
    _write_json(bench.out / "evidence.json", {**found.evidence.describe(), **doubt})
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
    layout = _layout(bench, paths)
    where = Columns(columns["word"], columns["tag"], layout.separator, layout.notation)
    sentences = read_conll(paths, where, counts=read)
    strict = config.get("strict", False)
    counts = write_corpus(
        sentences, bench.out, scheme=layout.scheme, notation=layout.notation, strict=strict, read=read
    )
    _say_notes(bench, read.notes)
    _say_what_was_met(counts, layout)
    return _corpus_built(bench, counts, {}, layout)


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


def _corpus_built(bench: Bench, counts: CorpusCounts, seeds: dict[str, int], layout: Layout | None = None) -> Built:
    told = counts.to_dict()
    if layout is not None and layout != Layout(layout.scheme):  # an unusual one, for those who look at the file again
        told["layout"] = layout.to_dict()
    _write_json(bench.out / "counts.json", told)
    numbers = {name: value for name, value in told.items() if isinstance(value, int)}
    return Built(counts=numbers, seeds=seeds, not_payload=("counts.json",))


def _mapped(corpus: Path, token_map: Mapping[str, str]) -> Iterator[Sentence]:
    for sentence in read_corpus(corpus):
        yield Sentence(map_tokens(sentence.tokens, token_map), None, sentence.document_id, line=1)


def _layout(bench: Bench, paths: Sequence[Path]) -> Layout:
    """The layout found over all splits, or over this one where the experiment names the scheme."""
    if "scheme" in bench.config:
        return _find_layout(bench, paths, scheme=Scheme(bench.config["scheme"])).layout
    return Layout.from_dict(json.loads((bench.inputs["scheme"].path / SCHEME_FILE).read_text(encoding="utf-8")))


def _find_layout(bench: Bench, paths: Sequence[Path], scheme: Scheme | None) -> FoundLayout:
    config = bench.config
    found = find_layout(
        paths,
        **config["columns"],
        separator=Separator(config["separator"]) if "separator" in config else None,
        scheme=scheme,
        strict=config.get("strict", False),
    )
    for remark in found.remarks:
        logger.info("%s", remark)
    for doubt in found.doubts:
        logger.warning("%s", doubt)
    return found


def _say_what_was_met(counts: CorpusCounts, layout: Layout) -> None:
    if counts.comment_lines:
        logger.info("comment lines (they begin with #) that are skipped: %s", f"{counts.comment_lines:,}")
    if counts.repaired_tags:
        logger.warning(
            "tags that break the scheme %s: %s. They are read as conlleval reads them; labelled.strict: true refuses "
            "them. The first of them:\n  %s",
            layout.scheme.upper(),
            f"{counts.repaired_tags:,}",
            "\n  ".join(counts.repairs[:3]),
        )


def _demo_files(bench: Bench) -> Iterator[Path]:
    for name in bench.config["demo_files"].values():
        yield bench.inputs["demo"].path / name


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")
