"""Token ids: every sentence in exactly one place, readable word by word."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.parquet import write_corpus
from taglm_core.corpus.sentence import Sentence
from taglm_core.corpus.token_bytes import BOUNDARY
from taglm_core.corpus.token_ids import TokenIds, write_token_ids
from taglm_core.corpus.vocabulary import WORDS_SCHEMA, count_words, heldout_mask, read_words
from taglm_core.errors import DamagedObject

SENTENCES = [
    " ".join([f"s{number}", *(f"w{(number * 7 + j * j) % 97}" for j in range(number % 13))]) for number in range(3000)
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Ids of SENTENCES in 4 shards, a tenth held out; words that occur once are not in the words file."""
    folder = tmp_path_factory.mktemp("ids")
    write_corpus((Sentence(tuple(text.split()), None, 0, 1) for text in SENTENCES), folder / "corpus", scheme=None)
    count_words(
        folder / "corpus",
        folder / "words.parquet",
        heldout_fraction=0.1,
        min_count=2,
        limits=DatabaseLimits(1, "200MB", folder / "tmp"),
    )
    counts = write_token_ids(
        folder / "corpus", folder / "words.parquet", folder / "ids", shards=4, heldout_fraction=0.1, batch_size=700
    )
    return folder, counts


def _texts(folder: Path, shard) -> list[str]:
    words = read_words(folder / "words.parquet")["word"].to_pylist() + list(TokenIds.open(folder / "ids").extra_words)
    return [" ".join(words[i] for i in shard.sentence(number)) for number in range(len(shard))]


def test_every_sentence_is_in_one_place_in_source_order(built: tuple[Path, dict[str, int]]) -> None:
    """Shards and held-out part together are the text, each in source order, split as the vocabulary split it."""
    folder, counts = built
    ids = TokenIds.open(folder / "ids")
    mask = heldout_mask(SENTENCES, 0.1)
    assert _texts(folder, ids.heldout) == [text for text, held in zip(SENTENCES, mask, strict=True) if held]
    shards = [_texts(folder, shard) for shard in ids.train_shards]
    assert Counter(text for shard in shards for text in shard) == Counter(
        text for text, held in zip(SENTENCES, mask, strict=True) if not held
    )
    for shard in shards:
        assert [int(text.split()[0][1:]) for text in shard] == sorted(int(text.split()[0][1:]) for text in shard)
    assert counts["train_sentences"] == (~mask).sum()
    assert counts["heldout_tokens"] == ids.heldout.tokens
    assert counts["train_tokens"] == ids.train_tokens == sum(len(shard.ids) for shard in ids.train_shards)


def test_shards_are_balanced_and_mixed(built: tuple[Path, dict[str, int]]) -> None:
    """Each shard has about its share, drawn from the whole of the text."""
    ids = TokenIds.open(built[0] / "ids")
    sizes = [len(shard) for shard in ids.train_shards]
    assert max(sizes) - min(sizes) < 0.2 * sum(sizes) / 4
    for shard in ids.train_shards:
        numbers = [int(text.split()[0][1:]) for text in _texts(built[0], shard)]
        assert 1300 < np.mean(numbers) < 1700


@pytest.mark.parametrize("batch_size", [50_000, 170])
def test_passages_come_into_one_shard_together(
    built: tuple[Path, dict[str, int]], tmp_path: Path, batch_size: int
) -> None:
    """Training sentences in sevens, held-out ones between them not counted, each seven in one shard; none is lost."""
    folder, counts = built
    found = write_token_ids(
        folder / "corpus",
        folder / "words.parquet",
        tmp_path / "ids",
        shards=4,
        heldout_fraction=0.1,
        passage=7,
        batch_size=batch_size,
    )
    assert found == counts
    (tmp_path / "words.parquet").symlink_to(folder / "words.parquet")
    shards = [_texts(tmp_path, shard) for shard in TokenIds.open(tmp_path / "ids").train_shards]
    training = [text for text, held in zip(SENTENCES, heldout_mask(SENTENCES, 0.1), strict=True) if not held]
    expected = {tuple(training[start : start + 7]) for start in range(0, len(training), 7)}
    assert {tuple(shard[start : start + 7]) for shard in shards for start in range(0, len(shard), 7)} >= {
        passage for passage in expected if len(passage) == 7
    }
    assert Counter(text for shard in shards for text in shard) == Counter(training)
    assert min(len(shard) for shard in shards) > 0.15 * len(training)


