"""Reading a shuffled epoch of embeddings from a cache that lies in the page cache, against other formats.

    python cache.py [--work FOLDER] [--tokens 500000] [--rounds 5]

Sentences with the lengths of CoNLL-2003, 1,024 numbers of float16 a token; batches of 32 as the tagger draws them, each
written to a padded [B, T, W] in one buffer that is used again. Every format is read as its documentation recommends for
sentences by number, in the fastest of its usual ways (slower in a trial: read_direct of h5py, a tensor a sentence of
safetensors, the numpy format of datasets). Each candidate is read in processes of its own, in turns; files were read
into the page cache in the same way.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import write

W, BATCH, SHARD = 1_024, 32, 32_768
PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"
Gather = Callable[[list[int], NDArray[np.float16]], None]
NOTE = """{tokens:,} tokens in {count:,} sentences, {gigabytes:.2f} GB of float16 in the page cache. GB/s counts the
bytes of the tokens, by the processor's seconds of one thread, medians of {rounds} rounds. The first pass maps the
pages, the second finds them mapped. Two plain copies from a mapped file in the same processes are the references: the
same sentences in the same order, with views made beforehand ({sentences:.1f} GB/s), and as many bytes in one block a
batch ({batches:.1f} GB/s)."""


class Data:
    """What all formats hold, and the batches."""

    def __init__(self, work: Path) -> None:
        with np.load(work / "plan.npz") as plan:
            self.lengths, self._order, self._borders = plan["lengths"], plan["order"], plan["borders"]
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.tokens = int(self.lengths.sum())

    def states(self) -> Iterator[NDArray[np.float16]]:
        """Blocks of SHARD tokens [n, W]."""
        generator = np.random.default_rng(1)
        for start in range(0, self.tokens, SHARD):
            rows = min(SHARD, self.tokens - start)
            yield generator.integers(0, 0x7C00, (rows, W), np.uint16).view(np.float16)  # finite numbers

    def batches(self) -> list[list[int]]:
        """Sentences of each."""
        return [part.tolist() for part in np.split(self._order, self._borders)]


def plan(work: Path, tokens: int) -> None:
    """Lengths and one epoch of batches, by the tagger's own code."""
    from sentences import lengths_of

    from taglm_core.tagging.dataset import training_batches

    lengths = lengths_of(tokens)
    batches = training_batches(lengths, BATCH, np.random.default_rng(1))
    borders = np.cumsum([len(batch) for batch in batches])[:-1]
    np.savez(work / "plan.npz", lengths=lengths, order=np.concatenate(batches), borders=borders)


def ours(folder: Path, data: Data) -> Gather:
    """The embedding cache."""
    from taglm_core.lm.cache import EmbeddingCache, RowRange, part_name, write_index
    from taglm_core.lm.cache_parts import CacheKey, Rows, write_part

    if not folder.exists():
        folder.mkdir()
        key = CacheKey("lm", "corpus", (1,), W, "float16", "sentence", {}, 1)
        ranges, shard, row, rows = [], 0, 0, [0]
        for length in data.lengths.tolist():  # a sentence is never cut
            if row >= SHARD:
                shard, row = shard + 1, 0
                rows.append(0)
            ranges.append(RowRange(shard, row, length))
            row = rows[-1] = row + length
        flat = np.concatenate(list(data.states()))
        for number, part in enumerate(np.split(flat, np.cumsum(rows)[:-1])):
            write_part(folder / part_name(number), Rows(part, np.empty((len(part), 0), np.float32)), 1.0)
        write_index(folder / "index.arrow", ranges, [b"-" * 16] * len(ranges), key)
    return EmbeddingCache(folder).gather


def numpy_memmap(folder: Path, data: Data) -> Gather:
    """One .npy file, `np.load(mmap_mode="r")`."""
    path = folder / "states.npy"
    if not folder.exists():
        folder.mkdir()
        array = np.lib.format.open_memmap(path, "w+", np.float16, (data.tokens, W))
        for number, block in enumerate(data.states()):
            array[number * SHARD : number * SHARD + len(block)] = block
        array.flush()
    states = np.load(path, mmap_mode="r")
    return _by_rows(data, lambda start, end: states[start:end])


def h5py_contiguous(folder: Path, data: Data) -> Gather:
    """One contiguous dataset."""
    import h5py

    if not folder.exists():
        folder.mkdir()
        with h5py.File(folder / "states.h5", "w") as file:
            dataset = file.create_dataset("states", (data.tokens, W), np.float16)
            for number, block in enumerate(data.states()):
                dataset[number * SHARD : number * SHARD + len(block)] = block
    states = h5py.File(folder / "states.h5", "r")["states"]
    return _by_rows(data, lambda start, end: states[start:end])


