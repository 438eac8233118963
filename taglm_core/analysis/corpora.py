"""Report on the corpora of an experiment: one row per split, and findings about them."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from taglm_core.config.data import FindingName
from taglm_core.corpus.conll import ConllReader
from taglm_core.corpus.conll_faults import Columns
from taglm_core.corpus.files import open_text
from taglm_core.corpus.findings import judge
from taglm_core.corpus.layout import Layout
from taglm_core.corpus.parquet import read_corpus
from taglm_core.corpus.schemes import to_spans
from taglm_core.corpus.sentence import StoredSentence
from taglm_core.corpus.split_facts import TEXT, TRAIN, Finding, SplitFacts, TagColumns
from taglm_core.errors import CorpusRefused
from taglm_core.formats.labelled import LabelledReader, LabelledReading
from taglm_core.pipeline.context import PipelineContext
from taglm_core.pipeline.corpora_steps import STATISTICS
from taglm_core.pipeline.steps import Graph, Step
from taglm_core.store.records import Ref
from taglm_core.store.store import Store

logger = logging.getLogger("taglm")
SAMPLE = 5_000
"""Sentences of each corpus that are examined; counts cover all sentences."""

COLUMN_SAMPLE = 1_000
"""Sentences of the training file in which other columns are examined."""


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """One corpus as read.

    Attributes:
        split: train, dev, test or text.
        source: raw files as the experiment names them, or the files that the corpus was drawn from.
        sentences: number of sentences; None if the corpus has not been read yet.
        tokens: number of tokens.
        entities: entities by type, most frequent first; empty for text.
        scheme: tag scheme of the files.
        columns: columns of word and tag.
        first: first sentence with the tags of the file.
    """

    split: str
    source: str
    sentences: int | None = None
    tokens: int = 0
    entities: Mapping[str, int] | None = None
    scheme: str = ""
    columns: str = ""
    first: str = ""


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """All corpora of an experiment, and the findings that its settings do not accept."""

    rows: tuple[CorpusRow, ...]
    findings: tuple[Finding, ...]

    @property
    def stopping(self) -> tuple[Finding, ...]:
        """Return the findings that make results meaningless."""
        return tuple(finding for finding in self.findings if finding.stops)


def report_corpora(context: PipelineContext, refs: Mapping[str, Ref]) -> CorpusReport:
    """Report on the corpora of an experiment; a corpus that is not stored yet has a row without figures.

    Args:
        context: context of the experiment.
        refs: its stored objects by step name.
    """
    experiment, graph, store = context.experiment, context.graph, context.store
    corpora = {split: graph[f"corpus/{split}"] for split in (*experiment.splits, TEXT) if f"corpus/{split}" in graph}
    samples = {
        split: list(islice(read_corpus(store.folder(refs[step.name]), batch_size=SAMPLE), SAMPLE))
        for split, step in corpora.items()
        if step.name in refs
    }
    reader = _Reader(graph, store, refs)
    rows = tuple(reader.row(split, step, samples.get(split)) for split, step in corpora.items())
    if STATISTICS not in refs or samples.keys() != corpora.keys():
        return CorpusReport(rows, ())
    found = judge(reader.facts(corpora, samples), reader.columns(corpora.get(TRAIN)))
    found += reader.scheme_doubt()
    accepted = {
        False: experiment.labelled.accept if experiment.labelled else (),
        True: experiment.unlabelled.accept if experiment.unlabelled else (),
    }
    kept = (finding for finding in found if finding.name not in accepted[finding.split == TEXT])
    return CorpusReport(rows, tuple(reader.located(finding, corpora[finding.split]) for finding in kept))


def refuse_meaningless(report: CorpusReport) -> None:
    """Refuse corpora on which results would be meaningless.

    Raises:
        CorpusRefused: lists each such finding with its remedy and the setting that accepts it.
    """
    if report.stopping:
        raise CorpusRefused(
            "\n".join(["the corpora were read, but cannot be used like this:", *map(finding_text, report.stopping)])
        )


def finding_text(finding: Finding) -> str:
    """Return a finding in one line: file and line, fault, remedy, and the setting that accepts it."""
    section = "unlabelled" if finding.split == TEXT else "labelled"
    where = f"{finding.where}: " if finding.where else ""
    accept = f"; if this is intended: {section}.accept=[{finding.name}]"
    return f"{where}{finding.what}; {finding.remedy}{accept}"


class _Reader:
    """Reader of the stored corpora of an experiment."""

    def __init__(self, graph: Graph, store: Store, refs: Mapping[str, Ref]) -> None:
        self._graph, self._store, self._refs = graph, store, refs

    def row(self, split: str, step: Step, sample: Sequence[StoredSentence] | None) -> CorpusRow:
        row = CorpusRow(split, self._source(step))
        if sample is None:
            return row
        counts = self._counts(step)
        return replace(
            row,
            sentences=counts["sentences"],
            tokens=counts["tokens"],
            entities=dict(sorted(counts["entities"].items(), key=lambda kind: (-kind[1], kind[0]))),
            scheme=self._scheme(step),
            columns=self._columns(step),
            first=_shown(sample[0]),
        )

    def facts(self, corpora: Mapping[str, Step], samples: Mapping[str, list[StoredSentence]]) -> dict[str, SplitFacts]:
        """Return, by split, the facts that findings are judged by."""
        statistics = self._json(STATISTICS, "statistics.json")
        found = {}
        for split, step in corpora.items():
            figures, others = statistics["corpora"][split], statistics["overlap"].get(split, {})
            found[split] = SplitFacts(
                split,
                figures["sentences"],
                figures["tokens"],
                figures["types"],
                figures["length"]["longest"],
                figures["duplicate_sentences"],
                None if split == TEXT else figures["entities"],
                {other: shared["sentence_share"] or 0.0 for other, shared in others.items()},
                samples[split],
                self._counts(self._first_source(step)).get("repaired_tags", 0),
            )
        return found

    def columns(self, train: Step | None) -> TagColumns | None:
        """Return the columns of the training file that could hold tags; None if the column of the tags is certain."""
        if train is None:
            return None
        step = self._first_source(train)
        if step.config.get("format") != "conll" or not step.files or step.config["columns"]["tag"] != -1:
            return None  # generated, chosen by the user, or in a format without columns
        paths, usual = step.raw_files_of("file"), self._layout(step)
        widths = Counter(len(usual.split(text)) for _, text in islice(open_text(paths[0]), COLUMN_SAMPLE))
        width = max(widths, key=lambda columns: (columns > 0, widths[columns]))
        entities = {number: _types_of_column(paths, replace(usual, tag=number)) for number in range(width)}
        return TagColumns(width - 1, {number: types for number, types in entities.items() if types})

    def scheme_doubt(self) -> list[Finding]:
        """Return a finding if the tags of the files leave their scheme in doubt."""
        if "scheme" not in self._refs:
            return []
        doubt = self._json("scheme", "evidence.json").get("doubt")
        if not doubt:
            return []
        return [Finding(FindingName.SCHEME_DOUBT, TRAIN, doubt, "look at the tags of these lines")]

    def located(self, finding: Finding, step: Step) -> Finding:
        """Return a finding with the file and line of its sentence."""
        if finding.sentence is None or "file" not in step.files:
            return finding
        paths = step.raw_files_of("file")
        if finding.split == TEXT:
            return replace(finding, where=f"{paths[0]}")
        reader = LabelledReader(paths, LabelledReading.of(step.config))
        sentences = reader.sentences(Layout.from_dict({"scheme": "bioes", **self._counts(step).get("layout", {})}))
        shown = next(islice(sentences, finding.sentence, None), None)
        return finding if shown is None else replace(finding, where=f"{shown.path}:{shown.line}")

    def _first_source(self, step: Step) -> Step:
        """Return the step of the corpus that a split was drawn from; the step itself if it was not drawn."""
        while "source" in step.inputs:
            step = self._graph[step.inputs["source"]]
        return step

    def _source(self, step: Step) -> str:
        first = self._first_source(step)
        source = first.files.get("file") or f"demo:{first.config.get('demo_file', '').partition('.')[0]}"
        return source if first is step else f"drawn from {source}"

    def _scheme(self, step: Step) -> str:
        config, inputs = self._first_source(step).config, self._first_source(step).inputs
        if "scheme" in config:
            return str(config["scheme"])
        if (self._store.folder(self._refs[self._first_source(step).name]) / "tokenizer.json").is_file():
            return "spans"
        return str(self._json(inputs["scheme"], "scheme.json")["scheme"]) if "scheme" in inputs else ""

    def _columns(self, step: Step) -> str:
        first = self._first_source(step)
        columns, form = first.config.get("columns"), first.config.get("format", "")
        if form in ("conll", "text"):
            return "" if columns is None else f"word {columns['word']}, tag {columns['tag']}"
        tag = self._counts(first).get("layout", {}).get("tag") or (columns or {}).get("tag", -1)
        return form if tag == -1 else f"{form}, tag {tag}"

    def _layout(self, step: Step) -> Columns:
        """Return the columns of a labelled file, their separator and the notation of its tags."""
        unusual = self._counts(step).get("layout", {})
        layout = Layout.from_dict({"scheme": "bioes", **unusual})
        columns = step.config["columns"]
        return Columns(columns["word"], columns["tag"], layout.separator, layout.notation)

    def _counts(self, step: Step) -> Any:
        return self._json(step.name, "counts.json")

    def _json(self, step: str, name: str) -> Any:
        path: Path = self._store.folder(self._refs[step]) / name
        return json.loads(path.read_text(encoding="utf-8"))


def _types_of_column(paths: Sequence[Path], columns: Columns) -> dict[str, int]:
    """Return entities by type if the column held the tags; none if its values are no tags."""
    found: Counter[str] = Counter()
    reader = ConllReader(paths, columns)
    for sentence in islice(reader, COLUMN_SAMPLE):
        found.update(kind for kind, _, _ in to_spans([reader.canonical(tag) or "O" for tag in sentence.tags or ()]))
        if reader.bad_lines():
            return {}
    return dict(found)


def _shown(sentence: StoredSentence, longest: int = 12) -> str:
    """Return the first words of a sentence, entities with their tag behind a slash."""
    tags = sentence.source_tags or ("O",) * len(sentence.tokens)
    words = [word if tag == "O" else f"{word}/{tag}" for word, tag in zip(sentence.tokens, tags, strict=True)]
    return " ".join(words[:longest]) + (" ..." if len(words) > longest else "")
