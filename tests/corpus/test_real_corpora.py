"""The real corpora: counts exactly as published, schemes as known."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.conll_faults import Columns
from taglm_core.corpus.database import DatabaseLimits
from taglm_core.corpus.parquet import CorpusCounts, write_corpus
from taglm_core.corpus.paths import resolve_files
from taglm_core.corpus.scheme_evidence import SchemeEvidence
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.corpus.statistics import corpus_statistics, overlap
from taglm_core.corpus.text import read_text
from taglm_core.corpus.word_vectors import read_vectors

pytestmark = pytest.mark.real


def _ingest(paths: list[Path], out: Path) -> tuple[Scheme, dict[str, CorpusCounts]]:
    evidence = SchemeEvidence()
    for sentence in read_conll(paths, Columns(0, -1)):
        assert sentence.tags is not None
        evidence.add(sentence.tags, sentence)
    counts = {}
    for path in paths:
        read = ReadCounts()
        sentences = read_conll([path], Columns(0, -1), counts=read)
        counts[path.name] = write_corpus(sentences, out / path.name, scheme=evidence.decide(), read=read)
    return evidence.decide(), counts


def test_conll2003(shared_data: Path, tmp_path: Path) -> None:
    """CoNLL-2003 is IOB1 and has its published counts, in our writer and in SQL."""
    names = ["eng.train", "eng.testa", "eng.testb"]
    scheme, counts = _ingest([shared_data / "conll2003" / name for name in names], tmp_path)
    assert scheme is Scheme.IOB1
    found = {
        name: (count.sentences, count.document_marks, count.documents, count.tokens, sum(count.entities.values()))
        for name, count in counts.items()
    }
    assert found == {
        "eng.train": (14041, 946, 946, 203621, 23499),
        "eng.testa": (3250, 216, 216, 51362, 5942),
        "eng.testb": (3453, 231, 231, 46435, 5648),
    }
    assert counts["eng.train"].entities == {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600}
    assert counts["eng.testb"].entities == {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617}
    assert counts["eng.train"].boundaries["b_after_o"] == 2
    statistics = corpus_statistics(tmp_path / "eng.train", DatabaseLimits(1, "500MB", tmp_path / "t"))
    assert statistics["entities"] == counts["eng.train"].entities


def test_conll2000(shared_data: Path, tmp_path: Path) -> None:
    """CoNLL-2000 is IOB2 and has its published counts."""
    scheme, counts = _ingest([shared_data / "conll2000" / name for name in ("train.txt", "test.txt")], tmp_path)
    assert scheme is Scheme.IOB2
    found = {name: (count.sentences, count.tokens, sum(count.entities.values())) for name, count in counts.items()}
    assert found == {"train.txt": (8936, 211727, 106978), "test.txt": (2012, 47377, 23852)}


def test_news(shared_data: Path, tmp_path: Path) -> None:
    """The news text has its counts, no test or development sentence, and 128 lines equal to a training sentence.

    Equal token by token, counted a second time with Python sets; the 154 of the data's README are not that exact.
    """
    counts = write_corpus(read_text(resolve_files(shared_data / "news")), tmp_path / "news", scheme=None)
    assert (counts.sentences, counts.tokens, counts.entities) == (335672, 8234188, {})
    paths = [*(shared_data / "conll2003").glob("eng.*"), *(shared_data / "conll2000").glob("*.txt")]
    for path in paths:
        _ingest([path], tmp_path)
    shared = overlap(
        {"news": tmp_path / "news", **{path.name: tmp_path / path.name for path in paths}},
        DatabaseLimits(1, "1GB", tmp_path / "t"),
    )["news"]
    by_split = {name: found["sentences"] for name, found in shared.items()}
    assert [by_split[name] for name in ("eng.testa", "eng.testb", "test.txt")] == [0, 0, 0]
    assert (by_split["eng.train"], by_split["train.txt"]) == (92, 36)


def test_glove(shared_data: Path) -> None:
    """The GloVe subset has its size, and its words are found by the look-ups they should be."""
    vectors = read_vectors(
        shared_data / "vectors" / "glove.6B.100d.subset.txt.gz", {"the", "London", "LONDON", "qqqqq"}
    )
    assert vectors.dim == 100
    assert vectors.coverage["rows"] == 54062
    assert vectors.words == ("LONDON", "London", "the")
    assert vectors.coverage["exact"] == {"types": 1, "tokens": 1}
