"""Word vectors from a file for given words (formats: `taglm_core.corpus.vector_layout`).

A word is looked up as it stands, then in lower case, then in lower case with every digit as 0 (the form in which some
vector files write numbers); the hits of each step are counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from taglm_core.corpus.vector_files import read_rows
from taglm_core.errors import DamagedObject

VECTORS_FILE = "vectors.arrow"
LOOKUPS = ("exact", "lower", "digits")

_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class WordVectors:
    """Vectors of the words found.

    Attributes:
        words: the V words found, sorted, as in the labelled data.
        matrix: [V, D] float32.
        coverage: for each of exact, lower, digits and missing the `types` and `tokens` looked up that way, and
            `rows`, the vectors in the file.
        not_utf8: words of the file that are not UTF-8 and match nothing; not stored.
    """

    words: tuple[str, ...]
    matrix: np.ndarray
    coverage: dict[str, dict[str, int] | int]
    not_utf8: int = 0

    @property
    def dim(self) -> int:
        """D, numbers a vector."""
        return int(self.matrix.shape[1])


def candidate_keys(word: str) -> tuple[str, str, str]:
    """Return the keys by which a word is looked up, in order: see `LOOKUPS`."""
    lower = word.lower()
    return word, lower, _DIGIT.sub("0", lower)


def read_vectors(path: Path, needed: Set[str], *, counts: Mapping[str, int] | None = None) -> WordVectors:
    """Read the vectors of the needed words; memory holds those only.

    If a word occurs twice in the file, its first vector counts.

    Args:
        path: of GloVe, word2vec (text or binary) or fastText (.vec); plain or compressed.
        needed: words to look up.
        counts: frequency of each word, for the coverage in tokens; 1 each if not given.

    Raises:
        InputError: the file is missing or damaged; see `read_rows`.
    """
    candidates = {word: candidate_keys(word) for word in sorted(needed)}
    wanted = {key for keys in candidates.values() for key in keys}
    rows = read_rows(path, wanted)
    words: list[str] = []
    vectors: list[np.ndarray] = []
    types: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for word, keys in candidates.items():
        found = next(((name, key) for name, key in zip(LOOKUPS, keys, strict=True) if key in rows.vectors), None)
        name = "missing" if found is None else found[0]
        types[name] += 1
        tokens[name] += 1 if counts is None else counts.get(word, 0)
        if found is not None:
            words.append(word)
            vectors.append(rows.vectors[found[1]])
    coverage: dict[str, dict[str, int] | int] = {
        name: {"types": types[name], "tokens": tokens[name]} for name in (*LOOKUPS, "missing")
    }
    coverage["rows"] = rows.total
    matrix = np.stack(vectors) if vectors else np.empty((0, rows.dim), np.float32)
    return WordVectors(tuple(words), matrix, coverage, rows.not_utf8)


def write_vectors(vectors: WordVectors, folder: Path) -> Path:
    """Write `vectors.arrow`: columns word and vector, coverage as metadata. The same vectors give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = pa.array(np.ascontiguousarray(vectors.matrix, np.float32).reshape(-1))
    schema = pa.schema(
        [pa.field("word", pa.string(), nullable=False), pa.field("vector", pa.list_(pa.float32(), vectors.dim))],
        metadata={"coverage": json.dumps(vectors.coverage, sort_keys=True)},
    )
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.dim)
    batch = pa.record_batch([pa.array(vectors.words, pa.string()), column], schema=schema)
    path = folder / VECTORS_FILE
    with pa.ipc.new_file(path, schema) as writer:
        writer.write_batch(batch)
    return path


def load_vectors(folder: Path) -> WordVectors:
    """Load what `write_vectors` wrote.

    Raises:
        DamagedObject: the file is missing or incomplete.
    """
    path = folder / VECTORS_FILE
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise DamagedObject(
            f"{path}: found no readable file ({reason}), expected word vectors; remove the object and run again"
        ) from error
    dim = table.schema.field("vector").type.list_size
    matrix = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dim).copy()
    return WordVectors(tuple(table["word"].to_pylist()), matrix, json.loads(table.schema.metadata[b"coverage"]))
