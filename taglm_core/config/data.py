"""Configuration of the corpora: demo generator, labelled splits, unlabelled text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field, model_validator

from taglm_core.config.base import Settings

_NAME = r"^[A-Za-z0-9][\w.-]*$"
DEMO_PREFIX = "demo:"
DEMO_FILES = {"train": "train.conll", "dev": "dev.conll", "test": "test.conll", "text": "text.txt",
              "text-replaced": "text-replaced.txt"}  # fmt: skip


class TagScheme(StrEnum):
    """Notation of entities in the source files; `auto` infers it from all splits together."""

    AUTO = "auto"
    IOB1 = "iob1"
    IOB2 = "iob2"
    BIOES = "bioes"
    BIOS = "bios"
    IOE = "ioe"
    IO = "io"

    @classmethod
    def _missing_(cls, value: object) -> TagScheme | None:
        """Accept other common names of a scheme, in upper or lower case."""
        name = str(value).lower()
        other = _SCHEME_NAMES.get(name, name)
        return next((scheme for scheme in cls if scheme == other), None)


_SCHEME_NAMES = {
    "bio": "iob2", "bio2": "iob2", "bio1": "iob1", "iobes": "bioes", "bilou": "bioes", "bmes": "bioes",
    "bmewo": "bioes", "ioe2": "ioe",
}  # fmt: skip


class ColumnSeparator(StrEnum):
    """Separator of columns; `auto` infers it from all splits together."""

    AUTO = "auto"
    TAB = "tab"
    SPACE = "space"


class LabelledFormat(StrEnum):
    """Formats of labelled files; `auto` tells them by their content, all splits together."""

    AUTO = "auto"
    CONLL = "conll"
    JSONL = "jsonl"
    BRAT = "brat"
    CONLLU = "conllu"
    PARQUET = "parquet"
    DOCBIN = "docbin"


class TextFormat(StrEnum):
    """Formats of unlabelled text; `auto` takes plain text as tokenised lines."""

    AUTO = "auto"
    TOKENISED = "tokenised"
    DOCUMENTS = "documents"
    JSONL = "jsonl"
    PARQUET = "parquet"
    CONLLU = "conllu"


class Misaligned(StrEnum):
    """What becomes of spans that tags cannot express: they cut a token, overlap another span or are empty."""

    REFUSE = "refuse"
    WIDEN = "widen"
    DROP = "drop"


class OffsetUnit(StrEnum):
    """Unit of the offsets of spans."""

    CHARACTERS = "characters"
    UTF16 = "utf-16"
    BYTES = "bytes"


class FindingName(StrEnum):
    """Findings about corpora (`taglm_core/corpus/findings.py`), most harmful first."""

    SAME_COLUMN = "same-column"
    NUMBERED_WORDS = "numbered-words"
    OTHER_COLUMN = "other-column"
    NO_ENTITIES = "no-entities"
    NO_COMMON_TYPE = "no-common-type"
    SAME_SENTENCES = "same-sentences"
    NO_SENTENCES = "no-sentences"
    ONE_TOKEN_SENTENCES = "one-token-sentences"
    TEXT_IS_JSON = "text-is-json"
    TEXT_IS_MARKUP = "text-is-markup"
    TEXT_IS_COLUMNS = "text-is-columns"
    FEW_WORDS = "few-words"
    SHARED_SENTENCES = "shared-sentences"
    TEXT_HAS_SENTENCES = "text-has-sentences"
    TEXT_NOT_TOKENISED = "text-not-tokenised"
    UNKNOWN_TYPES = "unknown-types"
    OTHER_WORDS = "other-words"
    OTHER_CASE = "other-case"
    DOCUMENT_MARKS = "document-marks"
    GARBLED_LETTERS = "garbled-letters"
    REPAIRED_TAGS = "repaired-tags"
    SCHEME_DOUBT = "scheme-doubt"
    LONG_SENTENCES = "long-sentences"
    REPEATED_SENTENCES = "repeated-sentences"
    FEW_ENTITIES = "few-entities"


class DemoConfig(Settings):
    """The generated corpus: paths `demo:train`, `demo:dev`, `demo:test`, `demo:text`, `demo:text-replaced`."""

    seed: int = Field(1, ge=0, description="seed of the generator")
    train_sentences: int = Field(200, ge=1, description="labelled training sentences")
    dev_sentences: int = Field(150, ge=1, description="labelled development sentences")
    test_sentences: int = Field(500, ge=1, description="labelled test sentences")
    unlabelled_sentences: int = Field(30_000, ge=1, description="unlabelled sentences")


class Columns(Settings):
    """Columns of a CoNLL file; negative numbers count from the end."""

    word: int | str = Field(0, description="column of the token: a number, or in Parquet and CoNLL-U its name")
    tag: int | str = Field(-1, description="column of the tag, likewise; MISC.NER is the key NER in column MISC")


class LabelledConfig(Settings):
    """Labelled corpora, one per split."""

    name: str = Field("demo", pattern=_NAME, description="name of the data set in MLflow and reports")
    train: str = Field("demo:train", description="file, folder or glob (.gz and .zst are read), or demo:train")
    dev: str | None = Field("demo:dev", description="same; null draws dev_sentences from train")
    test: str | None = Field("demo:test", description="same; null: variants are compared on dev, no test figures")
    format: LabelledFormat = Field(
        LabelledFormat.AUTO, description="format of the files; auto tells it by their content"
    )
    columns: Columns = Columns()
    offsets: OffsetUnit = Field(
        OffsetUnit.CHARACTERS, description="unit of the offsets of spans: characters (Unicode code points), utf-16 "
        "(JavaScript tools) or bytes (of UTF-8)"
    )  # fmt: skip
    misaligned: Misaligned = Field(
        Misaligned.REFUSE, description="spans that cut a token, overlap another span or are empty: refuse them; widen "
        "those that cut a token to whole tokens and drop the rest; or drop them all"
    )  # fmt: skip
    separator: ColumnSeparator = Field(
        ColumnSeparator.AUTO, description="what separates columns: tab (one tab, so that a token may hold spaces), "
        "space (any run of spaces and tabs), or auto: space where that reads all files, else tab"
    )  # fmt: skip
    scheme: TagScheme = Field(
        TagScheme.AUTO, description="tag scheme of the files (bioes includes BILOU, BMES and BMEWO); io also reads "
        "types without prefixes, and joins adjacent entities of one type"
    )  # fmt: skip
    strict: bool = Field(
        False,
        description="refuse tags that break their scheme; otherwise warn and read them as conlleval does",
    )
    dev_sentences: int | None = Field(None, ge=1, description="sentences drawn from train as dev where dev is null")
    train_fraction: float = Field(1.0, gt=0, le=1, description="share of the training sentences kept (after dev)")
    sample_seed: int = Field(1, ge=0, description="seed of both draws")
    accept: tuple[FindingName, ...] = Field((), description="names of findings about the labelled corpora to accept")
    licence: str | None = Field(None, description="licence of the data, for model cards; in no key")

    @model_validator(mode="before")
    @classmethod
    def _dev_is_drawn(cls, given: Any) -> Any:
        """Take `dev_sentences` without `dev` as a dev set that is drawn from train."""
        drawn = isinstance(given, Mapping) and "dev" not in given and given.get("dev_sentences") is not None
        return {**given, "dev": None} if drawn else given

    @model_validator(mode="after")
    def _dev_comes_from_somewhere(self) -> LabelledConfig:
        if (self.dev is None) == (self.dev_sentences is None):
            raise ValueError("give either dev (a path) or dev_sentences (with dev: null), one of the two")
        return self

    def reading(self) -> dict[str, Any]:
        """Return the settings of reading that differ from the defaults, for the config of steps."""
        separator = {} if self.separator is ColumnSeparator.AUTO else {"separator": str(self.separator)}
        return {**separator, **({"strict": True} if self.strict else {})}

    def splits(self) -> dict[str, str | None]:
        """Return the path of each split; None for a dev set drawn from train and for a missing test set."""
        return {"train": self.train, "dev": self.dev, "test": self.test}


class UnlabelledConfig(Settings):
    """Text for the language models."""

    name: str = Field("demo", pattern=_NAME, description="name of the text in MLflow")
    path: str = Field("demo:text", description="file, folder or glob (.gz and .zst are read), or demo:text")
    format: TextFormat = Field(
        TextFormat.AUTO, description="format of the files: tokenised (a sentence a line, words separated by spaces), "
        "documents (raw text, separated by blank lines or files), jsonl, parquet (also Arrow) or conllu; auto tells it "
        "by their content, and takes plain text as tokenised"
    )  # fmt: skip
    column: str | None = Field(
        None,
        description="field of JSON lines, or column of Parquet, with the text or the tokens; null: text, else tokens",
    )
    heldout_fraction: float = Field(
        0.01, gt=0, lt=0.5, description="share of sentences held out, by hash of the sentence"
    )
    shards: int | None = Field(
        None, ge=1, le=400, description="shards of the training sentences, each shuffled in memory by itself; null: "
        "16, and more above 64 million tokens"
    )  # fmt: skip
    passage_sentences: int = Field(
        1, ge=1, description="consecutive sentences that stay together in shuffling; 1: each sentence is shuffled by "
        "itself. Longer passages fit embedding.context: document if the text is in order"
    )  # fmt: skip
    accept: tuple[FindingName, ...] = Field((), description="names of findings about the text to accept")
    licence: str | None = Field(None, description="licence of the text, for model cards; in no key")

    def order(self) -> dict[str, int]:
        """Return the settings of sentence order that differ from the defaults, for the config of steps."""
        return {"passage_sentences": self.passage_sentences} if self.passage_sentences > 1 else {}


_REMEDIES = {
    "labelled.train": "name the file with the training sentences",
    "labelled.dev": "name the file with the development sentences, or set labelled.dev_sentences=1000 to draw "
    "them from train",
    "labelled.test": "name the file with the test sentences, or set labelled.test=null for no test figures",
    "unlabelled.path": "name the text for the language models",
}


def complete_sources(settings: Any) -> Any:
    """Return settings in which every source is given or null, if the user gave any source.

    The demo corpus is the default only of experiments without sources. An experiment with text alone trains language
    models; one with labelled data alone trains taggers without them. Labelled data without a name gets the name of the
    experiment.

    Args:
        settings: settings of an experiment as written.

    Raises:
        ValueError: a split or the text is missing. The message has one line for each.
    """
    if not isinstance(settings, Mapping):
        return settings
    labelled, text = _given(settings.get("labelled")), _given(settings.get("unlabelled"))
    paths = [*(labelled.get(split) for split in ("train", "dev", "test")), text.get("path")]
    if not any(isinstance(path, str) and not path.startswith(DEMO_PREFIX) for path in paths):
        return settings
    missing = []
    if settings.get("labelled") is not None:
        drawn = labelled.get("dev_sentences") is not None
        missing += [
            f"labelled.{split}" for split in ("train", "dev", "test")
            if split not in labelled and not (split == "dev" and drawn)
        ]  # fmt: skip
    if settings.get("unlabelled") is not None and "path" not in text:
        missing.append("unlabelled.path")
    if missing:
        unknown = [f"labelled.{key}" for key in labelled if key not in LabelledConfig.model_fields]
        lines = [f"{name}: missing; {_REMEDIES[name]}" for name in missing]
        raise ValueError("\n  ".join([*lines, *(f"{name}: unknown key" for name in unknown)]))
    if "labelled" not in settings and settings.get("variants") is not None:
        raise ValueError(
            "labelled: missing, but variants are given; name labelled.train, labelled.dev and labelled.test, or set "
            "labelled=null to train language models alone"
        )
    settings = {"labelled": None, "unlabelled": None, **settings}
    name = settings.get("name")
    if labelled and "name" not in labelled and isinstance(name, str) and re.fullmatch(_NAME, name):
        settings["labelled"] = {**labelled, "name": name}
    return settings


def _given(section: Any) -> Mapping[str, Any]:
    """Return the settings that a section gives itself, without defaults."""
    if isinstance(section, BaseModel):
        return {name: getattr(section, name) for name in section.model_fields_set}
    return section if isinstance(section, Mapping) else {}
