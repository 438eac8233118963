"""Words as UTF-8 bytes, the "characters" that a character encoder reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BOUNDARY = "< S >"
"""The boundary mark, word 0 of every vocabulary. It holds spaces, which no token of a corpus can: a literal `<S>` in a
text is an ordinary word, and nothing needs to be refused or escaped."""

PADDING = 0
BEGIN = 257
END = 258
N_SYMBOLS = 259
"""Symbols: 0 padding, 1..256 byte + 1, 257 begin of word, 258 end of word."""


def encode_words(words: Sequence[str], *, max_bytes: int) -> np.ndarray:
    """Write each word as BEGIN, its bytes + 1, END, padded to the longest of the batch.

    A word of more than `max_bytes` bytes keeps its first and its last ones, half each (the first half is the larger),
    because both prefix and suffix tell what a word is. `BOUNDARY` is END, BEGIN: as between two words, and in no word.

    Args:
        words: V words, none of them empty.
        max_bytes: bytes kept of a word, at least 1.

    Returns:
        [V, C] int16, C = bytes of the longest kept word + 2.
    """
    if max_bytes < 1:
        raise ValueError(f"max_bytes is {max_bytes}, must be at least 1")
    boundaries = [row for row, word in enumerate(words) if word == BOUNDARY]
    encoded = [_cut(word.encode(), max_bytes) for word in words]
    for row in boundaries:
        encoded[row] = b""
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    if np.count_nonzero(lengths == 0) != len(boundaries):
        raise ValueError("an empty word cannot be encoded")
    widest = int(lengths.max(initial=0))
    symbols = np.zeros((len(encoded), widest + 2), np.int16)
    symbols[:, 0] = BEGIN
    # Row by row, left to right: the order in which the joined bytes lie.
    symbols[:, 1 : widest + 1][np.arange(widest) < lengths[:, None]] = (
        np.frombuffer(b"".join(encoded), np.uint8).astype(np.int16) + 1
    )
    symbols[np.arange(len(encoded)), lengths + 1] = END
    symbols[boundaries, :2] = (END, BEGIN)
    return symbols


def count_cut(words: Sequence[str], *, max_bytes: int) -> int:
    """Return the number of words that `encode_words` would cut."""
    return sum(len(word.encode()) > max_bytes for word in words if word != BOUNDARY)


def _cut(encoded: bytes, max_bytes: int) -> bytes:
    if len(encoded) <= max_bytes:
        return encoded
    last = max_bytes // 2
    return encoded[: max_bytes - last] + encoded[len(encoded) - last :]
