"""Prediction of a source: tagged blocks to a stream, or to a file or folder in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import torch

from taglm import Tagger
from taglm_core.errors import ConfigError
from taglm_core.tagging.exported import CARD
from tasks.predicting.parts import open_parts
from tasks.predicting.progress import Lines
from tasks.predicting.readers import Source
from tasks.predicting.rows import Limits, Row, in_blocks
from tasks.predicting.tally import Tally
from tasks.predicting.writers import TaggedRow, Writer

MOST_REPORTED = 100  # bad rows that are reported one by one


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is found and how.

    Attributes:
        threshold: least confidence of an entity.
        labels: labels of entities; None for all.
        limits: rows and characters of a part.
    """

    threshold: float = 0.0
    labels: tuple[str, ...] | None = None
    limits: Limits = field(default_factory=Limits)


class Job:
    """A tagger at work on the rows of a source.

    Args:
        tagger: the tagger.
        source: the rows.
        wanted: what is found.
        say: receives lines about bad rows and about what goes on.
        progress: counts rows.

    Raises:
        ConfigError: threshold or labels make no sense.
    """

    def __init__(
        self, tagger: Tagger, source: Source, wanted: Wanted, say: Callable[[str], None], progress: Lines
    ) -> None:
        self._tagger, self._source, self._wanted, self._say, self._progress = tagger, source, wanted, say, progress
        self._reported = 0
        try:
            self._labels = tagger.checked(wanted.threshold, wanted.labels)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def to_stream(self, writer: Writer, file: BinaryIO) -> Tally:
        """Write all rows to a stream and return the counts."""
        tally = Tally()
        for block, counts in self._blocks(0):
            file.write(writer.encode(block))
            file.flush()
            tally += counts
        return tally

    def to_parts(self, writer: Writer, target: str, fixed: dict[str, Any] | None = None) -> Tally:
        """Write all rows to a file or folder; go on where a killed run stopped.

        Args:
            writer: format.
            target: file or folder, as in `open_parts`.
            fixed: further options that change the output, as JSON values.

        Returns:
            The counts of all rows, those of the earlier run included.

        Raises:
            ConfigError: another process writes it, or the folder has other files.
        """
        if any(Path(target).exists() and path.samefile(target) for path in self._source.paths):
            raise ConfigError(f"--to {target}: this is a file to read; give another name")
        with open_parts(target, writer) as parts:
            parts.begin(self._identity(writer, fixed or {}), self._say)
            self._progress.start(parts.tally.rows)
            for block, counts in self._blocks(parts.tally.rows):
                parts.add(writer.encode(block), counts)
            if not parts.count:
                parts.add(writer.encode([]), Tally())
            parts.finish()
            return parts.tally

    def _identity(self, writer: Writer, fixed: dict[str, Any]) -> dict[str, Any]:
        wanted, source = asdict(self._wanted), asdict(self._source)
        source.pop("paths")
        options = {**wanted, **source, **fixed, "suffix": writer.suffix, "threads": torch.get_num_threads()}
        return {
            "model": model_identity(self._tagger),
            "input": self._source.identity(),
            "options": options,
            "version of the program": [version("taglm"), str(torch.__version__)],
        }

    def _blocks(self, skip: int) -> Iterator[tuple[list[TaggedRow], Tally]]:
        for rows in in_blocks(self._source.rows(skip), self._wanted.limits):
            yield self._tag(rows)

    def _tag(self, rows: Sequence[Row]) -> tuple[list[TaggedRow], Tally]:
        """Tag a block. The result depends on nothing outside, so that a killed run gives the same bytes."""
        self._tagger.forget_words()
        found = self._tagger.analyse_all(row.content for row in rows if row.content is not None)
        block, tally = [], Tally()
        for row in rows:
            if row.content is None:
                block.append(TaggedRow(row))
                self._report(block[-1])
                tally.add_row(None, ())
            else:
                sentences = next(found)
                entities = [
                    entity for sentence in sentences for entity in sentence.entities
                    if entity.is_wanted(self._wanted.threshold, self._labels)
                ]  # fmt: skip
                block.append(TaggedRow(row, sentences, entities))
                tally.add_row(sentences, entities)
            self._progress.advance()
        return block, tally

    def _report(self, bad: TaggedRow) -> None:
        self._reported += 1
        if self._reported <= MOST_REPORTED:
            self._say(str(bad.error))
        if self._reported == MOST_REPORTED:
            self._say("further bad rows are only counted; the output names them all")


def model_identity(tagger: Tagger) -> dict[str, Any]:
    """Return what the predictions of a tagger depend on, as JSON values."""
    index = tagger.index
    files = {name: digest for name, (_, digest) in index.files.items() if name != CARD}
    return {"digest": index.digest, "text": index.text.to_json(), "files": files, "vectors": index.vectors}


def summary(tally: Tally, seconds: float, new: int) -> str:
    """Return the line that ends a prediction.

    Args:
        tally: counts of all rows.
        seconds: time of this run.
        new: rows of this run.
    """
    counted = ((tally.rows, "row"), (tally.sentences, "sentence"), (tally.tokens, "token"))
    parts = [f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counted]
    labels = ", ".join(f"{label} {count:,}" for label, count in sorted(tally.labels.items()))
    parts.append(f"{tally.entities:,} {'entity' if tally.entities == 1 else 'entities'}{labels and f' ({labels})'}")
    if tally.bad_rows:
        parts.append(f"{tally.bad_rows:,} bad {'row' if tally.bad_rows == 1 else 'rows'}")
    return f"{', '.join(parts)}; {seconds:.1f} s, {new / max(1e-9, seconds):,.0f} rows/s"
