"""Configuration of the tagger and of the variants that are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from taglm_core.config.base import Settings, found_digest, is_digest_start, over_preset
from taglm_core.config.language_model import Direction


class CharCnnEncoder(Settings):
    """Characters by convolution and max pooling over time (chunking in the paper: 30 filters of width 3, tanh)."""

    kind: Literal["cnn"] = "cnn"
    dim: int = Field(30, ge=1, description="size of a character embedding")
    filters: int = Field(30, ge=1, description="number of filters")
    width: int = Field(3, ge=1, description="width of the filters")
    dropout: float = Field(0.0, ge=0, lt=1, description="on character embeddings")


class _CharRnnEncoder(Settings):
    """Characters by a stacked bidirectional RNN; its output are the last states of both directions."""

    dim: int = Field(25, ge=1, description="size of a character embedding")
    units: int = Field(80, ge=1, description="units per direction")
    layers: int = Field(2, ge=1, le=4, description="layers")
    dropout: float = Field(0.25, ge=0, lt=1, description="on the input of each layer")


class CharGruEncoder(_CharRnnEncoder):
    """Characters by stacked bidirectional GRUs (NER in the paper: 2 layers of 80 units over 25-d)."""

    kind: Literal["gru"] = "gru"


class CharLstmEncoder(_CharRnnEncoder):
    """Characters by stacked bidirectional LSTMs (Lample et al. 2016 have one layer of 25 units over 25-d)."""

    kind: Literal["lstm"] = "lstm"


class NoCharacters(Settings):
    """No character encoder."""

    kind: Literal["none"] = "none"


class WordsConfig(Settings):
    """Word embeddings of the tagger.

    Training words that differ only in case or digits share one embedding; characters see the raw token.
    """

    size: int = Field(50, ge=1, description="size of random word embeddings; vectors have their own size")
    vectors: str | None = Field(
        None,
        description="file of GloVe, word2vec (text or binary) or fastText (.vec), plain, .gz or .zst; null: random",
    )
    min_count: int = Field(1, ge=1, description="training words seen less often are unknown")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="probability that a training word seen once and without vector becomes unknown"
    )


LmPosition = Literal[
    "input", "layer-1-output", "layer-2-output", "layer-3-output", "layer-4-output", "only"
]  # fmt: skip


class LmEntryConfig(Settings):
    """Position of the LM embeddings in the tagger, and their transformation before it."""

    position: LmPosition = Field(
        "layer-1-output",
        description="input: beside characters and words; layer-N-output: beside the states of layer N (the paper: 1); "
        "only: dense layer and CRF on the LM embeddings, nothing else",
    )
    mix: bool | None = Field(
        None, description="layers of a language model are mixed by learned weights and one scale (ELMo); false: side "
        "by side; null: mixed where there are several, unless scale is set"
    )  # fmt: skip
    norm: bool = Field(False, description="layer norm of each layer's vector")
    scale: bool = Field(False, description="learn a factor for each direction of a language model, 1 at the start")
    projection: int | None = Field(
        None, ge=1, description="size of a learned linear map of all LM embeddings together; null: none"
    )
    activation: Literal["none", "relu", "tanh"] = Field("none", description="after the projection")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="on LM embeddings; null: the dropout of the layer that they are concatenated to"
    )

    @property
    def layers_below(self) -> int:
        """Return the number of sequence layers below the LM embeddings."""
        return 0 if self.position in ("input", "only") else int(self.position.split("-")[1])

    @model_validator(mode="after")
    def _parts_fit(self) -> LmEntryConfig:
        if self.mix and self.scale:
            raise ValueError("mix has a learned scale already: leave scale out")
        if self.activation != "none" and self.projection is None:
            raise ValueError(f"activation {self.activation} comes after a projection: give projection a size")
        return self


class AnnealingPhase(Settings):
    """One phase of training that starts from the best model so far, at its own learning rate."""

    learning_rate: float = Field(gt=0, description="Adam's, constant")
    epochs: int = Field(ge=1, description="number of epochs; none is skipped")


_VARIANT = re.compile(r"(?P<path>.+\.ya?ml):(?P<variant>[^:]+)")


def named_variant(text: str) -> tuple[Path, str] | None:
    """Return file and variant of `EXPERIMENT.yaml:VARIANT`; None if the text is no such name."""
    found = _VARIANT.fullmatch(text)
    return None if found is None else (Path(found["path"]), found["variant"])


def _tagger_as_written(given: Any) -> Any:
    """Refuse invalid values with a plain message, before pydantic reports on each member of the union."""
    if given is None or (isinstance(given, str) and named_variant(given) is not None):
        return given
    for digest in given.values() if isinstance(given, Mapping) else (given,):
        if not is_digest_start(digest):
            raise ValueError(
                "expected EXPERIMENT.yaml:VARIANT, the beginning (6 characters or more) of a tagger object of "
                f"`taglm status`, or a section {{SEED: DIGEST}}, {found_digest(digest)}"
            )
    return given


_PAPER = {  # the paper gives no batch size, no patience and no bound on the epochs
    "words": {"size": 50, "min_count": 1, "dropout": 0.0}, "locked_dropout": 0.0, "word_dropout": 0.0,
    "lm": {"position": "layer-1-output", "mix": None, "norm": False, "scale": False, "projection": None,
           "activation": "none", "dropout": None},
    "output": "crf", "start_end": False, "constraints": False, "batch_size": 32, "learning_rate": 1e-3, "clip": 5.0,
    "max_epochs": 60, "patience": 10,
    "annealing": ({"learning_rate": 1e-4, "epochs": 5}, {"learning_rate": 1e-5, "epochs": 5}),
}  # fmt: skip
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper-ner": {
        **_PAPER, "characters": {"kind": "gru", "dim": 25, "units": 80, "layers": 2, "dropout": 0.25},
        "cell": "gru", "units": (300, 300), "dropout": 0.25, "dropout_output": False,
    },
    "paper-chunking": {
        **_PAPER, "characters": {"kind": "cnn", "dim": 30, "filters": 30, "width": 3, "dropout": 0.5},
        "cell": "lstm", "units": (200, 200), "dropout": 0.5, "dropout_output": True,
    },
}  # fmt: skip
"""The taggers of the paper, without word vectors and data."""


class TaggerConfig(Settings):
    """Character + word BiRNN-CRF (Peters et al. 2017, section 3.1)."""

    preset: str | None = Field(
        None,
        exclude=True,
        description=f"settings to start from: {', '.join(PRESETS)}; other settings override it",
    )
    characters: Annotated[
        CharCnnEncoder | CharGruEncoder | CharLstmEncoder | NoCharacters, Field(discriminator="kind")
    ] = CharCnnEncoder()
    max_bytes: int = Field(40, ge=4, description="longer words keep their first and last bytes")
    words: WordsConfig = WordsConfig()
    cell: Literal["gru", "lstm"] = Field("gru", description="cell of the sequence layers")
    units: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (200, 200), min_length=1, max_length=4, description="units per direction of each sequence layer, 1 to 4 of them"
    )
    lm: LmEntryConfig = LmEntryConfig()
    dropout: float = Field(0.25, ge=0, lt=1, description="on the input of each sequence layer, never recurrent")
    locked_dropout: float = Field(
        0.0, ge=0, lt=1, description="at the same positions, one mask for all tokens of a sentence"
    )
    dropout_output: bool = Field(
        False, description="apply both dropouts to the output of the last layer too (chunking in the paper)"
    )
    word_dropout: float = Field(
        0.0, ge=0, lt=1, description="probability that the word vector of a token is zero in training"
    )
    init_from: Annotated[str | dict[int, str] | None, BeforeValidator(_tagger_as_written)] = Field(
        None, exclude_if=lambda given: given is None,  # keys of older taggers have none
        description="trained tagger to start from instead of random weights, without its dense layer and CRF: "
        "EXPERIMENT.yaml:VARIANT, or the beginning of a digest",
    )  # fmt: skip
    output: Literal["crf", "softmax"] = Field(
        "crf", exclude_if=lambda given: given == "crf",  # keys of older taggers have no output
        description="crf: scores of tag pairs, the whole sentence at once; softmax: every token's tag by itself",
    )  # fmt: skip
    start_end: bool = Field(False, description="CRF scores for the first and last tag")
    constraints: bool = Field(False, description="forbid invalid BIOES transitions in the loss and in decoding")
    train_on: Literal["train", "train+dev"] = Field(
        "train", description="train+dev: train on train first to find the number of epochs, then from the start on "
        "both for that number (NER in the paper)"
    )  # fmt: skip
    batch_size: int = Field(32, ge=1, description="sentences per step")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam, constant in the first phase")
    clip: float = Field(5.0, gt=0, description="largest gradient norm")
    max_epochs: int = Field(60, ge=1, description="epochs of the first phase at most")
    patience: int = Field(10, ge=1, description="epochs without a better dev F1 that end the first phase")
    annealing: tuple[AnnealingPhase, ...] = Field(
        (AnnealingPhase(learning_rate=1e-4, epochs=5), AnnealingPhase(learning_rate=1e-5, epochs=5)),
        description="phases that start from the best model at lower learning rates",
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, given: Any) -> Any:
        return over_preset(given, PRESETS)

    @model_validator(mode="after")
    def _layers_fit(self) -> TaggerConfig:
        if self.lm.layers_below > len(self.units):
            raise ValueError(
                f"lm.position is {self.lm.position}, but units {list(self.units)} are {len(self.units)} layer(s); give "
                "more units, or a lower position"
            )
        return self

    @model_validator(mode="after")
    def _output_fits(self) -> TaggerConfig:
        if self.init_from is not None and self.lm.position == "only":
            raise ValueError(
                "init_from has nothing to give to lm.position only; choose another position, or leave it out"
            )
        given = " and ".join(name for name in ("start_end", "constraints") if getattr(self, name))
        if self.output == "softmax" and given:
            raise ValueError(f"output is softmax, but {given} need a CRF; set output to crf, or {given} to false")
        return self


class VariantConfig(Settings):
    """One variant of the comparison."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="name in reports, MLflow and the registry")
    lm: tuple[str, ...] = Field(
        (), description="language models whose embeddings the tagger reads; none for a baseline"
    )
    directions: tuple[Direction, ...] = Field(
        (Direction.FORWARD, Direction.BACKWARD),
        min_length=1,
        description="directions whose embeddings the tagger reads",
    )
    tagger: dict[str, Any] = Field(
        default_factory=dict, description="settings that differ from the tagger section of the experiment"
    )

    @field_validator("lm", mode="before")
    @classmethod
    def _one_name_or_none(cls, value: object) -> object:
        if value is None or value == "none":
            return ()
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _no_repeats(self) -> VariantConfig:
        if len(set(self.lm)) != len(self.lm) or len(set(self.directions)) != len(self.directions):
            raise ValueError("lm and directions must not repeat")
        return self
