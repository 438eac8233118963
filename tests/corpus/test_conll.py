"""CoNLL columns: sentences, documents, and every malformed line named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.conll_faults import Columns
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.errors import InputError

SMALL = """-DOCSTART- -X- O O

U.N. NNP I-NP I-ORG
official NN I-NP O

Ekeus NNP I-NP I-PER
-DOCSTART- -X- O O
heads VBZ I-VP O
"""


def _read(path: Path, text: str, word: int = 0, tag: int | None = -1, counts: ReadCounts | None = None):
    path.write_bytes(text.encode())
    return list(read_conll([path], Columns(word, tag), counts=counts))


def test_sentences_documents_and_lines(tmp_path: Path) -> None:
    """Blank lines and document marks end sentences, marks are no sentences, the last one needs no blank line."""
    path = tmp_path / "eng.train"
    counts = ReadCounts()
    assert _read(path, SMALL, counts=counts) == [
        Sentence(("U.N.", "official"), ("I-ORG", "O"), 0, 3, str(path)),
        Sentence(("Ekeus",), ("I-PER",), 0, 6, str(path)),
        Sentence(("heads",), ("O",), 1, 8, str(path)),
    ]
    assert (counts.files, counts.document_marks, counts.empty_lines) == (1, 2, 2)


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("\n", "\r\n"),
        "\ufeff" + SMALL,
        SMALL.replace(" ", "\t"),
        SMALL.replace(" ", " \t  "),
        SMALL.replace("\n\n", "\n \t \n"),
        SMALL.replace("-DOCSTART- -X- O O", "-DOCSTART-"),
        SMALL.rstrip("\n"),
    ],
    ids=["crlf", "bom", "tabs", "runs", "blanks", "short-mark", "no-last-line-end"],
)
def test_the_same_content_in_other_dress_reads_the_same(tmp_path: Path, text: str) -> None:
    """Line ends, separators, white space in blank lines and short document marks change nothing."""
    assert _read(tmp_path / "a", text) == _read(tmp_path / "a", SMALL)


def test_columns_are_configuration(tmp_path: Path) -> None:
    """Columns count from the front or from the end."""
    sentence = _read(tmp_path / "a", "NNP I-NP Rome\n", word=2, tag=-2)[0]
    assert (sentence.tokens, sentence.tags) == (("Rome",), ("I-NP",))
    assert _read(tmp_path / "a", "Rome\nfell\n", tag=None)[0].tags is None


def test_a_token_may_hold_any_unicode_space(tmp_path: Path) -> None:
    """Only spaces and tabs separate columns; a no-break space belongs to its token."""
    assert _read(tmp_path / "a", "10\u00a0000 O\n")[0].tokens == ("10\u00a0000",)


def test_documents_are_numbered_over_all_files(tmp_path: Path) -> None:
    """A new file opens a new document, with or without a mark at its top."""
    paths = [tmp_path / name for name in "abc"]
    for path, text in zip(paths, ["x O\n", "-DOCSTART- O\n\ny O\n\n-DOCSTART- O\n\nz O\n", "w O\n"], strict=True):
        path.write_text(text)
    sentences = list(read_conll(paths, Columns(0, 1)))
    assert [(sentence.tokens[0], sentence.document) for sentence in sentences] == [
        ("x", 0),
        ("y", 1),
        ("z", 2),
        ("w", 3),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a NN I-NP O\nU.N. NNP I-NP\n",
            r"eng\.train:2: found 3 columns \('U\.N\. NNP I-NP'\); expected 4 as in line 1",
        ),
        ("a NN I-NP O\nb c NN I-NP O\n", r"eng\.train:2: found 5 columns"),
        ("a O\n\nb PER\n", r"eng\.train:3: found the tag 'PER'; expected O, or one of B-"),
        ("a O\nb X-PER\n", r"eng\.train:2: found the tag 'X-PER'"),
        ("a B-\n", r"eng\.train:1: found the tag 'B-'"),
        ("a O\rb O\r", r"eng\.train:1: found line ends of old Macs"),
        ("a O\n" * 100_001, r"eng\.train:1: found more than 100,000 tokens without a blank line"),
    ],
)
def test_malformed_lines_stop_with_file_line_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    """A wrong number of columns, an unknown tag, old Mac line ends, a file without blank lines: each is named."""
    with pytest.raises(InputError, match=message) as caught:
        _read(tmp_path / "eng.train", text)
    assert caught.value.remedy


@pytest.mark.parametrize(("word", "tag"), [(2, 0), (0, 2), (-3, 0), (0, -3)])
def test_a_column_that_is_not_there_is_refused(tmp_path: Path, word: int, tag: int) -> None:
    """A configured column outside the file's columns names both."""
    with pytest.raises(
        InputError, match=r"a:1: found 2 columns.*expected a (word|tag) in column -?\d.*labelled\.columns"
    ):
        _read(tmp_path / "a", "Rome O\n", word=word, tag=tag)


def test_two_files_may_have_different_numbers_of_columns(tmp_path: Path) -> None:
    """The number of columns is a property of each file, not of the corpus."""
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_text("x O\n")
    paths[1].write_text("y NN O\n")
    assert len(list(read_conll(paths, Columns(0, -1)))) == 2
