"""A text as word ids: raw memory-mapped arrays that both LM directions read.

Files of a folder::

    train-00000.ids       little-endian int32, all sentences of the shard one after the other, no marks
    train-00000.offsets   little-endian int64, n + 1 positions: sentence i is ids[offsets[i]:offsets[i + 1]]
    heldout.ids, heldout.offsets
    extra_words.parquet   words that the words file lacks, with the ids that follow its last

Ids of all words are kept, however large the vocabulary of a model later is: a model that reads characters needs to
know which word an unknown word was.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taglm_core.corpus.hashing import mix64
from taglm_core.corpus.parquet import iter_batches
from taglm_core.corpus.vocabulary import WORDS_SCHEMA, heldout_mask, read_words
from taglm_core.errors import DamagedObject

EXTRA_WORDS_FILE = "extra_words.parquet"

_IDS, _OFFSETS = np.dtype("<i4"), np.dtype("<i8")
_HELDOUT = "heldout"
_SHARD_SEED = 0  # the scatter is part of the data; another order in training comes from the training seed


def write_token_ids(
    corpus_dir: Path,
    words_file: Path,
    out_dir: Path,
    *,
    shards: int,
    heldout_fraction: float,
    passage: int = 1,
    batch_size: int = 50_000,
) -> dict[str, int]:
    """Write the ids of all sentences: training sentences scattered into shards by hash, held-out ones apart.

    Inside a shard sentences keep their order. Memory holds one batch and the distinct words.

    Args:
        corpus_dir: folder of a stored corpus.
        words_file: file written by `count_words`; row 0, the boundary, is no word of the text.
        out_dir: folder to write; made if absent.
        shards: number of train shards.
        heldout_fraction: the fraction used to count the words.
        passage: number of consecutive training sentences that stay together in one shard.
        batch_size: number of sentences in memory; changes no byte.

    Returns:
        sentences and tokens of both parts, words of the words file, extra words.
    """
    if min(shards, passage) < 1:
        raise ValueError(f"shards is {shards} and passage {passage}, both must be at least 1")
    words = _Words(words_file)
    out_dir.mkdir(parents=True, exist_ok=True)
    names = [*(_train_name(shard) for shard in range(shards)), _HELDOUT]
    with ExitStack() as stack:
        writers = [stack.enter_context(_ShardWriter(out_dir, name)) for name in names]
        position = 0
        for batch in iter_batches(corpus_dir, ["tokens"], batch_size):
            tokens = batch.column("tokens")
            lengths = np.diff(tokens.offsets.to_numpy()).astype(np.int64)
            ids = words.encode(tokens.flatten())
            is_heldout = heldout_mask(pc.binary_join(tokens, " ").to_pylist(), heldout_fraction)
            # passages are counted without held-out sentences, so that all but the last are whole
            counted = np.full(len(lengths), True) if passage == 1 else ~is_heldout
            numbers = position + np.cumsum(counted) - counted
            shard_of = (mix64(numbers // passage, _SHARD_SEED) % np.uint64(shards)).astype(np.int64)
            shard_of[is_heldout] = shards
            position += int(np.count_nonzero(counted))
            token_shard = np.repeat(shard_of, lengths)
            for shard in np.unique(shard_of):
                writers[shard].append(ids[token_shard == shard], lengths[shard_of == shard])
    extra = words.write_extra(out_dir / EXTRA_WORDS_FILE)
    train, heldout = writers[:-1], writers[-1]
    return {
        "shards": shards,
        "train_sentences": sum(writer.sentences for writer in train),
        "train_tokens": sum(writer.tokens for writer in train),
        "heldout_sentences": heldout.sentences,
        "heldout_tokens": heldout.tokens,
        "words": words.known - 1,
        "extra_words": extra,
    }


def _train_name(shard: int) -> str:
    return f"train-{shard:05d}"


class _Words:
    """Ids of words: those of a words file, then new ones in order of first occurrence."""

    def __init__(self, words_file: Path) -> None:
        words = read_words(words_file)["word"].to_pylist()
        self.known = len(words)
        self._ids = {word: position for position, word in enumerate(words)}
        self._extra: list[str] = []
        self._extra_counts: list[int] = []

    def encode(self, tokens: pa.Array) -> np.ndarray:
        """Return [T] int32 ids of [T] tokens; words not met before get new ids."""
        coded = tokens.dictionary_encode()  # so that Python sees each distinct word of the batch once
        positions = coded.indices.to_numpy()
        distinct = coded.dictionary.to_pylist()
        ids = np.fromiter((self._id(word) for word in distinct), _IDS, len(distinct))
        occurrences = np.bincount(positions, minlength=len(distinct))
        for index in np.flatnonzero(ids >= self.known):
            self._extra_counts[ids[index] - self.known] += int(occurrences[index])
        return ids[positions]

    def _id(self, word: str) -> int:
        found = self._ids.get(word)
        if found is None:
            found = self._ids[word] = len(self._ids)
            self._extra.append(word)
            self._extra_counts.append(0)
        return found

    def write_extra(self, out_file: Path) -> int:
        """Write the new words, and return their number."""
        ids = np.arange(self.known, self.known + len(self._extra), dtype=np.int32)
        table = pa.table(
            [pa.array(ids), pa.array(self._extra, pa.string()), pa.array(self._extra_counts, pa.int64())],
            schema=WORDS_SCHEMA,
        )
        pq.write_table(table, out_file, compression="zstd")
        return len(self._extra)


class _ShardWriter:
    """Appends sentences to the two files of a shard."""

    def __init__(self, out_dir: Path, name: str) -> None:
        self.sentences = 0
        self.tokens = 0
        self._ids = (out_dir / f"{name}.ids").open("wb")
        self._offsets = (out_dir / f"{name}.offsets").open("wb")
        self._offsets.write(np.zeros(1, _OFFSETS).tobytes())

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ids.close()
        self._offsets.close()

    def append(self, ids: np.ndarray, lengths: np.ndarray) -> None:
        """Append the ids of sentences, one after the other, and their lengths."""
        ends = self.tokens + np.cumsum(lengths)
        self._ids.write(np.ascontiguousarray(ids, _IDS).data)
        self._offsets.write(ends.astype(_OFFSETS).data)
        self.sentences += len(lengths)
        self.tokens += int(lengths.sum())


@dataclass(frozen=True)
class Shard:
    """Sentences of one shard, memory-mapped and read-only.

    Attributes:
        name: `train-00000`, ... or `heldout`.
        ids: [tokens] int32.
        offsets: [sentences + 1] int64.
    """

    name: str
    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def open(cls, folder: Path, name: str) -> Shard:
        """Map the files of a shard.

        Raises:
            DamagedObject: a file is missing, or sizes do not fit.
        """
        ids = _map(folder / f"{name}.ids", _IDS)
        offsets = _map(folder / f"{name}.offsets", _OFFSETS)
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(ids) or np.any(offsets[1:] < offsets[:-1]):
            end = int(offsets[-1]) if len(offsets) else "nothing"
            raise DamagedObject(
                f"{folder / name}: found {len(ids):,} ids and offsets that end at {end}, expected both to agree; "
                "remove the object and run again"
            )
        return cls(name, ids, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def tokens(self) -> int:
        """Number of tokens, boundary marks not counted."""
        return len(self.ids)

    def sentence(self, index: int) -> np.ndarray:
        """Return the [T] ids of a sentence, a view of the file."""
        if not 0 <= index < len(self):
            raise IndexError(f"sentence {index} of {len(self)}")
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True)
class TokenIds:
    """A text as word ids.

    Attributes:
        train_shards: training sentences.
        heldout: held-out sentences.
        extra_words: words whose ids follow those of the words file.
    """

    train_shards: Sequence[Shard]
    heldout: Shard
    extra_words: Sequence[str]

    @classmethod
    def open(cls, folder: Path) -> TokenIds:
        """Open what `write_token_ids` wrote.

        Raises:
            DamagedObject: files are missing, or sizes do not fit.
        """
        count = len(list(folder.glob("train-*.ids")))
        extra_file = folder / EXTRA_WORDS_FILE
        if not count or not extra_file.is_file():
            extra = "an" if extra_file.is_file() else "no"
            raise DamagedObject(
                f"{folder}: found {count} train shards and {extra} {EXTRA_WORDS_FILE}, expected both; "
                "remove the object and run again"
            )
        return cls(
            train_shards=[Shard.open(folder, _train_name(shard)) for shard in range(count)],
            heldout=Shard.open(folder, _HELDOUT),
            extra_words=read_words(extra_file)["word"].to_pylist(),
        )

    @property
    def train_tokens(self) -> int:
        """Number of training tokens, boundary marks not counted."""
        return sum(shard.tokens for shard in self.train_shards)


def _map(path: Path, dtype: np.dtype) -> np.ndarray:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise DamagedObject(f"{path}: file is missing; remove the object and run again") from error
    if size % dtype.itemsize:
        raise DamagedObject(
            f"{path}: found {size} bytes, expected a multiple of {dtype.itemsize}; remove the object and run again"
        )
    if size == 0:
        return np.empty(0, dtype)  # nothing cannot be mapped
    return np.memmap(path, dtype, mode="r")