def safetensors_slice(folder: Path, data: Data) -> Gather:
    """One tensor, `get_slice`."""
    from safetensors import safe_open

    _write_safetensors(folder, data)
    states = safe_open(folder / "states.safetensors", framework="np").get_slice("states")
    return _by_rows(data, lambda start, end: states[start:end])


def safetensors_tensor(folder: Path, data: Data) -> Gather:
    """One tensor, mapped by `get_tensor` of the torch framework."""
    from safetensors import safe_open

    _write_safetensors(folder, data)
    states = safe_open(folder / "states.safetensors", framework="pt").get_tensor("states")
    mapped = states.numpy()
    return _by_rows(data, lambda start, end: mapped[start:end])


def lmdb_buffers(folder: Path, data: Data) -> Gather:
    """Sentence number -> bytes, `buffers=True`."""
    import lmdb

    if not folder.exists():
        environment = lmdb.open(str(folder), map_size=4 * data.tokens * W)
        flat = np.concatenate(list(data.states()))
        with environment.begin(write=True) as transaction:
            for number, part in enumerate(np.split(flat, data.starts[1:])):
                transaction.put(number.to_bytes(4, "big"), part.tobytes(), append=True)
        environment.close()
    get = lmdb.open(str(folder), readonly=True, lock=False).begin(buffers=True).get
    return _by_number(lambda number: np.frombuffer(get(number.to_bytes(4, "big")), np.float16).reshape(-1, W))


def datasets_arrow(folder: Path, data: Data) -> Gather:
    """Hugging Face datasets: rows are sentences, `with_format("arrow")` and a view of each row's values."""
    rows = _dataset(folder, data).with_format("arrow")

    def read(numbers: list[int]) -> list[NDArray[np.float16]]:
        column = rows[numbers]["states"].combine_chunks()
        borders = W * (column.offsets.to_numpy() - column.offsets[0].as_py())
        values = column.flatten().flatten().to_numpy()
        return [values[a:b].reshape(-1, W) for a, b in itertools.pairwise(borders)]

    return _by_list(read)


def _dataset(folder: Path, data: Data) -> Any:
    import pyarrow as pa
    from datasets import Dataset, Features, List, Value, load_from_disk

    if not folder.exists():
        features = Features({"states": List(List(Value("float16"), length=W))})
        flat = np.concatenate(list(data.states()))
        tables = []
        for start in range(0, len(data.lengths), 1_000):
            lengths, first = data.lengths[start : start + 1_000], int(data.starts[start])
            part = flat[first : first + int(lengths.sum())]
            inner = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), W)
            borders = np.cumsum([0, *lengths]).astype(np.int32)
            tables.append(pa.table({"states": pa.ListArray.from_arrays(borders, inner)}))
        Dataset(pa.concat_tables(tables)).cast(features).save_to_disk(folder)
    return load_from_disk(folder)


CANDIDATES: dict[str, tuple[str, Callable[[Path, Data], Gather]]] = {  # name: folder, reader
    "ours": ("ours", ours),
    "numpy memmap": ("numpy", numpy_memmap),
    "safetensors, get_tensor": ("safetensors", safetensors_tensor),
    "safetensors, get_slice": ("safetensors", safetensors_slice),
    "LMDB": ("lmdb", lmdb_buffers),
    "h5py": ("h5py", h5py_contiguous),
    "datasets": ("datasets", datasets_arrow),
}


def _by_rows(data: Data, read: Callable[[int, int], NDArray[np.float16]]) -> Gather:
    starts, lengths = data.starts.tolist(), data.lengths.tolist()
    return _by_number(lambda number: read(starts[number], starts[number] + lengths[number]))


def _by_number(read: Callable[[int], NDArray[np.float16]]) -> Gather:
    return _by_list(lambda numbers: map(read, numbers))


def _by_list(read: Callable[[list[int]], Any]) -> Gather:
    def gather(numbers: list[int], out: NDArray[np.float16]) -> None:
        for target, found in zip(out, read(numbers), strict=True):
            target[: len(found)] = found
            target[len(found) :] = 0

    return gather


def _write_safetensors(folder: Path, data: Data) -> None:
    from safetensors.numpy import save_file

    if not folder.exists():
        folder.mkdir()
        save_file({"states": np.concatenate(list(data.states()))}, folder / "states.safetensors")


