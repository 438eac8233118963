"""Labelled files of any format: how they are read, and their sentences."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from taglm_core.config.data import LabelledFormat, Misaligned, OffsetUnit
from taglm_core.config.raw_text import TextConfig
from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.conll_faults import Columns, Separator
from taglm_core.corpus.layout import FoundLayout, Layout, find_layout
from taglm_core.corpus.parquet import read_corpus, write_corpus
from taglm_core.corpus.parquet_writer import CorpusCounts
from taglm_core.corpus.scheme_evidence import SchemeEvidence
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.errors import ConfigError
from taglm_core.formats.annotations import AnnotationReader
from taglm_core.formats.brat import read_brat
from taglm_core.formats.conllu_files import ConlluReader
from taglm_core.formats.detect import detect_labelled
from taglm_core.formats.docbin import read_docbin
from taglm_core.formats.span_reader import AnnotatedText, SpanReader
from taglm_core.formats.table_files import TableReader
from taglm_core.formats.tag_layout import checked_tags, find_tag_layout
from taglm_core.text.segmenter import Segmenter, TokenizerRecord
from taglm_core.text.spelling import Spelling


@dataclass(frozen=True, slots=True)
class LabelledReading:
    """How to read labelled files.

    Attributes:
        format: the format, never `auto`.
        word: column or key of the word, as in `labelled.columns`.
        tag: column or key of the tag, likewise.
        separator: what separates columns; None finds out.
        scheme: the tag scheme; None finds out.
        strict: refuse tags that break their scheme.
        offsets: unit of the offsets of spans.
        misaligned: what becomes of spans that tags cannot express.
        text: how texts become tokens.
        tokenizer: the record of a tagger, in place of `text`.
    """

    format: LabelledFormat = LabelledFormat.CONLL
    word: int | str = 0
    tag: int | str = -1
    separator: Separator | None = None
    scheme: Scheme | None = None
    strict: bool = False
    offsets: OffsetUnit = OffsetUnit.CHARACTERS
    misaligned: Misaligned = Misaligned.REFUSE
    text: TextConfig = field(default_factory=TextConfig)
    tokenizer: TokenizerRecord | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LabelledReading:
        """Return what the config of a `corpus` or `tag-scheme` step says."""
        given = {name: config[name] for name in ("language", "tokenizer", "spelling") if name in config}
        return cls(
            LabelledFormat(config.get("format", LabelledFormat.CONLL)),
            **config.get("columns", {}),
            separator=Separator(config["separator"]) if "separator" in config else None,
            scheme=Scheme(config["scheme"]) if "scheme" in config else None,
            strict=config.get("strict", False),
            offsets=OffsetUnit(config.get("offsets", OffsetUnit.CHARACTERS)),
            misaligned=Misaligned(config.get("misaligned", Misaligned.REFUSE)),
            text=TextConfig.model_validate(given),
        )


class LabelledReader:
    """Sentences of labelled files.

    Args:
        paths: the files.
        reading: how to read them.
        counts: receives counts of everything that is no sentence.
    """

    def __init__(self, paths: Sequence[Path], reading: LabelledReading, counts: ReadCounts | None = None) -> None:
        self.paths, self.reading = list(paths), reading
        self.counts = ReadCounts() if counts is None else counts
        self.tokenizer: TokenizerRecord | None = None
        """How texts became tokens, once a text was read."""

    def layout(self) -> FoundLayout:
        """Find how the tags are written, from all files together.

        Raises:
            InputError: lines or tags that cannot be read.
        """
        reading = self.reading
        if reading.format is LabelledFormat.CONLL:
            return find_layout(
                self.paths,
                **_numbers(reading),
                separator=reading.separator,
                scheme=reading.scheme,
                strict=reading.strict,
            )
        if self._has_spans():
            return FoundLayout(Layout(Scheme.BIOES), SchemeEvidence(), [], [])
        tag = str(self._conllu(ReadCounts()).tag) if reading.format is LabelledFormat.CONLLU else ""
        found = find_tag_layout(lambda: self._tagged(tag, ReadCounts()), scheme=reading.scheme, strict=reading.strict)
        return replace(found, layout=replace(found.layout, tag=tag if tag and reading.tag == -1 else ""))

    def sentences(self, layout: Layout) -> Iterator[Sentence]:
        """Yield all sentences; tags as in the file, or BIOES where the file has spans.

        Raises:
            InputError: lines, tags or spans that cannot be read.
        """
        if self.reading.format is LabelledFormat.CONLL:
            columns = _numbers(self.reading)
            where = Columns(columns["word"], columns["tag"], layout.separator, layout.notation)
            return read_conll(self.paths, where, counts=self.counts)
        if self._has_spans():
            return self._spanned()
        return checked_tags(self._tagged(layout.tag, self.counts), layout.notation)

    def _has_spans(self) -> bool:
        """Return whether the files hold texts with spans, by their format or their first record."""
        if self.reading.format is not LabelledFormat.JSONL:
            return self.reading.format in (LabelledFormat.BRAT, LabelledFormat.DOCBIN)
        return isinstance(next(self._records(ReadCounts()), None), AnnotatedText)

    def _records(self, counts: ReadCounts) -> Iterator[AnnotatedText | Sentence]:
        return AnnotationReader(self.paths, self.reading.word, self.reading.tag, counts).records()

    def _conllu(self, counts: ReadCounts, tag: str = "") -> ConlluReader:
        return ConlluReader(self.paths, self.reading.word, tag or self.reading.tag, counts)

    def _tagged(self, tag: str, counts: ReadCounts) -> Iterator[Sentence]:
        match self.reading.format:
            case LabelledFormat.CONLLU:
                yield from self._conllu(counts, tag).sentences()
            case LabelledFormat.PARQUET:
                yield from TableReader(self.paths, self.reading.word, self.reading.tag, counts).sentences()
            case _:
                yield from (record for record in self._records(counts) if isinstance(record, Sentence))

    def _spanned(self) -> Iterator[Sentence]:
        reading, counts = self.reading, self.counts
        usual = Spelling.named(reading.text.spelling)
        self.tokenizer = reading.tokenizer or TokenizerRecord.of(reading.text, usual)
        texts: Iterator[AnnotatedText]
        match reading.format:
            case LabelledFormat.BRAT:
                texts = read_brat(self.paths, reading.offsets, counts)
            case LabelledFormat.DOCBIN:
                texts = read_docbin(self.paths, counts)
            case _:
                texts = (record for record in self._records(counts) if isinstance(record, AnnotatedText))
        unit = OffsetUnit.CHARACTERS if reading.format is LabelledFormat.DOCBIN else reading.offsets
        spans = SpanReader(Segmenter(self.tokenizer), unit, reading.misaligned, counts)
        yield from spans.sentences(texts)


@dataclass(frozen=True, slots=True)
class LabelledSentences:
    """Labelled sentences, B in number.

    Attributes:
        tokens: tokens of each sentence.
        tags: tags of each sentence in BIOES.
        documents: document of each sentence.
        layout: how the files were read.
        notes: points that a person should check, a line each.
        counts: counts of the sentences and of everything else in the files.
    """

    tokens: list[tuple[str, ...]]
    tags: list[tuple[str, ...]]
    documents: list[int]
    layout: Layout
    notes: tuple[str, ...]
    counts: CorpusCounts


def read_labelled(paths: Sequence[Path], reading: LabelledReading | None = None) -> LabelledSentences:
    """Read labelled files of any format, as the ingest stage reads those of an experiment.

    Args:
        paths: the files.
        reading: how to read them; the format `auto` and None find it out.

    Raises:
        InputError: the files hold no sentence, or lines, tags or spans that cannot be read.
        MissingLibrary: the format needs a library that is not installed.
    """
    reading = LabelledReading(format=LabelledFormat.AUTO) if reading is None else reading
    if reading.format is LabelledFormat.AUTO:
        reading = replace(reading, format=detect_labelled(paths, reading.word, reading.tag))
    read = ReadCounts()
    reader = LabelledReader(paths, reading, read)
    found = reader.layout()
    layout = found.layout
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sentences = reader.sentences(layout)
        counts = write_corpus(sentences, folder, scheme=layout.scheme, notation=layout.notation, read=read)
        stored = list(read_corpus(folder))
    notes = [*found.remarks, *found.doubts, *read.notes, *what_was_met(counts)]
    if counts.repaired_tags:
        first = "\n  ".join(counts.repairs[:3])
        notes.append(
            f"tags that break the scheme {layout.scheme.upper()}: {counts.repaired_tags:,}. They are read as conlleval "
            f"reads them. The first of them:\n  {first}"
        )
    return LabelledSentences(
        [sentence.tokens for sentence in stored],
        [sentence.tags or () for sentence in stored],
        [sentence.document_id for sentence in stored],
        layout,
        tuple(notes),
        counts,
    )


def what_was_met(counts: CorpusCounts) -> list[str]:
    """Return, for people, what a reader met besides sentences and spans that became entities."""
    met = {name: number for name, number in counts.met.items() if name != "spans"}
    if not met:
        return []
    shown = "; ".join(f"{name.replace('_', ' ')}: {number:,}" for name, number in met.items())
    first = "".join(f"\n  {line}" for line in counts.oddities[:3])
    return [f"besides sentences, the files hold: {shown}{first}"]


def _numbers(reading: LabelledReading) -> dict[str, int]:
    """Return the columns of CoNLL files.

    Raises:
        ConfigError: one of them is a name.
    """
    for name, column in (("word", reading.word), ("tag", reading.tag)):
        if not isinstance(column, int):
            raise ConfigError(
                f"labelled.columns.{name}: found {column!r}; expected the number of a column, as the files are CoNLL "
                "columns; set the number, or labelled.format"
            )
    return {"word": int(reading.word), "tag": int(reading.tag)}
