"""Which format an output has, and its writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taglm_core.corpus.content import COMPRESSED_SUFFIXES
from taglm_core.corpus.schemes import Scheme
from taglm_core.errors import ConfigError
from tasks.predicting.parts import is_folder
from tasks.predicting.readers import Format, Source, format_of
from tasks.predicting.writers import Conll, ForPeople, JsonLines, Output, ParquetFiles, Writer


def output_of(target: str, source: Source) -> Output:
    """Return the format of an output by its name; of a folder Parquet for Parquet, else JSON lines.

    Args:
        target: output file or folder.
        source: what is read.

    Raises:
        ConfigError: the name tells no format that is written.
    """
    if is_folder(target):
        return Output.PARQUET if source.format is Format.PARQUET else Output.JSONL
    found = format_of(Path(target))
    if found is None or Path(target).suffix.lower() in COMPRESSED_SUFFIXES:
        raise ConfigError(f"{target}: the name tells no format that is written; give --output {', '.join(Output)}")
    return Output(str(found))


def new_writer(
    kind: Output, scheme: str, source: Source, labels: Sequence[str] = (), *, colour: bool = False
) -> Writer:
    """Return a writer.

    Args:
        kind: its format.
        scheme: tag scheme of CoNLL.
        source: what is read; its columns are kept in Parquet.
        labels: labels of the tagger, for text.
        colour: whether text has colours.
    """
    if kind is Output.TEXT:
        return ForPeople(labels, colour=colour)
    if kind is Output.CONLL:
        return Conll(Scheme(scheme))
    if kind is Output.JSONL:
        return JsonLines()
    return ParquetFiles(source.parquet_schema() if source.format is Format.PARQUET else None)