def test_extra_words_follow_the_words_file_with_counts(built: tuple[Path, dict[str, int]]) -> None:
    """What the words file lacks gets the next ids in order of first occurrence; nothing is lost, nothing is id 0."""
    folder, counts = built
    words = read_words(folder / "words.parquet")["word"].to_pylist()
    extra = read_words(folder / "ids" / "extra_words.parquet")
    assert extra.schema.equals(WORDS_SCHEMA)
    assert extra["id"].to_pylist() == list(range(len(words), len(words) + len(extra)))
    assert set(extra["word"].to_pylist()).isdisjoint(words)
    total = Counter(word for text in SENTENCES for word in text.split())
    assert extra["count"].to_pylist() == [total[word] for word in extra["word"].to_pylist()]
    assert (counts["words"], counts["extra_words"]) == (len(words) - 1, len(extra))
    assert words[0] == BOUNDARY
    for shard in TokenIds.open(folder / "ids").train_shards:
        assert shard.ids.min() > 0


@pytest.mark.parametrize("batch_size", [50_000, 170])
def test_writing_again_gives_the_same_bytes(
    built: tuple[Path, dict[str, int]], tmp_path: Path, batch_size: int
) -> None:
    """All files of two writings are equal, whatever the batches."""
    folder, _ = built
    write_token_ids(
        folder / "corpus",
        folder / "words.parquet",
        tmp_path,
        shards=4,
        heldout_fraction=0.1,
        batch_size=batch_size,
    )
    for path in (folder / "ids").iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_sentences_are_read_only_views(built: tuple[Path, dict[str, int]]) -> None:
    """A sentence is a view of the mapped file, of fixed type, and cannot be written; a wrong index is refused."""
    shard = TokenIds.open(built[0] / "ids").train_shards[0]
    assert shard.sentence(0).dtype == np.int32
    assert np.shares_memory(shard.sentence(0), shard.ids)
    assert not shard.sentence(0).flags.writeable
    with pytest.raises(IndexError):
        shard.sentence(len(shard))


def test_nothing_held_out_is_an_empty_shard(built: tuple[Path, dict[str, int]], tmp_path: Path) -> None:
    """A fraction of 0 leaves the held-out shard there and empty."""
    folder, _ = built
    write_token_ids(folder / "corpus", folder / "words.parquet", tmp_path, shards=1, heldout_fraction=0.0)
    ids = TokenIds.open(tmp_path)
    assert (len(ids.heldout), ids.heldout.tokens, len(ids.train_shards[0])) == (0, 0, len(SENTENCES))


@pytest.mark.parametrize("name", ["train-00001.ids", "train-00001.offsets", "heldout.ids", "heldout.offsets"])
@pytest.mark.parametrize("lost", [1, 8])
def test_sizes_that_do_not_fit_are_refused(
    built: tuple[Path, dict[str, int]], tmp_path: Path, name: str, lost: int
) -> None:
    """A file that lost bytes, whole numbers or parts of one, is noticed on opening."""
    for path in (built[0] / "ids").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-lost])
    with pytest.raises(DamagedObject, match=name.partition(".")[0]):
        TokenIds.open(tmp_path)


@pytest.mark.parametrize("name", ["train-00001.ids", "train-00003.offsets", "heldout.ids", "extra_words.parquet"])
def test_missing_files_are_refused(built: tuple[Path, dict[str, int]], tmp_path: Path, name: str) -> None:
    """A missing file never passes as a smaller text."""
    for path in (built[0] / "ids").iterdir():
        if path.name != name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DamagedObject):
        TokenIds.open(tmp_path)
