"""Configuration of the embeddings: which states of a language model are stored, and in which precision."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from taglm_core.config.base import Settings


class Context(StrEnum):
    """The text over which a language model's state is carried."""

    SENTENCE = "sentence"
    DOCUMENT = "document"


def _layers_as_written(given: object) -> object:
    """Refuse here what pydantic would refuse with a message about unions."""
    if given in ("top", "all"):
        return given
    if isinstance(given, list | tuple) and given and all(type(layer) is int and layer >= 1 for layer in given):
        return tuple(given)
    raise ValueError(f"expected top, all, or a list of layers counted from 1, found {given!r}")


class EmbeddingConfig(Settings):
    """Which LM states are stored, and in which precision."""

    layers: Annotated[Literal["top", "all"] | tuple[int, ...], BeforeValidator(_layers_as_written)] = Field(
        "top", description="layers of the language model that are kept side by side: top, all, or a list counted from "
        "1; of several the tagger learns a mix"
    )  # fmt: skip
    precision: Literal["float16", "float32", "int8"] = Field(
        "float16", description="of the kept numbers; int8 is scaled by the largest number of each vector"
    )
    context: Context = Field(
        Context.SENTENCE, description="sentence: each is read by itself, identical ones once; document: the state is "
        "carried over the sentences of a document"
    )  # fmt: skip
    token_map: dict[str, str] = Field(
        default_factory=dict, description="task token -> LM token, where the two texts write quotes or brackets apart"
    )
    shard_tokens: int = Field(32_768, ge=1, description="tokens after which a shard, a unit of work, is full")
    batch_sentences: int = Field(
        128, ge=1, description="sentences (or documents) read side by side inside a shard (part of the bits)"
    )

    @field_validator("layers")
    @classmethod
    def _no_layer_twice(cls, layers: object) -> object:
        if isinstance(layers, tuple) and list(layers) != sorted(set(layers)):
            raise ValueError(f"must rise, not {list(layers)}")
        return layers
