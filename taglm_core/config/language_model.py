"""Configuration of a pair of language models; forward and backward share settings, never parameters."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from taglm_core.config.base import Settings, found_digest, is_digest_start, over_preset

LATEST = "latest"  # of `continue_from`
SOME_FILE = "a file"  # replaces the path of `vectors` where only its presence matters


class Direction(StrEnum):
    """Reading direction of a language model."""

    FORWARD = "forward"
    BACKWARD = "backward"


class CharCnnInput(Settings):
    """Words are encoded from their characters (UTF-8 bytes); no input word is unknown."""

    kind: Literal["char-cnn"] = "char-cnn"
    dim: int = Field(16, ge=1, description="size of a character embedding")
    filters: tuple[tuple[int, int], ...] = Field(
        ((1, 32), (2, 32), (3, 64), (4, 128), (5, 128)), min_length=1, description="(width, number) of the filters"
    )
    highway: int = Field(1, ge=0, description="highway layers")
    size: int = Field(256, ge=1, description="size of the word vector that the LSTM reads")
    max_bytes: int = Field(40, ge=4, description="longer words keep their first and last bytes")


class WordInput(Settings):
    """Words are looked up in an embedding table, unknown words by their class (see `unknown`)."""

    kind: Literal["word"] = "word"
    size: int = Field(256, ge=1, description="size of a word embedding")


class FullSoftmax(Settings):
    """One matrix over the whole vocabulary."""

    kind: Literal["full"] = "full"
    tied: bool = Field(
        False, description="share the matrix with the word table (word input of the size of the projection)"
    )


class AdaptiveSoftmax(Settings):
    """Frequent words in the head, rarer words in clusters of falling size (Grave et al. 2017)."""

    kind: Literal["adaptive"] = "adaptive"
    cutoffs: tuple[int, ...] = Field((2_000, 10_000), min_length=1, description="first word of each tail cluster")
    shrink: float = Field(4.0, ge=1, description="each cluster's size is the previous one's divided by this")


class SampledSoftmax(Settings):
    """One matrix over the whole vocabulary, trained on a sample of it (Jean et al. 2015); perplexity stays exact."""

    kind: Literal["sampled"] = "sampled"
    samples: int | None = Field(
        None, ge=1, description="words sampled per step; null: 3.2 per token of a step (8,192 for 128 x 20), at most "
        "half of the vocabulary"
    )  # fmt: skip

    def number(self, tokens: int, vocabulary: int) -> int:
        """Return the number of words to sample in a step of `tokens` tokens."""
        return self.samples if self.samples is not None else max(1, min(round(3.2 * tokens), vocabulary // 2))


class Unknown(StrEnum):
    """Class of a word outside the vocabulary, as target and as word input."""

    SHAPE = "shape"
    SINGLE = "single"


class LrSchedule(StrEnum):
    """Schedule of the learning rate over all steps."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


_JOZEFOWICZ = {  # Jozefowicz et al. 2016 and its code
    "optimizer": "adagrad", "learning_rate": 0.2, "schedule": "constant", "warmup_steps": 0, "clip": 10.0,
    "loss_scale": 20.0, "average": 0.999, "streams": 128, "window": 20, "softmax": {"kind": "sampled"},
}  # fmt: skip
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "char-cnn-small": {},
    "lstm-512-256": {
        "input": {"kind": "word", "size": 256}, "units": 512, "projection": 256, "vocabulary_size": 50_000,
        "streams": 128, "learning_rate": 3e-3,
    },
    "char-cnn-large": {
        "input": {"kind": "char-cnn", "size": 512}, "units": 1_024, "projection": 512, "layers": 2, "residual": True,
        "dropout": 0.3, "vocabulary_size": 50_000, "streams": 256, "window": 40, "steps": 7_000, "warmup_steps": 200,
    },
    "lstm-2048-512": {
        **_JOZEFOWICZ, "input": {"kind": "word", "size": 512}, "units": 2_048, "projection": 512,
        "vocabulary_size": 793_471, "min_count": 3, "unknown": "single",
    },
    "cnn-big-lstm": {
        **_JOZEFOWICZ, "units": 8_192, "projection": 1_024, "layers": 2, "dropout": 0.25,
        "input": {"kind": "char-cnn", "size": 1_024, "max_bytes": 50, "highway": 2,
                  "filters": [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1_024], [8, 2_048]]},
        "vocabulary_size": 793_471, "min_count": 3, "unknown": "single",
    },
}  # fmt: skip
"""Presets: the default, a medium word model, one for an accelerator, and the two of the paper."""


SHAPE = (
    "input",
    "vectors",
    "vocabulary_size",
    "min_count",
    "unknown",
    "units",
    "projection",
    "layers",
    "residual",
    "softmax",
)
"""Settings that determine the weights and their meaning."""


def _base_as_written(given: Any) -> Any:
    """Refuse invalid values with a plain message, before pydantic reports on each member of the union."""
    if given is None or given == LATEST:
        return given
    ways = [str(way) for way in Direction]
    if not isinstance(given, Mapping) or not given or not set(map(str, given)) <= set(ways):
        raise ValueError(
            f"expected null, {LATEST}, or a section {{{': DIGEST, '.join(ways)}: DIGEST}}, found {given!r}"
        )
    for way, digest in given.items():
        if not is_digest_start(digest):
            raise ValueError(
                f"{way}: expected the beginning (6 characters or more) of a language-model object of `taglm status`, "
                f"{found_digest(digest)}"
            )
    return given


