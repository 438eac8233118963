"""Tagging new sentences: encoded as in training, with LM embeddings computed on demand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from taglm_core.errors import MismatchError
from taglm_core.lm.extraction import Tokens, embed_online
from taglm_core.lm.model import TrainedLm, load_language_model
from taglm_core.nn.tagger_network import Tagger
from taglm_core.tagging.online_vectors import OnlineVectors
from taglm_core.tagging.tagger_training import decode_all
from taglm_core.tagging.trained import FrozenVectors, TaggerSpec, encode, load_network, load_spec

logger = logging.getLogger("taglm")


class Predictor:
    """A tagger with its language models.

    Args:
        network: the network, in evaluation mode.
        spec: its specification.
        language_models: its language models, in the order of `spec.lm`.
        vectors: frozen vectors of words that training did not have, or None for none.
    """

    def __init__(
        self,
        network: Tagger,
        spec: TaggerSpec,
        language_models: Sequence[TrainedLm],
        vectors: OnlineVectors | None = None,
    ) -> None:
        found = [(str(lm.direction), lm.size) for lm in language_models]
        wanted = [(source.direction, source.size) for source in spec.lm]
        if found != wanted:
            raise MismatchError(f"the tagger reads language models {wanted} (direction, width), but was given {found}")
        self._network, self._spec, self._language_models = network, spec, language_models
        self._vectors = vectors

    @classmethod
    def load(
        cls,
        tagger: Path,
        language_models: Sequence[Path],
        device: torch.device | None = None,
        vectors: Path | None = None,
    ) -> Predictor:
        """Open a tagger and its language models, in the order in which the tagger joins them.

        Args:
            tagger: folder of the tagger.
            language_models: folders of the language models.
            device: device for computing; the CPU if not given.
            vectors: the file of word vectors that the tagger was trained with. Without it, words that training did not
                have are read through characters and LM embeddings alone, and scores will be lower than measured.

        Raises:
            MismatchError: the tagger was trained with other language models or another vector file.
        """
        where = device or torch.device("cpu")
        spec, facts = load_spec(tagger)
        known = facts.get("vector_samples", {})
        online = None if vectors is None else OnlineVectors(vectors, spec.words, spec.word_size, known)
        if known and vectors is None:
            logger.warning(
                "%s: words outside of its %d training words have no vectors here; give the file of word vectors that "
                "it was trained with (vectors=)", tagger, len(spec.words.words),
            )  # fmt: skip
        network = load_network(tagger, spec, FrozenVectors.none(spec.word_size), where)
        models = [load_language_model(folder, where, predicts=False) for folder in language_models]
        return cls(network, spec, models, online)

    def tag(self, sentences: Sequence[Sequence[str]], documents: Sequence[int] | None = None) -> list[list[str]]:
        """Tag tokenised sentences in BIOES: one tag for each token, none for an empty sentence.

        Args:
            sentences: tokens of each sentence.
            documents: document of each sentence, those of one document in a row; None: each sentence is a document.
                Used by taggers made with `embedding.context: document` alone.
        """
        filled = [number for number, tokens in enumerate(sentences) if tokens]
        tokens: list[Tokens] = [tuple(sentences[number]) for number in filled]
        if not tokens:
            return [[] for _ in sentences]
        groups = [documents[number] for number in filled] if documents is not None else None
        states = [embed_online(lm, tokens, self._spec.embedding, groups) for lm in self._language_models]
        frozen = FrozenVectors.none(self._spec.word_size) if self._vectors is None else self._vectors.frozen(tokens)
        self._network.set_frozen_vectors(torch.from_numpy(frozen.matrix) if len(frozen.matrix) else None)
        data = encode(self._spec, frozen, tokens, states)
        tagged = decode_all(self._network, data, self._spec.tags)
        result: list[list[str]] = [[] for _ in sentences]
        for number, tags in zip(filled, tagged, strict=True):
            result[number] = tags
        return result
