"""The embedding cache: exact to its precision, shared, refused when it does not belong."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taglm_core.config.embedding import Context, EmbeddingConfig
from taglm_core.errors import ConfigError, InputError, MismatchError
from taglm_core.lm.cache import INDEX, EmbeddingCache, RowRange, part_name, token_digest, write_index
from taglm_core.lm.cache_parts import ROWS, CacheKey, Rows, Scratch, encode, read_part, write_part
from taglm_core.lm.extraction import Tokens, cache_key, check_states, embed_shard, passages_of
from taglm_core.lm.online import WordCache, embed_online
from taglm_core.lm.shards import Layout, lay_out, shards
from tests.lm.conftest import Small, states_of

CORPUS = [("w1", "w2"), ("w3",), ("w1", "w2"), ("``", "w4", "''"), ("w5", "w6", "w7")]
PLAIN = CacheKey("lm1", "c1", (1,), 10, "float16", "sentence", {}, 2)


def fill(folder: Path, small: Small, config: EmbeddingConfig, documents: list[int] | None = None) -> Layout:
    """Write a cache of CORPUS."""
    sentences = list(zip(CORPUS, documents or [0] * len(CORPUS), strict=True))
    settings: Any = {"shard_tokens": config.shard_tokens, "context": config.context}
    layout = lay_out(lambda: sentences, **settings)
    key = cache_key(small.lm, config, language_model="lm1", corpus="c1", version=2)
    for shard in shards(lambda: sentences, **settings):
        scratch = Scratch(folder / ".scratch", shard.rows, key)
        embed_shard(small.lm, shard, key, scratch.put, batch=config.batch_sentences)
        write_part(folder / part_name(shard.number), scratch.rows, scratch.largest)
        scratch.remove()
    write_index(folder / INDEX, layout.ranges, layout.digests, key)
    return layout


def small_shards(**settings: Any) -> EmbeddingConfig:
    """Shards of two or three tokens, batches of two."""
    return EmbeddingConfig.model_validate({"shard_tokens": 2, "batch_sentences": 2, **settings})


@pytest.mark.parametrize("precision", ["float16", "float32", "int8"])
def test_cached_equals_online_and_exact(folder: Path, small: Small, precision: str) -> None:
    """Online and cached agree to the stated tolerance, and both with the exact states to the precision's rounding."""
    config = small_shards(precision=precision)
    fill(folder, small, config)
    cache = EmbeddingCache(folder, language_model="lm1", corpus="c1")
    assert len(cache) == len(CORPUS)
    online = embed_online(small.lm, CORPUS, config)
    for number, exact in enumerate(states_of(small.lm, CORPUS)):
        found, live = cache.sentence(number), online.states[number]
        assert found.dtype == live.dtype == (np.float16 if precision == "float16" else np.float32)
        largest = np.abs(exact).max(axis=1, keepdims=True)
        step = {"float16": np.spacing(found.astype(np.float16)).astype(np.float32), "float32": 1e-6 * largest,
                "int8": largest / 127}[precision]  # fmt: skip
        assert (np.abs(found - exact) <= 0.51 * np.abs(step) + 1e-6).all()
        assert (np.abs(found - live) <= 1.01 * np.abs(step) + 1e-6).all()


@pytest.mark.parametrize("most", [100, 3])
def test_words_that_are_kept_give_the_same_states(small: Small, most: int) -> None:
    """Whether their part of the gates is kept from an earlier call, new, or thrown away because there are too many."""
    words, config = WordCache(small.lm, most), small_shards(precision="float32")
    exact = states_of(small.lm, CORPUS)
    for chosen in (CORPUS[:2], CORPUS, CORPUS[::-1]):
        online = embed_online(small.lm, chosen, config, words=words)
        for sentence, found in zip(chosen, online.states, strict=True):
            assert np.allclose(found, exact[CORPUS.index(sentence)], atol=1e-6)


@pytest.mark.parametrize(("context", "rows"), [("sentence", 9), ("document", 11)])
def test_identical_sentences_are_stored_once(folder: Path, small: Small, context: str, rows: int) -> None:
    """Sentence 2 repeats sentence 0 and shares its place, unless what stands before it matters."""
    layout = fill(folder, small, small_shards(context=context), [0, 0, 1, 1, 1])
    assert (layout.ranges[0] == layout.ranges[2]) is (context == "sentence")
    assert sum(layout.rows) == rows
    files = [pa.ipc.open_file(path).read_all().num_rows for path in sorted(folder.glob("part-*.arrow"))]
    assert files == layout.rows