_Base = Annotated[Literal["latest"] | dict[Direction, str] | None, BeforeValidator(_base_as_written)]


class FineTuneConfig(Settings):
    """Fine-tuning on the words of the labelled training sentences (Peters et al. 2018: 3.4).

    Their order follows `unlabelled.passage_sentences`; all other settings are those of the language model.
    """

    steps: int = Field(ge=1, description="optimiser steps; a few passes over the labelled training sentences")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate at the start")
    warmup_steps: int = Field(20, ge=0, description="steps of linear warm-up")


class LanguageModelConfig(Settings):
    """One bidirectional language model: two separate LSTMs (Peters et al. 2017, section 3.2)."""

    input: Annotated[CharCnnInput | WordInput, Field(discriminator="kind")] = CharCnnInput()
    vectors: str | None = Field(
        None,
        exclude_if=lambda path: path is None,  # keeps the keys of models without vectors
        description="file of word vectors (GloVe, word2vec, fastText) that enter beside `input`, projected, never "
        "trained; null: none",
    )
    vocabulary_size: int = Field(40_000, ge=2, description="words in the softmax, special classes included")
    min_count: int = Field(2, ge=1, description="words seen less often in the text are unknown")
    unknown: Unknown = Field(Unknown.SHAPE, description="classes of words outside the vocabulary")
    units: int = Field(768, ge=1, description="LSTM units")
    projection: int = Field(256, ge=1, description="size of the projected LSTM state: the embedding's size")
    layers: int = Field(1, ge=1, le=4, description="LSTM layers")
    residual: bool = Field(False, description="add each layer's input to its output, from the second layer on")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before and after each LSTM layer, never recurrent")
    softmax: Annotated[FullSoftmax | AdaptiveSoftmax | SampledSoftmax, Field(discriminator="kind")] = AdaptiveSoftmax()
    optimizer: Literal["adam", "adagrad"] = Field("adam", description="optimiser")
    learning_rate: float = Field(2e-3, gt=0, description="learning rate at the start")
    schedule: LrSchedule = Field(LrSchedule.COSINE, description="learning rate over the steps")
    warmup_steps: int = Field(100, ge=0, description="steps of linear warm-up")
    clip: float = Field(1.0, gt=0, description="largest norm of the dense gradients of the scaled loss")
    loss_scale: float = Field(1.0, gt=0, description="factor of the mean loss per token before back-propagation")
    average: float | None = Field(
        None, gt=0, lt=1, description="decay of a moving average of the LSTM weights; evaluation and the finished "
        "model use the average; null: none"
    )  # fmt: skip
    streams: int = Field(64, ge=1, description="parallel text streams (the batch size)")
    window: int = Field(20, ge=1, description="tokens per truncated back-propagation")
    accumulate: int = Field(1, ge=1, description="windows whose gradients are averaged in one optimiser step")
    steps: int = Field(3_000, ge=1, description="optimiser steps of streams x window x accumulate tokens each")
    break_sentences: int = Field(1_000, ge=1, description="held-out sentences that the break state is averaged over")
    preset: str | None = Field(
        None,
        exclude=True,
        description=f"settings to start from: {', '.join(PRESETS)}; other settings override it",
    )
    continue_from: _Base = Field(
        None,
        description="language models to start from instead of random weights: the newest of other text (latest), or "
        "the beginning of a digest by direction; vocabulary and shape stay",
    )
    fine_tune: FineTuneConfig | None = Field(
        None,
        exclude_if=lambda given: given is None,
        description="fine-tune on the words of the labelled training sentences; null: do not",
    )
    directions: tuple[Direction, ...] = Field(
        (Direction.FORWARD, Direction.BACKWARD),
        min_length=1,
        description="directions; one language model is trained for each",
    )
    seed: int = Field(1, ge=0, description="seed of initialisation, order and dropout")

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, given: Any) -> Any:
        return over_preset(given, PRESETS)

    def shape(self) -> dict[str, Any]:
        """Return the settings that a model must share with the model it starts from (JSON values)."""
        fixed: dict[str, Any] = self.model_dump(mode="json", include=set(SHAPE))
        fixed["softmax"].pop("samples", None)  # belongs to training
        fixed["vectors"] = "none" if self.vectors is None else SOME_FILE  # independent of the path
        return fixed

    @property
    def step_tokens(self) -> int:
        """Return the tokens of one optimiser step."""
        return self.streams * self.window * self.accumulate

    @model_validator(mode="after")
    def _sizes_fit(self) -> LanguageModelConfig:
        if self.projection > self.units:
            raise ValueError(f"projection ({self.projection}) must not be larger than units ({self.units})")
        if len(set(self.directions)) != len(self.directions):
            raise ValueError("directions must not repeat")
        if isinstance(self.continue_from, dict) and (extra := set(self.continue_from) - set(self.directions)):
            raise ValueError(f"continue_from: {', '.join(sorted(extra))} is not in directions")
        tied = isinstance(self.softmax, FullSoftmax) and self.softmax.tied
        if tied and (not isinstance(self.input, WordInput) or self.input.size != self.projection):
            raise ValueError(
                f"softmax.tied needs input.kind word of the size of the projection ({self.projection}), not "
                f"{self.input.kind} of size {self.input.size}"
            )
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
