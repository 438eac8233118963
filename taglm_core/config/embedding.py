"""Configuration of the embeddings of language models."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from taglm_core.config.base import Settings


class Context(StrEnum):
    """Range over which the state of a language model is carried."""

    SENTENCE = "sentence"
    DOCUMENT = "document"


def _layers_as_written(given: object) -> object:
    """Refuse invalid values with a plain message, before pydantic reports on each member of the union."""
    if given in ("top", "all"):
        return given
    if isinstance(given, list | tuple) and given and all(type(layer) is int and layer >= 1 for layer in given):
        return tuple(given)
    raise ValueError(f"expected top, all, or a list of layers counted from 1, found {given!r}")


class EmbeddingConfig(Settings):
    """Selection, precision and context of the stored LM states."""

    layers: Annotated[Literal["top", "all"] | tuple[int, ...], BeforeValidator(_layers_as_written)] = Field(
        "top", description="layers of the language model to store: top, all, or a list counted from 1; the tagger "
        "learns a mix of several"
    )  # fmt: skip
    precision: Literal["float16", "float32", "int8"] = Field(
        "float16", description="number format of the stored states; int8 is scaled by the largest number of each vector"
    )
    context: Context = Field(
        Context.SENTENCE, description="sentence: read each sentence by itself, identical ones once; document: carry "
        "the state over the sentences of a document"
    )  # fmt: skip
    token_map: dict[str, str] = Field(
        default_factory=dict,
        description="task token -> LM token, for quotes or brackets that the two texts write differently",
    )
    shard_tokens: int = Field(32_768, ge=1, description="tokens per shard, the unit of work")
    batch_sentences: int = Field(
        128, ge=1, description="sentences (or documents) per batch inside a shard; changes the bits"
    )

    @field_validator("layers")
    @classmethod
    def _no_layer_twice(cls, layers: object) -> object:
        if isinstance(layers, tuple) and list(layers) != sorted(set(layers)):
            raise ValueError(f"must rise, not {list(layers)}")
        return layers