def test_parts_are_mapped_and_batches_constant(folder: Path) -> None:
    """Opening a shard copies nothing; all record batches but the last have the same number of rows."""
    values = np.random.default_rng(1).normal(size=(ROWS + 5, 10)).astype(np.float16)
    write_part(folder / "part", Rows(values, np.empty((len(values), 0), np.float32)), 1.0)
    part = read_part(folder / "part", len(values), PLAIN)
    assert part is not None
    assert [len(batch) for batch in part.values] == [ROWS, 5]
    for piece in part.values:
        assert not piece.flags.owndata
        assert not piece.flags.writeable
    reader = pa.ipc.open_file(folder / "part")
    assert reader.get_batch(0).column("states").values.to_numpy().tobytes() == values[:ROWS].tobytes()


@given(data=st.data(), precision=st.sampled_from(["float16", "float32", "int8"]))
def test_gather_gives_what_was_put(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, precision: Any
) -> None:
    """Any places of any shard, in any order, over the borders of record batches; zeros after each sentence."""
    folder, key = (
        tmp_path_factory.mktemp("cache"),
        dataclasses.replace(PLAIN, precision=precision, size=3, layers=(1, 2)),
    )
    states = np.random.default_rng(2).integers(-127, 128, size=(2, ROWS + 40, 6)).astype(np.float32)
    states[:, :, [0, 3]] = 127  # each vector's scale is 1: int8 holds these numbers exactly
    for number, part in enumerate(states):
        scratch = Scratch(folder / "scratch", len(part), key)
        for rows in np.array_split(np.random.default_rng(3).permutation(len(part)), 3):
            scratch.put(rows, part[rows])
        write_part(folder / part_name(number), scratch.rows, scratch.largest)
        assert scratch.largest == 127
    rows = st.integers(0, ROWS + 20) | st.integers(ROWS - 5, ROWS + 5)
    row_range = st.builds(RowRange, st.integers(0, 1), rows, st.integers(1, 20))
    ranges = data.draw(st.lists(row_range, min_size=1, max_size=8))
    write_index(folder / INDEX, ranges, [b"0" * 16] * len(ranges), key)
    cache = EmbeddingCache(folder)
    out = np.full((len(ranges), 25, 8), np.nan, cache.dtype)  # wider: several caches stand side by side
    cache.gather(list(range(len(ranges))), out[:, :, 1:7])
    for target, rows in zip(out, ranges, strict=True):
        assert np.array_equal(target[: rows.length, 1:7], states[rows.shard, rows.row : rows.row + rows.length])
        assert not target[rows.length :, 1:7].any()
    assert np.isnan(out[:, :, [0, 7]]).all()


@pytest.mark.parametrize(
    "wrong",
    [{"language_model": "lm2"}, {"corpus": "c2"}, {"layers": (2,)}, {"precision": "int8"}, {"context": "document"},
     {"token_map": {"a": "b"}}, {"version": 3}],
)  # fmt: skip
def test_what_does_not_belong_is_refused(folder: Path, small: Small, wrong: dict[str, Any]) -> None:
    """The message says which field differs, what is there and what is asked for."""
    write_index(folder / INDEX, [RowRange(0, 0, 1)], [b"0" * 16], PLAIN)
    right = dataclasses.asdict(PLAIN)
    EmbeddingCache(folder, **right)
    name, value = next(iter(wrong.items()))
    with pytest.raises(MismatchError, match=f"made with {name} .*, but {name} .*run the embed stage"):
        EmbeddingCache(folder, **(right | {name: value}))


def test_a_part_of_another_kind_is_refused(folder: Path) -> None:
    """Numbers of another type or width under the right name are found when the shard is opened."""
    write_part(folder / "part", Rows(np.ones((3, 10), np.float16), np.empty((3, 0), np.float32)), 1.0)
    assert read_part(folder / "part", 3, PLAIN) is not None
    for other in (dataclasses.replace(PLAIN, size=5), dataclasses.replace(PLAIN, precision="float32")):
        assert read_part(folder / "part", 3, other) is None
    assert read_part(folder / "part", 4, PLAIN) is None


def test_other_tokens_are_refused(folder: Path, small: Small) -> None:
    """A changed token or a missing sentence is found by the digests."""
    fill(folder, small, small_shards())
    cache = EmbeddingCache(folder, language_model="lm1", corpus="c1")
    cache.check(CORPUS)
    with pytest.raises(MismatchError, match="sentence 1 "):
        cache.check([CORPUS[0], ("w4",), *CORPUS[2:]])
    with pytest.raises(MismatchError, match="5 sentences for 4"):
        cache.check(CORPUS[1:])


def test_token_map_changes_what_the_model_reads_not_the_digests(folder: Path, small: Small) -> None:
    """Quotes are read as the LM's text writes them; the corpus keeps its tokens."""
    fill(folder, small, small_shards(token_map={"``": "w8", "''": "w8"}))
    cache = EmbeddingCache(folder, language_model="lm1", corpus="c1")
    cache.check(CORPUS)
    (mapped,) = states_of(small.lm, [("w8", "w4", "w8")])
    assert np.allclose(cache.sentence(3), mapped, rtol=2**-10, atol=1e-6)


