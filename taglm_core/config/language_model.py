"""Configuration of a pair of language models (forward and backward share settings, never parameters)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from taglm_core.config.base import Settings


class Direction(StrEnum):
    """Reading direction of a language model."""

    FORWARD = "forward"
    BACKWARD = "backward"


class CharCnnInput(Settings):
    """Words enter through their characters (UTF-8 bytes); nothing is unknown at the input."""

    kind: Literal["char-cnn"] = "char-cnn"
    dim: int = Field(16, ge=1, description="size of a character embedding")
    filters: tuple[tuple[int, int], ...] = Field(
        ((1, 32), (2, 32), (3, 64), (4, 128), (5, 128)), min_length=1, description="(width, number) of the filters"
    )
    highway: int = Field(1, ge=0, description="highway layers")
    size: int = Field(256, ge=1, description="size of the word vector handed to the LSTM")
    max_bytes: int = Field(40, ge=4, description="longer words keep their first and last bytes")


class WordInput(Settings):
    """Words enter through an embedding table; unknown words through their class (see `unknown`)."""

    kind: Literal["word"] = "word"
    size: int = Field(256, ge=1, description="size of a word embedding")


class FullSoftmax(Settings):
    """One matrix over the whole vocabulary."""

    kind: Literal["full"] = "full"


class AdaptiveSoftmax(Settings):
    """Frequent words in the head, rarer ones in clusters of falling size (Grave et al. 2017)."""

    kind: Literal["adaptive"] = "adaptive"
    cutoffs: tuple[int, ...] = Field((2_000, 10_000), min_length=1, description="first word of each tail cluster")
    shrink: float = Field(4.0, ge=1, description="each cluster's size is the previous one's divided by this")


class Unknown(StrEnum):
    """What a word outside the vocabulary becomes, as a target and for word inputs."""

    SHAPE = "shape"
    SINGLE = "single"


class LrSchedule(StrEnum):
    """Learning rate over the budget of steps."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class LanguageModelConfig(Settings):
    """One bidirectional language model: two LSTMs of these settings, trained separately (PAPER: section 2)."""

    input: Annotated[CharCnnInput | WordInput, Field(discriminator="kind")] = CharCnnInput()
    vocabulary_size: int = Field(40_000, ge=2, description="words the softmax knows, special classes included")
    min_count: int = Field(2, ge=1, description="words seen less often in the text are unknown")
    unknown: Unknown = Field(Unknown.SHAPE, description="classes of words outside the vocabulary")
    units: int = Field(768, ge=1, description="LSTM units")
    projection: int = Field(256, ge=1, description="size of the projected LSTM state: the embedding's size")
    layers: int = Field(1, ge=1, le=4, description="LSTM layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before and after the LSTM, never recurrent")
    softmax: Annotated[FullSoftmax | AdaptiveSoftmax, Field(discriminator="kind")] = AdaptiveSoftmax()
    optimizer: Literal["adam", "adagrad"] = Field("adam", description="optimiser")
    learning_rate: float = Field(2e-3, gt=0, description="learning rate at the start")
    schedule: LrSchedule = Field(LrSchedule.COSINE, description="learning rate over the steps")
    warmup_steps: int = Field(100, ge=0, description="steps of linear warm-up")
    clip: float = Field(1.0, gt=0, description="largest gradient norm (mean loss per token)")
    streams: int = Field(64, ge=1, description="text streams read side by side (the batch)")
    window: int = Field(20, ge=1, description="tokens per truncated back-propagation")
    steps: int = Field(3_000, ge=1, description="budget: optimiser steps of streams x window tokens")
    break_sentences: int = Field(1_000, ge=1, description="held-out sentences the break state is the mean over")
    directions: tuple[Direction, ...] = Field((Direction.FORWARD, Direction.BACKWARD), min_length=1)
    seed: int = Field(1, ge=0, description="seed of initialisation, order and dropout")

    @model_validator(mode="after")
    def _sizes_fit(self) -> LanguageModelConfig:
        if self.projection > self.units:
            raise ValueError(f"projection ({self.projection}) must not be larger than units ({self.units})")
        if len(set(self.directions)) != len(self.directions):
            raise ValueError("directions must not repeat")
        if isinstance(self.softmax, AdaptiveSoftmax):
            cutoffs, shrink = self.softmax.cutoffs, self.softmax.shrink
            if list(cutoffs) != sorted(set(cutoffs)):
                raise ValueError(f"softmax.cutoffs must rise, not {list(cutoffs)}")
            if self.projection < shrink ** len(cutoffs):
                raise ValueError(
                    f"softmax: {len(cutoffs)} clusters shrunk by {shrink:g} each leave nothing of projection "
                    f"{self.projection}; lower softmax.shrink or give fewer cutoffs"
                )
        return self
