"""Memory of reading training text: 10 million to 1 billion token ids, generated, in shards as `token-ids` has them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import write

SIZES = (10_000_000, 100_000_000, 1_000_000_000)
PER_SHARD, SENTENCE, WINDOWS = 4_000_000, 25, 2_000


def generate(folder: Path, tokens: int) -> None:
    """Shards of sentences of 25 words; the words repeat from shard to shard, which reading does not notice."""
    ids = np.random.default_rng(1).integers(1, 50_000, PER_SHARD, dtype=np.int32)
    offsets = np.arange(0, PER_SHARD + 1, SENTENCE, dtype=np.int64)
    for shard in range(tokens // PER_SHARD):
        ids.tofile(folder / f"train-{shard:05d}.ids")
        offsets.tofile(folder / f"train-{shard:05d}.offsets")


def read(folder: Path) -> None:
    """In a process of its own: read windows, print anonymous memory in kilobytes and tokens a second."""
    from taglm_core.corpus.token_ids import Shard
    from taglm_core.lm.streams import Streams

    shards = [Shard.open(folder, path.stem) for path in sorted(folder.glob("*.ids"))]
    streams = Streams(shards, streams=128, window=20, backward=False, seed=1)
    begun = time.perf_counter()
    for _ in range(WINDOWS):
        streams.next()
    speed = WINDOWS * 128 * 20 / (time.perf_counter() - begun)
    status = Path("/proc/self/status").read_text()
    memory = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
    sys.stdout.write(f"{memory} {speed:.0f}")


def main() -> None:
    """Measure every size."""
    rows: list[dict[str, Any]] = []
    for tokens in SIZES:
        with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
            generate(Path(folder), tokens)
            command = [sys.executable, __file__, folder]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        rows.append({"token ids": tokens, "anonymous memory (MB)": round(int(output[0]) / 1_000),
                     "tokens read a second": int(output[1])})  # fmt: skip
        sys.stdout.write(f"{rows[-1]}\n")
    sys.stdout.write(f"{write('streams', 'Reading training text', rows)}\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        read(Path(sys.argv[1]))
    else:
        main()
