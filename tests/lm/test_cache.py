"""The embedding cache: exact, shared, refused when it does not belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from taglm_core.errors import InputError, MismatchError
from taglm_core.lm.cache import INDEX, EmbeddingCache, part_name, token_digest, write_index, write_part
from taglm_core.lm.extraction import Indexer, embed_sentences, to_float16
from tests.lm.conftest import Small

CORPUS = [("w1", "w2"), ("w3",), ("w1", "w2"), ("``", "w4", "''"), ("w5", "w6", "w7")]


def fill(folder: Path, small: Small, shard_sentences: int = 2, token_map: dict[str, str] | None = None) -> Indexer:
    """Write a cache of CORPUS."""
    indexer = Indexer(shard_sentences, token_map or {})
    for shard in indexer.shards(CORPUS):
        states = embed_sentences(small.lm, shard.sentences, batch=2)
        rows = [to_float16(s, tokens) for s, tokens in zip(states, shard.sentences, strict=True)]
        write_part(folder / part_name(shard.number), np.concatenate(rows))
    write_index(folder / INDEX, indexer.entries, {"language_model": "lm1", "corpus": "c1", "size": small.lm.size})
    return indexer


def test_cached_equals_online(folder: Path, small: Small) -> None:
    """Reading the cache gives the embeddings of each sentence up to float16's rounding (2^-11 relative)."""
    fill(folder, small)
    cache = EmbeddingCache(folder, language_model="lm1", corpus="c1")
    assert len(cache) == len(CORPUS)
    for number, sentence in enumerate(CORPUS):
        (online,) = embed_sentences(small.lm, [sentence], batch=1)
        assert cache.sentence(number).dtype == np.float16
        assert np.allclose(cache.sentence(number), online, rtol=2**-10, atol=1e-6)


def test_identical_sentences_are_stored_once(folder: Path, small: Small) -> None:
    """Sentence 2 repeats sentence 0: one place, and 4 distinct sentences in 2 shards of 2."""
    indexer = fill(folder, small)
    assert indexer.entries[0] is indexer.entries[2]
    assert [entry.shard for entry in indexer.entries] == [0, 0, 0, 1, 1]
    rows = sum(pa.ipc.open_file(path).get_batch(0).num_rows for path in folder.glob("part-*.arrow"))
    assert rows == sum(map(len, set(CORPUS)))


def test_files_are_memory_mapped_views(folder: Path, small: Small) -> None:
    """Reading copies nothing: a sentence is a view that owns no data."""
    fill(folder, small)
    cache = EmbeddingCache(folder, language_model="lm1", corpus="c1")
    assert not cache.sentence(0).flags.owndata
    assert not cache.sentence(0).flags.writeable


@pytest.mark.parametrize("wrong", [{"language_model": "lm2"}, {"corpus": "c2"}])
def test_another_language_model_or_corpus_is_refused(folder: Path, small: Small, wrong: dict[str, str]) -> None:
    """The message says which of the two differs."""
    fill(folder, small)
    with pytest.raises(MismatchError, match=next(iter(wrong))):
        EmbeddingCache(folder, **({"language_model": "lm1", "corpus": "c1"} | wrong))


def test_other_tokens_are_refused(folder: Path, small: Small) -> None:
    """A changed token or a missing sentence is found by the digests."""
    fill(folder, small)
    cache = EmbeddingCache(folder, language_model="lm1", corpus="c1")
    cache.check(CORPUS)
    with pytest.raises(MismatchError, match="sentence 1 "):
        cache.check([CORPUS[0], ("w4",), *CORPUS[2:]])
    with pytest.raises(MismatchError, match="5 sentences for 4"):
        cache.check(CORPUS[1:])


def test_token_map_changes_what_the_model_reads_not_the_digests(folder: Path, small: Small) -> None:
    """Quotes are read as the LM's text writes them; the corpus keeps its tokens."""
    fill(folder, small, token_map={"``": "w8", "''": "w8"})
    cache = EmbeddingCache(folder, language_model="lm1", corpus="c1")
    cache.check(CORPUS)
    (mapped,) = embed_sentences(small.lm, [("w8", "w4", "w8")], batch=1)
    assert np.allclose(cache.sentence(3), mapped, rtol=2**-10, atol=1e-6)


@pytest.mark.parametrize("value", [np.inf, np.nan, -70_000.0])
def test_states_that_float16_cannot_hold_are_refused(value: float) -> None:
    """The message names token and dimension."""
    states = np.zeros((2, 3), np.float32)
    states[1, 2] = value
    with pytest.raises(InputError, match="token 2 \\('b'\\), dimension 2"):
        to_float16(states, ("a", "b"))


def test_token_digests_see_token_borders() -> None:
    """Joining two tokens is another sentence."""
    assert token_digest(("a", "b")) != token_digest(("a b",)) != token_digest(("ab",))
