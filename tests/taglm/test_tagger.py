"""The public interface: text in, entities out, from any thread, in any batch."""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from taglm import Entity, Tagger
from taglm import tagger as tagger_module
from taglm_core.errors import ConfigError, DamagedObject, MismatchError
from taglm_core.evaluation.spans import conlleval_spans
from taglm_core.lm.model import SOFTMAX, WEIGHTS
from taglm_core.nn.word_rows import WordRows
from taglm_core.tagging.exported import INDEX, VectorsIncluded
from tests.exports import TAGS, TEXT, tiny_export, vector_file

ODD = ["", " ", "a", "\x00\x07", "😀 Anna", "\ud800 Anna", "x" * 20_000, "Anna " * 3000, "اَلْعَرَبِيَّةُ Rome", '"' * 50]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_export(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tagger(export: Path) -> Tagger:
    return Tagger.load(export, verify=True)


def alike(found: list[Entity], expected: list[Entity]) -> bool:
    """Whether entities are the same, with confidences within 1e-4."""
    same = [each.to_dict() | {"confidence": 0} for each in found] == [
        each.to_dict() | {"confidence": 0} for each in expected
    ]
    return same and np.allclose([e.confidence for e in found], [e.confidence for e in expected], atol=1e-4, rtol=0)


def test_entities_stand_where_they_say(tagger: Tagger) -> None:
    """Text, characters and tokens of an entity agree, over several sentences."""
    found = tagger.tag(TEXT)
    assert len(found) > 2
    analysis = tagger.analyse(TEXT)
    tokens = [token for sentence in analysis for token in sentence.tokens]
    spans = [span for sentence in analysis for span in sentence.spans]
    for entity in found:
        assert entity.text == TEXT[entity.start : entity.end]
        assert (entity.start, entity.end) == (spans[entity.token_start][0], spans[entity.token_end - 1][1])
        assert entity.text.split()[0].startswith(tokens[entity.token_start])
        assert 0 < entity.confidence <= 1
    assert [entity for sentence in analysis for entity in sentence.entities] == found
    assert tagger.labels == ("LOC", "PER")


def test_alone_and_together_are_the_same(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one, as a list, as a stream in chunks of a few tokens: the same entities in the same order."""
    texts = [TEXT, "", "Rome.", TEXT * 3, "Carla saw Emil", *ODD[:6]]
    alone = [tagger.tag(text) for text in texts]
    together = tagger.tag(texts)
    monkeypatch.setattr(tagger_module, "CHUNK_TOKENS", 7)
    streamed = list(tagger.tag(iter(texts)))
    assert len(alone) == len(together) == len(streamed) == len(texts)
    for one, two, three in zip(alone, together, streamed, strict=True):
        assert alike(one, two)
        assert alike(one, three)


def test_a_stream_is_read_as_it_goes(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless source: memory stays bounded because no more is read than the next chunk needs."""
    monkeypatch.setattr(tagger_module, "CHUNK_TOKENS", 50)
    read = itertools.count()

    def source() -> Iterator[str]:
        for _ in read:
            yield "Anna saw Rome ."

    found = tagger.tag(source())
    assert len(list(itertools.islice(found, 30))) == 30
    assert next(read) < 60


def test_documents_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With embedding.context=document the sentences of a text carry their state on, whatever the chunks."""
    tagger = Tagger.load(tiny_export(tmp_path, context="document"))
    alone = [tagger.tag(text) for text in (TEXT, "Rome.")]
    apart = [entity for sentence in TEXT.split("\n\n") for entity in tagger.tag(sentence)]
    monkeypatch.setattr(tagger_module, "CHUNK_TOKENS", 3)
    for one, two in zip(alone, tagger.tag([TEXT, "Rome."]), strict=True):
        assert alike(one, two)
    assert [entity.confidence for entity in apart] != [entity.confidence for entity in alone[0]]


def test_tokens_are_taken_as_they_are(tagger: Tagger) -> None:
    """Never split or joined; an empty one and something else than text are refused with their place."""
    tokens = ["Anna's", "New York", ".", "it;is"]
    (analysis,) = tagger.analyse(tokens)
    assert analysis.tokens == tuple(tokens)
    assert tagger.tag_tokens(tokens) == list(analysis.entities)
    assert tagger.tag_tokens([tokens, []]) == [list(analysis.entities), []]
    assert list(tagger.tag_tokens(iter([tokens]))) == [list(analysis.entities)]
    assert tagger.tag_sentences([tokens]) == [list(analysis.tags)]
    assert len(tagger.tag_tokens(["Anna", "\ud800", "\x00"])) >= 0
    with pytest.raises(ValueError, match="token 2: found ''"):
        tagger.tag_tokens(["a", ""])
    with pytest.raises(ValueError, match="token 1: found None"):
        tagger.tag_tokens([[None]])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="found int"):
        tagger.tag([1])  # type: ignore[list-item]


def test_thresholds_and_labels_filter(tagger: Tagger) -> None:
    """Nothing else changes; nonsense is refused with what there is."""
    every = tagger.tag(TEXT)
    middle = sorted(entity.confidence for entity in every)[len(every) // 2]
    assert tagger.tag(TEXT, threshold=middle) == [entity for entity in every if entity.confidence >= middle]
    assert tagger.tag(TEXT, labels=["LOC"]) == [entity for entity in every if entity.label == "LOC"]
    with pytest.raises(ValueError, match="expected a list of LOC, PER"):
        tagger.tag(TEXT, labels=["ORG"])
    with pytest.raises(ValueError, match="expected a list"):
        tagger.tag(TEXT, labels="LOC")
    with pytest.raises(ValueError, match="between 0 and 1"):
        tagger.tag(TEXT, threshold=50)


def test_an_analysis_adds_up(tagger: Tagger) -> None:
    """Marginals are those of the n best paths, when these are all there are; the best path is the tags."""
    (found,) = tagger.analyse("Anna saw", n_best=len(TAGS) ** 2, marginals=True)
    assert found.marginals is not None
    assert found.paths[0][0] == found.tags
    assert sum(chance for _, chance in found.paths) == pytest.approx(1, abs=1e-9)
    summed = np.zeros((2, len(TAGS)))
    for tags, chance in found.paths:
        for place, tag in enumerate(tags):
            summed[place, TAGS.index(tag)] += chance
    assert np.allclose(summed, found.marginals, atol=1e-9)
    assert found.known == (True, True)
    assert tagger.analyse("Anna Qqq")[0].known == (True, False)


def test_a_confidence_is_the_share_of_the_paths_with_the_entity(tagger: Tagger) -> None:
    """By all paths of short texts, some with entities of several tokens."""
    lengths = set()
    for text in ("Rome", "Anna saw", "Anna saw Rome", "New York ,", "met Emil .", "saw Bert 's", "Rome Rome Rome"):
        (found,) = tagger.analyse(text, n_best=len(TAGS) ** len(text.split()))
        for entity, span in zip(found.entities, conlleval_spans(found.tags), strict=True):
            lengths.add(span.end - span.start)
            inside = [c for tags, c in found.paths if tags[span.start : span.end] == found.tags[span.start : span.end]]
            assert entity.confidence == pytest.approx(sum(inside), abs=1e-5)
    assert max(lengths) > 1


def test_new_words_have_the_vectors_of_the_file(
    tmp_path: Path, tagger: Tagger, caplog: pytest.LogCaptureFixture
) -> None:
    """An export with the table, one that is given the file, and none at all, which says so."""
    export = tiny_export(tmp_path, vectors=VectorsIncluded.REFERENCE)
    with caplog.at_level(logging.WARNING, "taglm"):
        without = Tagger.load(export)
    assert "have no vectors here" in caplog.text
    given = Tagger.load(export, vectors=vector_file(tmp_path))
    assert given.tag(TEXT) == tagger.tag(TEXT) != without.tag(TEXT)
    with pytest.raises(MismatchError):
        Tagger.load(export, vectors=vector_file(tmp_path, 1.0))


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:8]))
def test_odd_texts_have_an_answer(tagger: Tagger, text: str) -> None:
    """Whatever the text: entities inside it."""
    assert all(text[entity.start : entity.end] == entity.text for entity in tagger.tag(text))


def test_threads_share_a_tagger(tagger: Tagger) -> None:
    """Words with and without vectors in turn: no call sees the words of another."""
    texts = [TEXT, "Carla saw Emil.", "Nobody knows Qqq", "Rome " * 40] * 8
    expected = [tagger.tag(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(tagger.tag, texts), expected, strict=True):
            assert alike(found, wanted)


def test_words_are_remembered_up_to_a_limit(export: Path, tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary larger than what is kept gives the same entities."""
    monkeypatch.setattr("taglm_core.tagging.prediction.CACHED_WORDS", 5)
    small = Tagger.load(export)
    for text in (TEXT, "Carla saw Emil.", TEXT):
        assert alike(small.tag(text), tagger.tag(text))


def test_rows_of_words_are_kept_up_to_a_limit() -> None:
    """A word is encoded once; when the table is full all words are forgotten."""
    encoded: list[str] = []

    def rows_of(*words: str) -> list[str]:
        def encode(places: Sequence[int]) -> torch.Tensor:
            encoded.extend(words[place] for place in places)
            return torch.tensor([[float(ord(words[place]))] for place in places])

        return [chr(int(row)) for row in table.of(words, encode).flatten()]

    table = WordRows(torch.empty(0), 1, 3)
    assert rows_of("a", "b") == ["a", "b"]
    assert rows_of("b", "c", "a") == ["b", "c", "a"]
    assert encoded == ["a", "b", "c"]
    assert rows_of("d", "a") == ["d", "a"]
    assert rows_of(*"abdefgh") == list("abdefgh")
    assert encoded == [*"abc", *"da", *"abdefgh"]


def test_a_damaged_export_is_refused(tmp_path: Path) -> None:
    """A missing, a truncated and a changed file, another format, no export: each says what to do."""
    export = tiny_export(tmp_path, lm=False)
    weights = export / "tagger" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    with pytest.raises(DamagedObject, match="export or copy the tagger again"):
        Tagger.load(export)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    Tagger.load(export)
    with pytest.raises(DamagedObject, match="other bytes"):
        Tagger.load(export, verify=True)
    weights.unlink()
    with pytest.raises(DamagedObject, match="found no file"):
        Tagger.load(export)
    index = json.loads((export / INDEX).read_text())
    (export / INDEX).write_text(json.dumps({**index, "format": 99}))
    with pytest.raises(ConfigError, match="found format 99"):
        Tagger.load(export)
    with pytest.raises(ConfigError, match="taglm export"):
        Tagger.load(tmp_path)


def test_an_export_has_no_softmax(export: Path) -> None:
    """It is the larger part of a language model, and tagging needs none of it."""
    for folder in export.glob("language-model-*"):
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            names = list(weights.keys())
        assert names
        assert not [name for name in names if name.startswith(SOFTMAX)]


def test_nothing_of_the_pipeline_is_imported(export: Path) -> None:
    """An export needs neither Prefect nor MLflow nor DuckDB, and no pickle."""
    code = (
        "import sys; from taglm import Tagger; "
        f"Tagger.load({str(export)!r}).tag('Anna saw Rome.'); "
        "print(*set('prefect mlflow duckdb pandas scipy sklearn sympy tasks flows'.split()) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
    assert [path for path in export.rglob("*") if path.suffix in (".pkl", ".pt", ".bin")] == []
