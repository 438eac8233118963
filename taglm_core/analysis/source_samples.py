"""The first sentences of a source of an experiment, read from its files and never from the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from taglm_core.config.data import TextFormat
from taglm_core.corpus.conll import ConllReader
from taglm_core.corpus.conll_faults import Columns, Separator
from taglm_core.corpus.files import open_text
from taglm_core.corpus.text import read_text
from taglm_core.formats.documents import read_documents
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
    if config["format"] == "text":
        yield from (sentence.tokens for sentence in read_text(paths))
    elif config["format"] == "conll":
        columns = config["columns"]
        separator = Separator(config.get("separator", Separator.SPACE))
        if "separator" not in config and "\t" in next((line for _, line in open_text(paths[0]) if line.strip()), ""):
            separator = Separator.TAB
        yield from (sentence.tokens for sentence in ConllReader(paths, Columns(columns["word"], None, separator)))
    elif "columns" not in config:
        record = record_of(config)
        segmenter = None if record is None else Segmenter(record)
        for document in read_documents(paths, TextFormat(config["format"]), config.get("column")):
            if isinstance(document.text, str) and segmenter is not None:
                yield from segmenter.tokens(document.text)
            else:
                yield document.text
