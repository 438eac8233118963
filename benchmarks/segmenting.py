"""Ingest of raw documents (JSON lines to a stored corpus) against the same libraries in a plain loop, in one run.

../.venv/bin/python segmenting.py ../../shared/data/documents/us-news.jsonl.zst --documents 3000
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from taglm_core.config.data import TextFormat
from taglm_core.corpus.files import open_text
from taglm_core.corpus.parquet import write_text_batches
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.formats.documents import read_documents
from taglm_core.formats.segmenting import record_of, segment


def plain(path: Path, out: Path) -> int:
    """Split and tokenise with sentencex and nltk, a document after the other; return the tokens."""
    import sentencex
    from nltk.tokenize.treebank import TreebankWordTokenizer

    tokenizer, sentences = TreebankWordTokenizer(), []
    for _, line in open_text(path):
        for sentence in sentencex.segment("en", json.loads(line)["text"]):
            tokens = tokenizer.tokenize(sentence)
            if tokens:
                sentences.append(tokens)
    pq.write_table(pa.table({"tokens": sentences}), out / "plain.parquet", compression="zstd")
    return sum(map(len, sentences))


def ingest(path: Path, out: Path, processes: int) -> int:
    """Read, segment and store as the ingest stage does; return the tokens."""
    record = record_of({"language": "en", "tokenizer": "treebank", "spelling": "plain"})
    documents = read_documents([path], TextFormat.JSONL)
    return write_text_batches(segment(documents, record, processes=processes), out, read=ReadCounts()).tokens


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="JSON lines with a field text, plain or compressed")
    parser.add_argument("--documents", type=int, default=3000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, "part.jsonl")
        with part.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for _, line in itertools.islice(open_text(given.file), given.documents))
        for name, work in (
            ("plain loop", lambda out: plain(part, out)),
            ("ingest, 1 process", lambda out: ingest(part, out, 1)),
            ("ingest, 2 processes", lambda out: ingest(part, out, 2)),
        ):
            begun = time.perf_counter()
            tokens = work(Path(folder))
            seconds = time.perf_counter() - begun
            size = part.stat().st_size / 1e6
            sys.stdout.write(f"{name}: {size:.1f} MB, {tokens:,} tokens, {seconds:.1f} s, {size / seconds:.2f} MB/s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
