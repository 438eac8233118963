"""The embedding cache: LM states per token in Arrow files, memory-mapped.

part-00000.arrow   a shard: a row a token (see `cache_parts`)
index.arrow        a row a sentence of the corpus: shard, first row, length, digest of its tokens; several sentences may
                   share rows; the metadata holds the `CacheKey`

Axes: n tokens of a sentence, W = layers * P numbers a token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taglm_core.errors import MismatchError
from taglm_core.lm.cache_parts import ROWS, CacheKey, Part, write_arrow

INDEX = "index.arrow"
METADATA = b"taglm"


class RowRange(NamedTuple):
    """The rows of a sentence: `row .. row + length` of a shard."""

    shard: int
    row: int
    length: int


def token_digest(tokens: Sequence[str]) -> bytes:
    """Return the digest of a sentence's tokens, 16 bytes; lengths enter it, so ("a b",) and ("a", "b") differ."""
    parts = [token.encode() for token in tokens]
    sizes = np.array([len(part) for part in parts], "<i4").tobytes()
    return hashlib.blake2b(sizes + b"".join(parts), digest_size=16).digest()


def part_name(shard: int) -> str:
    """Return the file name of a shard."""
    return f"part-{shard:05d}.arrow"


def write_index(path: Path, ranges: Sequence[RowRange], digests: Sequence[bytes], key: CacheKey) -> None:
    """Write the index of a corpus's sentences, in their order."""
    columns = np.array(ranges, np.int64).reshape(-1, 3)
    batch = pa.record_batch(
        {
            "shard": pa.array(columns[:, 0], pa.int32()),
            "row": pa.array(columns[:, 1], pa.int64()),
            "length": pa.array(columns[:, 2], pa.int32()),
            "tokens": pa.array(digests, pa.binary(16)),
        }
    ).replace_schema_metadata({METADATA: json.dumps(asdict(key), sort_keys=True)})
    write_arrow(path, batch.schema, iter([batch]))


class EmbeddingCache:
    """Reads the embeddings of one corpus by one language model.

    Args:
        folder: an `embeddings` object.
        expected: required values of fields of its `CacheKey`.

    Raises:
        MismatchError: a field has another value; the message names it.
    """

    def __init__(self, folder: Path, **expected: Any) -> None:
        self._folder = folder
        reader = pa.ipc.open_file(pa.memory_map(str(folder / INDEX), "r"))
        index, metadata = reader.get_batch(0), json.loads(reader.schema.metadata[METADATA])
        names = {field.name for field in fields(CacheKey)}
        if unknown := names - set(metadata):
            raise MismatchError(f"{folder}: made before embeddings said their {', '.join(sorted(unknown))}; "
                                "run the embed stage again")  # fmt: skip
        for what, wanted in json.loads(json.dumps(expected)).items():
            if metadata[what] != wanted:
                raise MismatchError(
                    f"{folder}: these embeddings were made with {what} {metadata[what]}, "
                    f"but {what} {wanted} is asked for; run the embed stage for it"
                )
        known = {name: metadata[name] for name in names}
        self.key = CacheKey(**{**known, "layers": tuple(known["layers"])})
        self._shard, self._row, self._length = (index[name].to_numpy() for name in ("shard", "row", "length"))
        self._tokens = index["tokens"]
        self._parts: dict[int, Part] = {}

    def __len__(self) -> int:
        return len(self._shard)

    @property
    def size(self) -> int:
        """W, numbers a token."""
        return self.key.width

    @property
    def dtype(self) -> np.dtype[Any]:
        """float16 or float32."""
        return self.key.dtype

    def sentence(self, number: int) -> NDArray[Any]:
        """Return the embeddings of one sentence of the corpus: [n, W] of `dtype`, a copy."""
        out = np.empty((int(self._length[number]), self.size), self.dtype)
        self.gather([number], out[None])
        return out

    def gather(self, numbers: Sequence[int] | NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write the embeddings of sentences to `out` [B, T, W], padded on the right with zeros."""
        chosen = np.asarray(numbers, np.int64)
        shards, rows, lengths = (column[chosen] for column in (self._shard, self._row, self._length))
        out[:, lengths.min(initial=out.shape[1]) :] = 0  # in one go; tokens overwrite it
        batches, firsts = np.divmod(rows, ROWS)
        positions = (column.tolist() for column in (shards, batches, firsts, firsts + lengths, lengths))
        parts, simple = self._parts, 0 if self.key.scales else ROWS
        for target, shard, batch, first, last, length in zip(out, *positions, strict=True):
            if shard not in parts:
                parts[shard] = Part(self._folder / part_name(shard), self.key, ahead=True)
            if last <= simple:  # nearly all sentences: one copy
                target[:length] = parts[shard].values[batch][first:last]
            else:
                parts[shard].copy(batch * ROWS + first, length, target[:length])

    def check(self, sentences: Sequence[Sequence[str]]) -> None:
        """Compare the token digests of all sentences.

        Raises:
            MismatchError: another number of sentences, or a sentence with other tokens.
        """
        if len(sentences) != len(self):
            raise MismatchError(f"{self._folder}: embeddings of {len(self):,} sentences for {len(sentences):,}")
        for number, tokens in enumerate(sentences):
            if self._tokens[number].as_py() != token_digest(tokens):
                raise MismatchError(f"{self._folder}: sentence {number:,} has other tokens: {' '.join(tokens)[:200]}")
