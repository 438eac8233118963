"""Stored corpora: what goes in comes out, bytes repeat, errors name the line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.conll_faults import Columns
from taglm_core.corpus.parquet import (
    SCHEMA,
    corpus_files,
    count_sentences,
    iter_batches,
    load_sentences,
    read_corpus,
    write_corpus,
)
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.corpus.text import read_text
from taglm_core.errors import DamagedObject, InputError


def _sentences(number: int) -> Iterator[Sentence]:
    for i in range(number):
        tokens = tuple(f"w{(i * 7 + j) % 50}" for j in range(i % 9 + 1))
        yield Sentence(tokens, ("B-X",) + ("I-X",) * (i % 9), i // 4, i + 1, "file")


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    """Tokens, BIOES and source tags, documents and ids are read back over several files."""
    write_corpus(_sentences(100), tmp_path, scheme=Scheme.IOB2, sentences_per_file=30, row_group=8)
    assert [path.name for path in corpus_files(tmp_path)] == [f"sentences-{i:05d}.parquet" for i in range(4)]
    assert [pq.read_metadata(path).num_rows for path in corpus_files(tmp_path)] == [30, 30, 30, 10]
    stored = list(read_corpus(tmp_path, batch_size=7))
    for i, (before, after) in enumerate(zip(_sentences(100), stored, strict=True)):
        assert after.sentence_id == i
        assert (after.tokens, after.source_tags, after.document_id) == (before.tokens, before.tags, before.document)
    assert stored[2].tags == ("B-X", "I-X", "E-X")
    assert load_sentences(tmp_path) == [(sentence.tokens, sentence.tags) for sentence in stored]
    assert count_sentences(tmp_path) == 100


def test_counts(tmp_path: Path) -> None:
    """The counts are those of the sentences, with the reader's own added."""
    path = tmp_path / "train"
    path.write_text("-DOCSTART- O\n\nA I-X\nB B-X\nc O\n\nD B-Y\n\n-DOCSTART- O\n\ne O\n")
    read = ReadCounts()
    sentences = read_conll([path], Columns(0, 1), counts=read)
    counts = write_corpus(sentences, tmp_path / "corpus", scheme=Scheme.IOB1, read=read)
    assert counts.to_dict() == {
        "files": 1,
        "sentences": 3,
        "documents": 2,
        "document_marks": 2,
        "empty_lines": 4,
        "tokens": 5,
        "longest": 3,
        "entities": {"X": 2, "Y": 1},
        "entities_total": 3,
        "boundaries": {"b_after_o": 1, "b_after_same_type": 1, "b_after_other_type": 0},
    }


def test_the_same_sentences_give_the_same_bytes(tmp_path: Path) -> None:
    """Two writings, one over the rest of an unfinished attempt, are equal byte by byte."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "sentences-00009.parquet").write_bytes(b"left over")
    for name in "ab":
        write_corpus(_sentences(100), tmp_path / name, scheme=Scheme.IOB2, sentences_per_file=30, row_group=8)
    first, second = (corpus_files(tmp_path / name) for name in "ab")
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_unlabelled_text_has_null_tags(tmp_path: Path) -> None:
    """Without a scheme tags are null, and the columns keep their types."""
    write_corpus([Sentence(("a", "b"), None, 0, 1)], tmp_path, scheme=None)
    stored = list(read_corpus(tmp_path))
    assert (stored[0].tags, stored[0].source_tags) == (None, None)
    assert pq.read_schema(corpus_files(tmp_path)[0]).equals(SCHEMA)


def test_batches_have_the_columns_asked_for(tmp_path: Path) -> None:
    """Batches hold at most the asked number of sentences and only the asked columns."""
    write_corpus(_sentences(25), tmp_path, scheme=Scheme.IOB2, row_group=10)
    batches = list(iter_batches(tmp_path, ["tokens"], 4))
    assert batches[0].schema.names == ["tokens"]
    assert max(batch.num_rows for batch in batches) <= 4
    assert sum(batch.num_rows for batch in batches) == 25


def test_a_forbidden_tag_names_file_and_line(tmp_path: Path) -> None:
    """A tag that breaks the scheme stops at its own line, not at the sentence's."""
    path = tmp_path / "test.txt"
    path.write_text("a B-X\nb I-X\nc I-Y\n")
    with pytest.raises(InputError, match=r"test\.txt:3: found the tag 'I-Y'; expected B-Y or I-Y before it"):
        write_corpus(read_conll([path], Columns(0, 1)), tmp_path / "c", scheme=Scheme.IOB2, strict=True)


def test_no_sentence_is_refused(tmp_path: Path) -> None:
    """A file of blank lines is no corpus."""
    path = tmp_path / "blank.txt"
    path.write_text("\n\n \n")
    read = ReadCounts()
    with pytest.raises(InputError, match=r"blank\.txt: found no sentence \(files read: 1, empty lines: 3\)"):
        write_corpus(read_text([path], counts=read), tmp_path / "corpus", scheme=None, read=read)


def test_a_missing_or_damaged_corpus_is_named(tmp_path: Path) -> None:
    """A folder without corpus files, and a file that is no Parquet, are damaged objects."""
    with pytest.raises(DamagedObject, match="found no sentences"):
        list(read_corpus(tmp_path))
    write_corpus(_sentences(5), tmp_path, scheme=Scheme.IOB2)
    path = corpus_files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedObject, match=r"sentences-00000\.parquet: found an unreadable file"):
        list(read_corpus(tmp_path))


_MEMORY = """
import resource, sys
from pathlib import Path
from taglm_core.corpus.parquet import write_corpus
from taglm_core.corpus.text import read_text
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
marks = {}
def watched(sentences):
    for number, sentence in enumerate(sentences):
        if number == 10_000:
            marks["early"] = peak()
        yield sentence
folder = Path(sys.argv[1])
write_corpus(watched(read_text([folder / "text.txt"])), folder / "corpus", scheme=None, row_group=2_000)
sys.stdout.write(str(peak() - marks["early"]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_ingest_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """Five sixths of a text of 16 MB add less than 20 MB to the peak; held as strings they would add about 100."""
    with (tmp_path / "text.txt").open("w") as file:
        for i in range(60_000):
            file.write(" ".join(f"word{(i * 31 + j * 7) % 90_001}" for j in range(25)) + "\n")
    done = subprocess.run([sys.executable, "-c", _MEMORY, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20
