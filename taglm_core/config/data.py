"""Configuration of the corpora: the demo generator, the labelled splits and the unlabelled text."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from taglm_core.config.base import Settings

DEMO_PREFIX = "demo:"
DEMO_FILES = {"train": "train.conll", "dev": "dev.conll", "test": "test.conll", "text": "text.txt",
              "text-replaced": "text-replaced.txt"}  # fmt: skip


class TagScheme(StrEnum):
    """How the source files mark entities; `auto` looks at all splits together."""

    AUTO = "auto"
    IOB1 = "iob1"
    IOB2 = "iob2"
    BIOES = "bioes"
    BIOS = "bios"
    IOE = "ioe"
    IO = "io"


class ColumnSeparator(StrEnum):
    """What stands between two columns; `auto` looks at all splits together."""

    AUTO = "auto"
    TAB = "tab"
    SPACE = "space"


class DemoConfig(Settings):
    """The generated corpus: paths `demo:train`, `demo:dev`, `demo:test`, `demo:text`, `demo:text-replaced`."""

    seed: int = Field(1, ge=0, description="seed of the generator")
    train_sentences: int = Field(200, ge=1, description="labelled training sentences")
    dev_sentences: int = Field(150, ge=1, description="labelled development sentences")
    test_sentences: int = Field(500, ge=1, description="labelled test sentences")
    unlabelled_sentences: int = Field(30_000, ge=1, description="unlabelled sentences")


class Columns(Settings):
    """Which column of a CoNLL file is what; negative numbers count from the end."""

    word: int = Field(0, description="column of the token")
    tag: int = Field(-1, description="column of the tag")


class LabelledConfig(Settings):
    """The labelled corpora: CoNLL column files, one per split."""

    name: str = Field("demo", pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the data set in MLflow and reports")
    train: str = Field("demo:train", description="file, folder or glob (.gz and .zst are read), or demo:train")
    dev: str | None = Field("demo:dev", description="same; null draws dev_sentences from train")
    test: str = Field("demo:test", description="same")
    columns: Columns = Columns()
    separator: ColumnSeparator = Field(
        ColumnSeparator.AUTO, description="what separates columns: tab (one tab, so that a token may hold spaces), "
        "space (any run of spaces and tabs), or auto: space where that reads all files, else tab"
    )  # fmt: skip
    scheme: TagScheme = Field(
        TagScheme.AUTO, description="tag scheme of the files (bioes is BILOU, BMES and BMEWO as well); io also reads "
        "types without prefixes, and reads adjacent entities of one type as one"
    )  # fmt: skip
    strict: bool = Field(
        False,
        description="refuse tags that break their scheme, instead of a warning and conlleval's reading",
    )
    dev_sentences: int | None = Field(None, ge=1, description="sentences drawn from train as dev where dev is null")
    train_fraction: float = Field(1.0, gt=0, le=1, description="share of the training sentences kept (after dev)")
    sample_seed: int = Field(1, ge=0, description="seed of both draws")

    @model_validator(mode="after")
    def _dev_comes_from_somewhere(self) -> LabelledConfig:
        if (self.dev is None) == (self.dev_sentences is None):
            raise ValueError("give either dev (a path) or dev_sentences (with dev: null), not both and not neither")
        return self

    def reading(self) -> dict[str, Any]:
        """What steps say of how the files are read, where it is not the usual way."""
        separator = {} if self.separator is ColumnSeparator.AUTO else {"separator": str(self.separator)}
        return {**separator, **({"strict": True} if self.strict else {})}

    def splits(self) -> dict[str, str | None]:
        """Path of each split; None for a dev set that is drawn from train."""
        return {"train": self.train, "dev": self.dev, "test": self.test}


class UnlabelledConfig(Settings):
    """The text the language models learn from: pre-tokenised, one sentence a line."""

    name: str = Field("demo", pattern=r"^[A-Za-z0-9][\w.-]*$", description="name of the text in MLflow")
    path: str = Field("demo:text", description="file, folder or glob (.gz and .zst are read), or demo:text")
    heldout_fraction: float = Field(
        0.01, gt=0, lt=0.5, description="share of sentences held out, by hash of the sentence"
    )
    shards: int | None = Field(
        None, ge=1, le=400, description="shards the training sentences are scattered into, of which one at a time is "
        "shuffled in memory; null: 16, and more for more than 64 million tokens"
    )  # fmt: skip
    passage_sentences: int = Field(
        1, ge=1, description="consecutive sentences that are read as they stand, one after the other; 1: each sentence "
        "is shuffled by itself. More of them teach language models what embedding.context: document reads out, where "
        "the text is in order"
    )  # fmt: skip

    def order(self) -> dict[str, int]:
        """What steps say of the order of sentences, where it is not the usual one."""
        return {"passage_sentences": self.passage_sentences} if self.passage_sentences > 1 else {}