def test_several_layers_stand_side_by_side(small: Small) -> None:
    """`all` holds each layer's states in order, the top's last; a list picks; an unknown layer is refused."""
    count = small.lm.config.layers
    whole = embed_online(small.lm, CORPUS, small_shards(layers="all", precision="float32"))
    top = embed_online(small.lm, CORPUS, small_shards(precision="float32"))
    assert whole.size == count * top.size
    for both, alone in zip(whole.states, top.states, strict=True):
        assert np.array_equal(both[:, -top.size :], alone)
    if count > 1:
        picked = embed_online(small.lm, CORPUS, small_shards(layers=[1, 3], precision="float32"))
        for some, every in zip(picked.states, whole.states, strict=True):
            assert np.array_equal(some, np.concatenate([every[:, :10], every[:, 20:]], axis=1))
    with pytest.raises(ConfigError, match=f"layers 1 to {count}"):
        embed_online(small.lm, CORPUS, small_shards(layers=[9]))


@pytest.mark.parametrize("wrong", [[], [0], [2, 1], [1, 1], "bottom", [1.5]])
def test_layers_that_cannot_be_meant_are_refused(wrong: Any) -> None:
    """Layers are top, all, or a rising list counted from 1."""
    with pytest.raises(ValueError, match="layers"):
        EmbeddingConfig(layers=wrong)


@pytest.mark.parametrize(("precision", "value"), [("float16", np.inf), ("float16", np.nan), ("float16", -70_000.0),
                                                  ("int8", np.nan), ("float32", -np.inf)])  # fmt: skip
def test_states_that_the_precision_cannot_hold_are_refused(precision: str, value: float) -> None:
    """The message names token and dimension, and a wider precision where that helps."""
    states = np.zeros((3, 3), np.float32)
    states[2, 2] = value
    with pytest.raises(InputError, match="token 2 \\('b'\\), dimension 2") as caught:
        check_states(states, precision, lambda row: (("a", "b"), row - 1))
    assert ("float32" in str(caught.value)) is (precision == "float16")
    check_states(states[:2], precision, lambda row: (("a", "b"), row))


def test_int8_never_wraps_around() -> None:
    """A scale near the smallest float32 is rounded by half of itself; no sign turns all the same."""
    smallest = np.float32(2**-149)
    states = np.array([[sign * count * smallest] for count in range(1, 600) for sign in (1, -1)], np.float32)
    key = CacheKey("lm", "corpus", (1,), 1, "int8", "sentence", {}, 1)
    values = encode(states, key).values.astype(int)
    assert (np.sign(values[:, 0]) * np.sign(states[:, 0]) >= 0).all()


def test_token_digests_see_token_borders() -> None:
    """Joining two tokens is another sentence."""
    assert len({token_digest(tokens) for tokens in (("a", "b"), ("a b",), ("ab",), ("b", "a"))}) == 4


SENTENCES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple)


@given(st.lists(st.tuples(SENTENCES, st.booleans()), min_size=1), st.integers(1, 6), st.sampled_from(Context))
def test_the_layout_is_what_the_shards_hold(corpus: list[tuple[Tokens, bool]], size: int, context: Context) -> None:
    """Every sentence's place holds its tokens; shards close after `size` tokens; one more reading finds the same."""
    documents = itertools.accumulate(new for _, new in corpus)
    sentences = [(tokens, int(document)) for (tokens, _), document in zip(corpus, documents, strict=True)]
    layout = lay_out(lambda: sentences, shard_tokens=size, context=context)
    found = list(shards(lambda: sentences, shard_tokens=size, context=context))
    assert [shard.rows for shard in found] == layout.rows
    assert all(rows >= size for rows in layout.rows[:-1])
    assert all(shard.rows - sum(map(len, shard.passages[-1])) < size for shard in found)
    for (tokens, _), rows, digest in zip(sentences, layout.ranges, layout.digests, strict=True):
        for offset in range(len(tokens)):
            assert found[rows.shard].token(rows.row + offset) == (tokens, offset)
        assert (rows.length, digest) == (len(tokens), token_digest(tokens))
    assert layout.tokens == sum(len(tokens) for tokens, _ in sentences)


def test_passages_are_sentences_or_documents() -> None:
    """A document ends where the next number begins, whatever the numbers are."""
    sentences = [(("a",), 3), (("b", "c"), 3), (("a",), 5), (("d",), 3)]
    alone = [(tokens,) for tokens, _ in sentences]
    assert list(passages_of(sentences, Context.SENTENCE)) == alone
    assert list(passages_of(sentences, Context.DOCUMENT)) == [(("a",), ("b", "c")), (("a",),), (("d",),)]
    assert list(passages_of([], Context.DOCUMENT)) == []
