"""Settings of a prediction over files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from taglm_core.config.base import Settings


class PredictionConfig(Settings):
    """What is found in files, and how they are read and written."""

    input: Literal["text", "tokens", "conll", "jsonl", "parquet"] | None = Field(
        None, description="format of the files; null: by their names"
    )
    column: str = Field("text", description="column of JSON lines and Parquet: text, or a list of tokens")
    word_column: int = Field(0, description="column of the word in CoNLL files, from 0")
    lines: bool = Field(False, description="each line of raw text is a text, not each file")
    output: Literal["jsonl", "conll", "parquet"] | None = Field(
        None, description="format of the output; null: by its name, in a folder Parquet for Parquet, else JSON lines"
    )
    scheme: Literal["bioes", "iob2"] = Field("bioes", description="tag scheme of CoNLL output")
    threshold: float = Field(0.0, ge=0, le=1, description="least confidence of an entity")
    labels: tuple[str, ...] | None = Field(None, description="labels to find; null: all")
    part_rows: int = Field(5_000, ge=1, description="rows of a part: so many are lost at most by a kill")


USUAL = PredictionConfig()  # default of the flow
