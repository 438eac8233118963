"""Tagging new sentences: encoded as in training, with LM embeddings computed on demand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taglm_core.corpus.schemes import Span
from taglm_core.errors import MismatchError
from taglm_core.evaluation.spans import conlleval_spans
from taglm_core.lm.extraction import Tokens
from taglm_core.lm.model import TrainedLm, load_language_model
from taglm_core.lm.online import WordCache, embed_online
from taglm_core.nn.tagger_network import Batch, Tagger
from taglm_core.nn.word_rows import WordRows
from taglm_core.tagging.dataset import Dataset
from taglm_core.tagging.online_vectors import OnlineVectors, VectorSource
from taglm_core.tagging.trained import FrozenVectors, TaggerSpec, encode, load_network, load_spec

logger = logging.getLogger("taglm")
BATCH_SENTENCES, BATCH_TOKENS = 64, 8_192  # of a batch; tokens with padding
CACHED_WORDS = 100_000  # words whose character vectors are kept; beyond that they are computed again


@dataclass(frozen=True, slots=True)
class PredictedSpan:
    """An entity of a sentence.

    Attributes:
        label: type of the entity.
        start: its first token.
        end: the token after its last one.
        confidence: posterior probability of the span's tags; 1 if confidences were not asked for.
    """

    label: str
    start: int
    end: int
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class PredictedSentence:
    """What a tagger says about a sentence of n tokens.

    Attributes:
        tags: the best path in BIOES, a tag per token.
        spans: the entities of it.
        marginals: probability of each tag at each token [n, K], if asked for.
        paths: the n best paths with their probabilities, best first, if asked for.
        known: for each token, whether the tagger has a vector of it, trained or from the file of word vectors.
    """

    tags: tuple[str, ...] = ()
    spans: tuple[PredictedSpan, ...] = ()
    marginals: NDArray[np.float64] | None = None
    paths: tuple[tuple[tuple[str, ...], float], ...] = ()
    known: tuple[bool, ...] = ()


class Predictor:
    """A tagger with its language models. Threads may share it; their calls are computed one after the other.

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
        vectors: VectorSource | None = None,
    ) -> None:
        found = [(str(lm.direction), lm.size) for lm in language_models]
        wanted = [(source.direction, source.size) for source in spec.lm]
        if found != wanted:
            raise MismatchError(f"the tagger reads language models {wanted} (direction, width), but was given {found}")
        self.spec = spec
        self._network, self._vectors = network, vectors
        self._models = [(lm, WordCache(lm, CACHED_WORDS)) for lm in language_models]
        encoder = network.characters
        weight = next(network.parameters())
        self._characters = WordRows(weight, 0 if encoder is None else encoder.size, CACHED_WORDS)
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        tagger: Path,
        language_models: Sequence[Path],
        device: torch.device | None = None,
        vectors: Path | VectorSource | None = None,
    ) -> Predictor:
        """Open a tagger and its language models, in the order in which the tagger joins them.

        Args:
            tagger: folder of the tagger.
            language_models: folders of the language models.
            device: device for computing; the CPU if not given.
            vectors: the file of word vectors that the tagger was trained with, or an open table of it. Without it,
                words that training did not have are read through characters and LM embeddings alone, and scores will
                be lower than measured.

        Raises:
            MismatchError: the tagger was trained with other language models or another vector file.
        """
        where = device or torch.device("cpu")
        spec, facts = load_spec(tagger)
        known = facts.get("vector_samples", {})
        if isinstance(vectors, Path):
            vectors = OnlineVectors(vectors, spec.words, spec.word_size, known)
        if known and vectors is None:
            logger.warning(
                "%s: words outside of its %d training words have no vectors here; give the file of word vectors that "
                "it was trained with (vectors=)", tagger, len(spec.words.words),
            )  # fmt: skip
        network = load_network(tagger, spec, FrozenVectors.none(spec.word_size), where)
        models = [load_language_model(folder, where, predicts=False) for folder in language_models]
        return cls(network, spec, models, vectors)

    def tag(self, sentences: Sequence[Sequence[str]], documents: Sequence[int] | None = None) -> list[list[str]]:
        """Tag tokenised sentences in BIOES: one tag for each token, none for an empty sentence.

        Args:
            sentences: tokens of each sentence.
            documents: document of each sentence, those of one document in a row; None: each sentence is a document.
                Used by taggers made with `embedding.context: document` alone.
        """
        return [list(each.tags) for each in self.predict(sentences, documents, confidences=False)]

    def forget_words(self) -> None:
        """Forget the vectors of words met before.

        A word that is encoded beside other words may differ in its last bits. After this call the same sentences give
        the same bits, whatever was tagged before.
        """
        with self._lock:
            self._characters.clear()
            for _, words in self._models:
                words.clear()

    @torch.no_grad()
    def predict(
        self,
        sentences: Sequence[Sequence[str]],
        documents: Sequence[int] | None = None,
        *,
        confidences: bool = True,
        marginals: bool = False,
        n_best: int = 0,
    ) -> list[PredictedSentence]:
        """Tag tokenised sentences, with the confidence of each entity.

        Args:
            sentences: tokens of each sentence.
            documents: as in `tag`.
            confidences: whether to compute the confidences of spans.
            marginals: whether to return the probability of each tag at each token.
            n_best: number of best paths to return with their probabilities.
        """
        filled = [number for number, tokens in enumerate(sentences) if tokens]
        result = [PredictedSentence()] * len(sentences)
        if not filled:
            return result
        tokens: list[Tokens] = [tuple(sentences[number]) for number in filled]
        groups = [documents[number] for number in filled] if documents is not None else None
        with self._lock:
            states = [embed_online(lm, tokens, self.spec.embedding, groups, words) for lm, words in self._models]
            frozen = FrozenVectors.none(self.spec.word_size) if self._vectors is None else self._vectors.frozen(tokens)
            self._network.set_frozen_vectors(torch.from_numpy(frozen.matrix) if len(frozen.matrix) else None)
            data = encode(self.spec, frozen, tokens, states)
            for rows in batches_of(data.lengths):
                batch = self._batch(data, rows)
                emissions = self._network.emissions(batch)
                wanted = (confidences, marginals, n_best)
                for row, found in zip(rows, self._read(batch, emissions, *wanted), strict=True):
                    known = tuple(bool(data.words[token]) for token in data.token_ids[row])
                    result[filled[row]] = replace(found, known=known)
        return result

    def _batch(self, data: Dataset, rows: Sequence[int]) -> Batch:
        """Return a batch with the characters of its words encoded, those of words met before from memory."""
        batch = data.batch(rows)
        encoder = self._network.characters
        if encoder is None:
            return batch.to(self._device)
        encoded = self._characters.of(
            data.distinct_tokens(rows), lambda new: encoder(batch.distinct_chars[torch.tensor(new)].to(self._device))
        )
        return replace(batch, encoded_chars=encoded).to(self._device)

    def _read(
        self, batch: Batch, emissions: Tensor, confidences: bool, marginals: bool, n_best: int
    ) -> Iterator[PredictedSentence]:
        names, crf = self.spec.tags, self._network.crf
        paths, _ = crf.decode(emissions, batch.mask)
        lengths = batch.lengths.tolist()
        tags = [tuple(names[code] for code in row[:n]) for row, n in zip(paths.tolist(), lengths, strict=True)]
        spans = [conlleval_spans(row) for row in tags]
        sure = self._confidences(batch, emissions, paths, spans) if confidences else {}
        shares = crf.marginals(emissions.double(), batch.mask).cpu().numpy() if marginals else None
        best = crf.n_best(emissions.double(), batch.mask, n_best) if n_best else None
        total = crf.log_partition(emissions.double(), batch.mask) if n_best else None
        for row, n in enumerate(lengths):
            found = [
                PredictedSpan(span.type, span.start, span.end, sure.get((row, span.start), 1.0)) for span in spans[row]
            ]
            others: list[tuple[tuple[str, ...], float]] = []
            if best is not None and total is not None:
                chances = torch.exp(best[1][row] - total[row]).tolist()
                pairs = zip(best[0][row, :, :n].tolist(), chances, strict=True)
                others = [(tuple(names[code] for code in codes), chance) for codes, chance in pairs if chance > 0]
            yield PredictedSentence(tags[row], tuple(found), None if shares is None else shares[row, :n], tuple(others))

    def _confidences(
        self, batch: Batch, emissions: Tensor, paths: Tensor, spans: Sequence[Sequence[Span]]
    ) -> dict[tuple[int, int], float]:
        """Return the posterior of each span by row and first token; sentences without spans are left out."""
        rows = [row for row, found in enumerate(spans) if found]
        if not rows:
            return {}
        chosen = torch.tensor(rows, device=emissions.device)
        longest = int(batch.lengths[rows].max())
        parts = (tensor[chosen, :longest] for tensor in (emissions, paths, batch.mask))
        alone, after = (found.cpu().numpy() for found in self._network.crf.path_log_probs(*parts))
        return {
            (row, span.start): float(np.exp(alone[place, span.start] + after[place, span.start + 1 : span.end].sum()))
            for place, row in enumerate(rows)
            for span in spans[row]
        }

    @property
    def _device(self) -> torch.device:
        return next(self._network.parameters()).device


def batches_of(lengths: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield all sentences once, shortest first, in batches of at most 64 sentences and 8,192 tokens with padding.

    A longer sentence has a batch of its own.
    """
    chosen: list[int] = []
    for number in np.argsort(lengths, kind="stable").tolist():
        if chosen and (len(chosen) == BATCH_SENTENCES or int(lengths[number]) * (len(chosen) + 1) > BATCH_TOKENS):
            yield chosen
            chosen = []
        chosen.append(number)
    if chosen:
        yield chosen
