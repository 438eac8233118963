"""Tagging new sentences: the same coding as in training, LM embeddings computed as they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from taglm_core.errors import MismatchError
from taglm_core.lm.extraction import Tokens, embed_online
from taglm_core.lm.model import TrainedLm, load_language_model
from taglm_core.nn.tagger import Tagger
from taglm_core.tagging.job import decode_all
from taglm_core.tagging.trained import FixedVectors, TaggerSpec, encode, load_network, load_spec


class Predictor:
    """A tagger with its language models.

    Args:
        network: in evaluation mode.
        spec: what it was built from.
        language_models: in the order of `spec.lm`.
    """

    def __init__(self, network: Tagger, spec: TaggerSpec, language_models: Sequence[TrainedLm]) -> None:
        found = [(str(lm.direction), lm.size) for lm in language_models]
        wanted = [(source.direction, source.size) for source in spec.lm]
        if found != wanted:
            raise MismatchError(f"the tagger reads language models {wanted} (direction, width), but was given {found}")
        self._network, self._spec, self._language_models = network, spec, language_models

    @classmethod
    def load(cls, tagger: Path, language_models: Sequence[Path], device: torch.device | None = None) -> Predictor:
        """Open a tagger and its language models, in the order in which the tagger joins them.

        A tagger with fixed word vectors knows only the vectors it was trained with here; other words are unknown to
        its word table and are read through their characters and LM embeddings.
        """
        where = device or torch.device("cpu")
        spec, _ = load_spec(tagger)
        network = load_network(tagger, spec, FixedVectors.none(spec.word_size), where)
        return cls(network, spec, [load_language_model(folder, where, predicts=False) for folder in language_models])

    def tag(self, sentences: Sequence[Sequence[str]], documents: Sequence[int] | None = None) -> list[list[str]]:
        """BIOES tags of tokenised sentences; as many tags as tokens, an empty sentence has none.

        Args:
            sentences: tokens.
            documents: document of each sentence, those of one side by side; None: each is a document of its own. Only a
                tagger made with `embedding.context: document` looks at it.
        """
        filled = [number for number, tokens in enumerate(sentences) if tokens]
        tokens: list[Tokens] = [tuple(sentences[number]) for number in filled]
        if not tokens:
            return [[] for _ in sentences]
        groups = [documents[number] for number in filled] if documents is not None else None
        states = [embed_online(lm, tokens, self._spec.embedding, groups) for lm in self._language_models]
        data = encode(self._spec, FixedVectors.none(self._spec.word_size), tokens, states)
        tagged = decode_all(self._network, data, self._spec.tags)
        result: list[list[str]] = [[] for _ in sentences]
        for number, tags in zip(filled, tagged, strict=True):
            result[number] = tags
        return result
