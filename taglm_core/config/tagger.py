"""Configuration of the tagger, and of the variants that are compared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from taglm_core.config.base import Settings
from taglm_core.config.language_model import Direction


class CharCnnEncoder(Settings):
    """Characters by convolution and max over time (chunking in the paper: 30 filters of width 3, tanh)."""

    kind: Literal["cnn"] = "cnn"
    dim: int = Field(30, ge=1, description="size of a character embedding")
    filters: int = Field(30, ge=1, description="number of filters")
    width: int = Field(3, ge=1, description="width of the filters")


class CharGruEncoder(Settings):
    """Characters by stacked bidirectional GRUs (NER in the paper: 2 layers of 80 units over 25-d)."""

    kind: Literal["gru"] = "gru"
    dim: int = Field(25, ge=1, description="size of a character embedding")
    units: int = Field(80, ge=1, description="units per direction")
    layers: int = Field(2, ge=1, le=4, description="layers")


class NoCharacters(Settings):
    """No character encoder."""

    kind: Literal["none"] = "none"


class WordsConfig(Settings):
    """Word embeddings of the tagger. Look-up is lower-cased with digits to zero; characters see the raw token."""

    size: int = Field(50, ge=1, description="size of random word embeddings; with vectors their own size is taken")
    vectors: str | None = Field(None, description="GloVe-format text file (.gz and .zst are read); null: random")
    min_count: int = Field(1, ge=1, description="training words seen less often are unknown")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="chance that a training word seen once, without vector, is taken as unknown"
    )


class AnnealingPhase(Settings):
    """One phase after the best epoch of the first: from the best model, at this rate, so many epochs."""

    learning_rate: float = Field(gt=0)
    epochs: int = Field(ge=1)


class TaggerConfig(Settings):
    """Character + word BiRNN-CRF (PAPER: sections 1 and 3)."""

    characters: Annotated[CharCnnEncoder | CharGruEncoder | NoCharacters, Field(discriminator="kind")] = (
        CharCnnEncoder()
    )
    max_bytes: int = Field(40, ge=4, description="longer words keep their first and last bytes")
    words: WordsConfig = WordsConfig()
    cell: Literal["gru", "lstm"] = Field("gru", description="cell of the two sequence layers")
    units: tuple[int, int] = Field((200, 200), description="units per direction of layer 1 and layer 2")
    dropout: float = Field(0.25, ge=0, lt=1, description="on the input of each recurrent layer, never recurrent")
    dropout_output: bool = Field(False, description="also on the output of the last layer (chunking in the paper)")
    start_end: bool = Field(False, description="CRF scores for the first and last tag")
    constraints: bool = Field(False, description="what BIOES forbids is forbidden in the CRF's loss and decoding")
    batch_size: int = Field(32, ge=1, description="sentences a step")
    learning_rate: float = Field(1e-3, gt=0, description="Adam, constant in the first phase")
    clip: float = Field(5.0, gt=0, description="largest gradient norm")
    max_epochs: int = Field(60, ge=1, description="epochs of the first phase at most")
    patience: int = Field(10, ge=1, description="epochs without a better dev F1 that end the first phase")
    annealing: tuple[AnnealingPhase, ...] = Field(
        (AnnealingPhase(learning_rate=1e-4, epochs=5), AnnealingPhase(learning_rate=1e-5, epochs=5)),
        description="phases from the best model at lower rates",
    )


class VariantConfig(Settings):
    """One arm of the comparison."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="name in reports, MLflow and the registry")
    lm: tuple[str, ...] = Field((), description="language models whose embeddings are read; none for a baseline")
    directions: tuple[Direction, ...] = Field((Direction.FORWARD, Direction.BACKWARD), min_length=1)
    tagger: dict[str, Any] = Field(default_factory=dict, description="differences from the experiment's tagger section")

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
