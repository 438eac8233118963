"""A tagger for text: loads an export or a registered model, and returns entities."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import torch

from taglm.entities import Analysis, Entity
from taglm_core.config.embedding import Context
from taglm_core.tagging.exported import BASELINE, INDEX, ExportedTagger, load_export
from taglm_core.tagging.prediction import PredictedSentence, Predictor
from taglm_core.text.segmenter import Segmenter, Sentence

REGISTERED = "models:/"
CHUNK_TOKENS = 16_384  # tokens that are predicted together: memory does not grow with the length of a stream
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")

Tokens = Sequence[str]


class Tagger:
    """A trained tagger. Threads may share it.

    Args:
        predictor: the tagger on tokens.
        index: index of its export.

    Attributes:
        labels: types of entities that it finds.
        tags: its K tags in BIOES, the columns of marginals.
        index: tokenizer, digest and facts of the export.
    """

    def __init__(self, predictor: Predictor, index: ExportedTagger) -> None:
        self._predictor, self.index = predictor, index
        self._segmenter = Segmenter(index.text)
        self.tags = predictor.spec.tags
        self.labels = tuple(sorted({tag.partition("-")[2] for tag in self.tags} - {""}))
        self._whole_documents = predictor.spec.embedding.context is Context.DOCUMENT

    @classmethod
    def load(
        cls,
        where: str | Path,
        *,
        vectors: str | Path | None = None,
        device: str = "cpu",
        verify: bool = False,
        tracking_uri: str | None = None,
    ) -> Tagger:
        """Load a tagger.

        Args:
            where: folder that `taglm export` wrote, or a registered model: `models:/NAME@ALIAS` or `models:/NAME/1`
                (for these MLflow is imported).
            vectors: file of word vectors that the tagger was trained with; only for exports that do not include them.
            device: device for computing, such as `cpu` or `cuda`.
            verify: whether to compare the bytes of all files with the export's index; sizes are always compared.
            tracking_uri: MLflow store of registered models; MLFLOW_TRACKING_URI or `data/mlflow.db` if not given.

        Raises:
            ConfigError: there is no such folder or model.
            DamagedObject: a file is missing, truncated or changed.
            MismatchError: the vectors are not those of training.
            TrackingAway: the MLflow store does not answer.
        """
        folder, given = Path(where), None if vectors is None else Path(vectors)
        with contextlib.ExitStack() as stack:
            if str(where).startswith(REGISTERED):
                from taglm.registered import registered_folder

                folder = stack.enter_context(registered_folder(str(where), tracking_uri))
            elif not (folder / INDEX).is_file() and (folder / "artifacts" / "export" / INDEX).is_file():
                folder = folder / "artifacts" / "export"  # the folder of an MLflow model
            return cls(*load_export(folder, device=torch.device(device), vectors=given, digests=verify))

    def baseline(self, folder: str | Path) -> Tagger | None:
        """Return the baseline that an export includes; None if it includes none."""
        inside = Path(folder) / BASELINE
        return Tagger.load(inside) if (inside / INDEX).is_file() else None

    @overload
    def tag(self, text: str, *, threshold: float = ..., labels: Collection[str] | None = ...) -> list[Entity]: ...

    @overload
    def tag(
        self, text: list[str] | tuple[str, ...], *, threshold: float = ..., labels: Collection[str] | None = ...
    ) -> list[list[Entity]]: ...

    @overload
    def tag(
        self, text: Iterator[str], *, threshold: float = ..., labels: Collection[str] | None = ...
    ) -> Iterator[list[Entity]]: ...

    def tag(
        self, text: str | Iterable[str], *, threshold: float = 0.0, labels: Collection[str] | None = None
    ) -> list[Entity] | list[list[Entity]] | Iterator[list[Entity]]:
        """Find the entities of raw text.

        Args:
            text: one text, a list of texts, or an iterator. Of an iterator the results come as an iterator, in order
                and in bounded memory.
            threshold: least confidence of an entity, between 0 and 1.
            labels: types of entities to return; all if not given.

        Returns:
            The entities of each text in order of their places; none for an empty text.

        Raises:
            ValueError: threshold or labels make no sense.
        """
        wanted = self.checked(threshold, labels)
        if isinstance(text, str):
            return next(self._entities(iter([text]), threshold, wanted))
        if isinstance(text, list | tuple):
            return list(self._entities(iter(text), threshold, wanted))
        return self._entities(iter(text), threshold, wanted)

    @overload
    def tag_tokens(self, tokens: list[str] | tuple[str, ...]) -> list[Entity]: ...

    @overload
    def tag_tokens(self, tokens: list[list[str]] | list[tuple[str, ...]]) -> list[list[Entity]]: ...

    @overload
    def tag_tokens(self, tokens: Iterator[Tokens]) -> Iterator[list[Entity]]: ...

    def tag_tokens(
        self,
        tokens: Sequence[str] | Iterable[Tokens],
        *,
        threshold: float = 0.0,
        labels: Collection[str] | None = None,
    ) -> list[Entity] | list[list[Entity]] | Iterator[list[Entity]]:
        """Find the entities of tokenised sentences; tokens are never split or joined.

        Args:
            tokens: tokens of one sentence, a list of sentences, or an iterator of sentences.
            threshold: as in `tag`.
            labels: as in `tag`.

        Returns:
            As `tag`. Places are those in the tokens joined by single spaces.

        Raises:
            ValueError: a token is empty or no text; threshold or labels make no sense.
        """
        wanted = self.checked(threshold, labels)
        if isinstance(tokens, list | tuple):
            if all(isinstance(token, str) for token in tokens):
                return next(self._entities(iter([tokens]), threshold, wanted))
            return list(self._entities(iter(tokens), threshold, wanted))
        return self._entities(iter(tokens), threshold, wanted)

    def analyse(self, text: str | Tokens, *, n_best: int = 0, marginals: bool = False) -> list[Analysis]:
        """Return all that the tagger says about a text, sentence by sentence.

        Args:
            text: raw text, or the tokens of one sentence.
            n_best: number of best taggings of each sentence to return with their probabilities.
            marginals: whether to return the probability of each tag at each token.

        Raises:
            ValueError: a token is empty or no text, or n_best is negative.
        """
        return next(self.analyse_all([text], n_best=n_best, marginals=marginals))

    def analyse_all(
        self, texts: Iterable[str | Tokens], *, n_best: int = 0, marginals: bool = False
    ) -> Iterator[list[Analysis]]:
        """Yield what `analyse` returns for each of many texts, in order and in bounded memory.

        Args:
            texts: raw texts, or the tokens of a sentence each.
            n_best: as in `analyse`.
            marginals: as in `analyse`.

        Raises:
            ValueError: as in `analyse`.
        """
        if n_best < 0:
            raise ValueError(f"n_best is {n_best}; expected 0 or more")
        for chunk in self._chunks(iter(texts)):
            predicted = self._predict([sentences for _, sentences in chunk], n_best=n_best, marginals=marginals)
            for whole, sentences in chunk:
                found, first = [], 0
                for sentence, one in zip(sentences, itertools.islice(predicted, len(sentences)), strict=True):
                    entities = tuple(_entities(whole, sentence, one, first))
                    tokens = tuple(whole[start:end] for start, end in sentence.spans)
                    found.append(
                        Analysis(tokens, sentence.spans, one.tags, entities, one.known, one.marginals, one.paths)
                    )
                    first += len(tokens)
                yield found

    def forget_words(self) -> None:
        """Forget the vectors of words met before, so that results do not depend on what was tagged before."""
        self._predictor.forget_words()

    def tag_sentences(self, sentences: Sequence[Tokens], documents: Sequence[int] | None = None) -> list[list[str]]:
        """Return the BIOES tags of tokenised sentences, as evaluation computes them.

        Args:
            sentences: tokens of each sentence.
            documents: document of each sentence, those of one document in a row; see `embedding.context`.
        """
        return self._predictor.tag(sentences, documents)

    def predict_sentences(
        self, sentences: Sequence[Tokens], documents: Sequence[int] | None = None
    ) -> list[PredictedSentence]:
        """Return tags, spans with confidences and marginals of tokenised sentences; arguments as in `tag_sentences`."""
        return self._predictor.predict(sentences, documents, marginals=True)

    def checked(self, threshold: float, labels: Collection[str] | None) -> frozenset[str] | None:
        """Return the labels as a set; None for all.

        Raises:
            ValueError: threshold or labels make no sense.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; expected a number between 0 and 1")
        if labels is None:
            return None
        if isinstance(labels, str) or (unknown := sorted(set(labels) - set(self.labels))):
            what = repr(labels) if isinstance(labels, str) else ", ".join(map(repr, unknown))
            raise ValueError(f"labels: found {what}; expected a list of {', '.join(self.labels)}")
        return frozenset(labels)

    def _entities(
        self, texts: Iterator[str | Tokens], threshold: float, labels: frozenset[str] | None
    ) -> Iterator[list[Entity]]:
        for sentences in self.analyse_all(texts):
            yield [
                entity for sentence in sentences for entity in sentence.entities if entity.is_wanted(threshold, labels)
            ]

    def _chunks(self, texts: Iterator[str | Tokens]) -> Iterator[list[tuple[str, list[Sentence]]]]:
        """Yield texts with their sentences, as many as are predicted together."""
        chunk: list[tuple[str, list[Sentence]]] = []
        size = 0
        for text in texts:
            chunk.append(self._read(text))
            size += 1 + sum(len(sentence.tokens) for sentence in chunk[-1][1])
            if size >= CHUNK_TOKENS:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _read(self, text: str | Tokens) -> tuple[str, list[Sentence]]:
        """Return a text and its sentences."""
        if isinstance(text, str):
            return text, list(self._segmenter.sentences(text))
        if isinstance(text, bytes) or not isinstance(text, Sequence):
            raise TypeError(f"found {type(text).__name__}; expected text, or a list of tokens")
        for place, token in enumerate(text):
            if not isinstance(token, str) or not token:
                raise ValueError(f"token {place + 1}: found {token!r}; expected a text that is not empty")
        ends = list(itertools.accumulate(len(token) + 1 for token in text))
        spans = tuple((end - 1 - len(token), end - 1) for token, end in zip(text, ends, strict=True))
        clean = tuple(token.translate(_SURROGATES) for token in text)
        return " ".join(text), [Sentence(clean, spans)] if text else []

    def _predict(
        self, texts: Sequence[Sequence[Sentence]], *, n_best: int = 0, marginals: bool = False
    ) -> Iterator[PredictedSentence]:
        """Yield the predictions of all sentences of some texts, in order."""
        sentences = [(number, sentence.tokens) for number, text in enumerate(texts) for sentence in text]
        start = 0
        while start < len(sentences):
            end, size = start, 0
            while end < len(sentences) and (size < CHUNK_TOKENS or self._goes_on(sentences, end)):
                size += len(sentences[end][1])
                end += 1
            part = sentences[start:end]
            yield from self._predictor.predict(
                [tokens for _, tokens in part], [number for number, _ in part], marginals=marginals, n_best=n_best
            )
            start = end

    def _goes_on(self, sentences: Sequence[tuple[int, Tokens]], place: int) -> bool:
        """Return whether a sentence must be read together with the one before it."""
        return self._whole_documents and place > 0 and sentences[place][0] == sentences[place - 1][0]


def _entities(whole: str, sentence: Sentence, predicted: PredictedSentence, first: int) -> Iterator[Entity]:
    """Yield the entities of a sentence whose first token has a number in the text."""
    for span in predicted.spans:
        start, end = sentence.spans[span.start][0], sentence.spans[span.end - 1][1]
        yield Entity(whole[start:end], span.label, start, end, first + span.start, first + span.end, span.confidence)
