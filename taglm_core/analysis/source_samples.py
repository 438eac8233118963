"""The first sentences of a source of an experiment, read from its files and never from the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from taglm_core.config.data import TextFormat
from taglm_core.corpus.text import read_text
from taglm_core.formats.documents import read_documents
from taglm_core.formats.labelled import LabelledReader, LabelledReading
from taglm_core.formats.segmenting import record_of
from taglm_core.pipeline.steps import Step
from taglm_core.text.segmenter import Segmenter

SHOWN = 3


def first_sentences(step: Step) -> list[list[str]]:
    """Return the tokens of the first sentences of the source of a corpus.

    Raises:
        InputError, MissingLibrary: the source cannot be read.
    """
    return [list(tokens) for tokens in islice(_tokens(step), SHOWN)]


def _tokens(step: Step) -> Iterator[Iterable[str]]:
    paths, config = step.raw_files_of("file"), step.config
    if "text_format" in config:
        record = record_of(config)
        segmenter = None if record is None else Segmenter(record)
        for document in read_documents(paths, TextFormat(config["text_format"]), config.get("column")):
            if isinstance(document.text, str) and segmenter is not None:
                yield from segmenter.tokens(document.text)
            else:
                yield document.text
    elif config["format"] == "text":
        yield from (sentence.tokens for sentence in read_text(paths))
    else:
        reader = LabelledReader(paths, LabelledReading.of(config))
        yield from (sentence.tokens for sentence in reader.sentences(reader.layout().layout))