def write_all(work: Path, names: list[str]) -> None:
    """In a process of its own: what is not there yet. Then the page cache forgets how each was written."""
    data = Data(work)
    for name in names:
        folder, reader = CANDIDATES[name]
        reader(work / folder, data)
    os.sync()
    for path in work.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(work: Path, name: str) -> dict[str, Any]:
    """In a process of its own: seconds of both passes and of copying, and a checksum of some batches."""
    data = Data(work)
    folder, reader = CANDIDATES[name]
    for path in sorted((work / folder).rglob("*")):  # into the page cache
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass
    batches = data.batches()
    shapes = [(len(batch), int(data.lengths[batch].max()), W) for batch in batches]
    buffer = np.zeros(max(int(np.prod(shape)) for shape in shapes), np.float16)
    outs = [buffer[: int(np.prod(shape))].reshape(shape) for shape in shapes]
    source = np.asarray(np.load(work / "numpy" / "states.npy", mmap_mode="r"))
    spans = zip(data.starts.tolist(), (data.starts + data.lengths).tolist(), strict=True)
    views = [source[start:end] for start, end in spans]
    sentences = [(target[: len(views[number])], views[number]) for batch, out in zip(batches, outs, strict=True)
                 for target, number in zip(out, batch, strict=True)]  # fmt: skip
    ends = np.cumsum([int(data.lengths[batch].sum()) for batch in batches])
    blocks = [(buffer[: part.size].reshape(part.shape), part) for part in np.split(source, ends[:-1])]
    gather = reader(work / folder, data)

    def read() -> None:
        for batch, out in zip(batches, outs, strict=True):
            gather(batch, out)

    seconds: dict[str, list[float]] = {"sentences": [], "batches": [], "read": []}
    _timed(lambda: _copy(blocks))  # maps the source
    for _ in range(4):
        seconds["sentences"].append(_timed(lambda: _copy(sentences)))
        seconds["batches"].append(_timed(lambda: _copy(blocks)))
        seconds["read"].append(_timed(read))
    check = 0
    for batch, out in list(zip(batches, outs, strict=True))[::50]:
        buffer[:] = 1
        gather(batch, out)
        check = zlib.crc32(out.tobytes(), check)
    copies = {what: statistics.median(seconds[what]) for what in ("sentences", "batches")}
    return {"first": seconds["read"][0], "second": statistics.median(seconds["read"][1:]), "check": check, **copies}


def _copy(pairs: list[tuple[NDArray[np.float16], NDArray[np.float16]]]) -> None:
    for target, part in pairs:
        np.copyto(target, part)


def _timed(run: Callable[[], None]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def main() -> None:
    """All candidates by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(CANDIDATES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write_all(given.work, given.only)
        return
    if given.one:
        sys.stdout.write(json.dumps(measure(given.work, given.one)))
        return
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        work = given.work or Path(folder)
        plan(work, given.tokens)
        compare(work, given.only, given.rounds)


def compare(work: Path, names: list[str], rounds: int) -> None:
    """Rounds of processes."""
    data, found = Data(work), {name: [] for name in names}
    subprocess.run([PEERS, __file__, "--work", work, "--write", "--only", *names], check=True)
    for _ in range(rounds):
        for name in names:
            command = [PEERS, __file__, "--work", work, "--one", name]
            found[name].append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    assert len({one["check"] for runs in found.values() for one in runs}) == 1, "the formats gave different numbers"
    size = 2 * W * data.tokens
    rows = []
    for name, runs in found.items():
        row: dict[str, Any] = {"format": name}
        for part in ("first", "second"):
            row[f"{part} pass (GB/s)"] = round(size / statistics.median(one[part] for one in runs) / 1e9, 2)
            for copy in ("sentences", "batches"):
                share = statistics.median(one[copy] / one[part] for one in runs)
                row[f"{part} pass (of memcpy by {copy})"] = round(share, 3)
        rows.append(row)
    rows.sort(key=lambda row: -row["second pass (GB/s)"])
    for row in rows:
        sys.stdout.write(f"{row}\n")
    every = [one for runs in found.values() for one in runs]
    copies = {copy: size / statistics.median(one[copy] for one in every) / 1e9 for copy in ("sentences", "batches")}
    note = " ".join(NOTE.split()).format(tokens=data.tokens, count=len(data.lengths), gigabytes=size / 1e9,
                                         rounds=rounds, **copies)  # fmt: skip
    sys.stdout.write(f"{write('cache', 'Reading a shuffled epoch of embeddings', rows, note)}\n")


if __name__ == "__main__":
    main()
