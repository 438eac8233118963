"""Word vectors from a file in GloVe's text format, for the words that a task needs.

A word is looked up as it stands, then in lower case, then in lower case with every digit as 0 (the form in which some
vector files write numbers); what each step found is counted.
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

from taglm_core.corpus.files import open_text
from taglm_core.errors import DamagedObject, InputError

VECTORS_FILE = "vectors.arrow"
LOOKUPS = ("exact", "lower", "digits")

_DIGIT = re.compile(r"\d")
_FORMAT_REMEDY = "give a text file with lines `word number number ...`, all of one length, or download it again"


@dataclass(frozen=True)
class WordVectors:
    """Vectors of the words found.

    Attributes:
        words: the V words found, sorted, as the task writes them.
        matrix: [V, D] float32.
        coverage: for each of exact, lower, digits and missing the `types` and `tokens` looked up that way, and
            `rows`, the vectors in the file.
    """

    words: tuple[str, ...]
    matrix: np.ndarray
    coverage: dict[str, dict[str, int] | int]

    @property
    def dim(self) -> int:
        """D, numbers a vector."""
        return int(self.matrix.shape[1])


def candidate_keys(word: str) -> tuple[str, str, str]:
    """Gives the keys a word is looked up by, in order: see `LOOKUPS`."""
    lower = word.lower()
    return word, lower, _DIGIT.sub("0", lower)


def read_vectors(path: Path, needed: Set[str], *, counts: Mapping[str, int] | None = None) -> WordVectors:
    """Reads the vectors of the needed words; memory holds those only.

    The word2vec text format's first line (`number of words`, `dimension`) is accepted. A word may contain spaces, as
    a few of GloVe's do: the numbers are the last fields of a line. If a word occurs twice, the first line counts.

    Args:
        path: plain, `.gz` or `.zst`.
        needed: words to look up.
        counts: how often the task has each word, for the coverage in tokens; 1 each if not given.

    Raises:
        InputError: a line with another number of values, a value that is no finite number, fewer lines than the first
            line promises, or no vectors at all.
    """
    candidates = {word: candidate_keys(word) for word in sorted(needed)}
    wanted = {key for keys in candidates.values() for key in keys}
    rows, total, dim = _read_rows(path, wanted)
    words: list[str] = []
    vectors: list[np.ndarray] = []
    types: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for word, keys in candidates.items():
        found = next(((name, key) for name, key in zip(LOOKUPS, keys, strict=True) if key in rows), None)
        name = "missing" if found is None else found[0]
        types[name] += 1
        tokens[name] += 1 if counts is None else counts.get(word, 0)
        if found is not None:
            words.append(word)
            vectors.append(rows[found[1]])
    coverage: dict[str, dict[str, int] | int] = {
        name: {"types": types[name], "tokens": tokens[name]} for name in (*LOOKUPS, "missing")
    }
    coverage["rows"] = total
    matrix = np.stack(vectors) if vectors else np.empty((0, dim), np.float32)
    return WordVectors(tuple(words), matrix, coverage)


def _read_rows(path: Path, wanted: Set[str]) -> tuple[dict[str, np.ndarray], int, int]:
    """Gives (vectors of the wanted keys, number of vectors in the file, dimension)."""
    rows: dict[str, np.ndarray] = {}
    dim = total = 0
    promised: int | None = None
    number = 0
    for number, line in open_text(path):
        line = line.rstrip()
        if number == 1 and re.fullmatch(r"\d+ \d+", line):
            promised, dim = map(int, line.split(" "))
            continue
        key, values = _split_line(path, number, line, dim)
        dim = dim or len(values)
        total += 1
        if key in wanted and key not in rows:
            rows[key] = _parse(path, number, values)
    if not total or (promised is not None and total != promised):
        expected = "at least one" if promised is None else f"{promised:,}, as line 1 says"
        raise InputError(path, number or None, f"{total:,} vectors", expected, _FORMAT_REMEDY)
    return rows, total, dim


def _split_line(path: Path, number: int, line: str, dim: int) -> tuple[str, list[str]]:
    """Splits a line into its word and its `dim` values (0: as many as there are)."""
    fields = line.split(" ")
    if "  " in line or "\t" in line:  # other separators than GloVe's, or a line of nothing
        fields = line.split()
    width = dim or len(fields) - 1
    if not fields or width < 1 or len(fields) <= width:
        expected = f"{dim} as in the lines before" if dim else "a word and its values"
        raise InputError(path, number, f"{max(len(fields) - 1, 0)} values ({line[:40]!r})", expected, _FORMAT_REMEDY)
    key, values = fields[:-width], fields[-width:]
    if len(key) > 1 and _is_number(key[-1]):
        # A word with spaces, or a value too many? GloVe's words with spaces end in no number.
        raise InputError(path, number, f"{len(fields) - 1} values ({line[:40]!r})", f"{width} values", _FORMAT_REMEDY)
    return " ".join(key), values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(path: Path, number: int, values: list[str]) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # beyond float32: inf, refused below
            vector = np.array(list(map(float, values)), np.float64).astype(np.float32)
    except ValueError:
        place = next(place for place, value in enumerate(values) if not _is_number(value))
    else:
        if np.isfinite(vector).all():
            return vector
        place = int(np.flatnonzero(~np.isfinite(vector))[0])
    raise InputError(path, number, f"{values[place]!r} as value {place + 1}", "a finite number", _FORMAT_REMEDY)


def write_vectors(vectors: WordVectors, folder: Path) -> Path:
    """Writes `vectors.arrow`: columns word and vector, the coverage as metadata. The same vectors, the same bytes."""
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
    """Loads what `write_vectors` wrote.

    Raises:
        DamagedObject: there is no such file, or it is no whole one.
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
