"""Layouts of labelled files: comments, separators, styles of tags, faults; what is read, and what each refusal says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.conll_faults import Columns, Separator
from taglm_core.corpus.layout import FoundLayout, Layout, find_layout
from taglm_core.corpus.notation import Notation
from taglm_core.corpus.parquet import CorpusCounts, read_corpus, write_corpus
from taglm_core.corpus.schemes import Scheme
from taglm_core.corpus.sentence import ReadCounts, StoredSentence
from taglm_core.errors import InputError


def _find(folder: Path, *texts: str, **settings: Any) -> FoundLayout:
    paths = [folder / f"{name}.conll" for name, _ in zip(("train", "dev", "test"), texts, strict=False)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return find_layout(paths, **{"word": 0, "tag": -1, **settings})


def _stored(folder: Path, layout: Layout, *, word: int = 0, tag: int = -1, name: str = "train") -> list[StoredSentence]:
    columns = Columns(word, tag, layout.separator, layout.notation)
    sentences = read_conll([folder / f"{name}.conll"], columns)
    write_corpus(sentences, folder / name, scheme=layout.scheme, notation=layout.notation)
    return list(read_corpus(folder / name))


def _read(folder: Path, *texts: str, **settings: Any) -> list[tuple[str, str]]:
    """Tokens and BIOES tags of the first file's sentences, each as one string."""
    layout = _find(folder, *texts, **settings).layout
    columns = {name: value for name, value in settings.items() if name in ("word", "tag")}
    return [("|".join(s.tokens), " ".join(s.tags or ())) for s in _stored(folder, layout, **columns)]


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("# sent_id = 1\n# text = a b\n1\ta\tX\tB-X\n2\tb\tX\tO\n\n# x\n1\t#\tX\tO\n", {"word": 1}, ["a|b", "#"]),
        ("# one two\na NN O\n\n# one two\nb NN O\n", {}, ["a", "b"]),  # as wide as a token line
        ("# text = B-cell\na NN X O\n\n# sent_id = O\nb NN X O\n", {}, ["a", "b"]),  # and with a tag at its end
        ("#\thttp://a.b/c\t[2009-10-17]\n1\ta\tO\tO\n", {"word": 1, "tag": 2}, ["a"]),
        ("#FORMAT=WebAnno TSV 3.2\n\n#Text=a b\n1-1\t0-1\ta\tO\n1-2\t2-3\tb\tO\n", {"word": 2}, ["a|b"]),
        ("#begin document (x); part 000\na O\n\n#end document\n", {}, ["a"]),
        ("####\na O\n", {}, ["a"]),
    ],
)
def test_comments_are_skipped(tmp_path: Path, text: str, columns: dict[str, int], expected: list[str]) -> None:
    """Lines before a sentence that begin with # and are no token lines are no tokens."""
    assert [tokens for tokens, _ in _read(tmp_path, text, **columns)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# O\na O\n\n# B-X\n# I-X\n", ["#|a", "#|#"]),
        ("# # B-NP\na NN I-NP\n# NN B-NP\n#hashtag NN O\n\n# NN I-X\n", ["#|a|#|#hashtag", "#"]),
        ("# SYM = O\na NN = O\n", ["#|a"]),
        ("#tag\tO\n", ["#tag"]),
        ("a b-x\n\n# b-x\n", ["a", "#"]),
    ],
)
def test_a_token_that_is_a_hash_stays_a_token(tmp_path: Path, text: str, expected: list[str]) -> None:
    """A line with the columns of a token line and a tag is one, wherever it stands."""
    assert [tokens for tokens, _ in _read(tmp_path, text)] == expected


def test_a_first_column_of_other_things_is_no_index(tmp_path: Path) -> None:
    """Numbers such as 1.5 in a first column that holds words, too, are no empty nodes of CoNLL-U."""
    assert _read(tmp_path, "1 a O\n2 b O\n1.5 c O\nx d O\n", word=1) == [("a|b|c|d", "O O O O")]


def test_comments_open_documents_and_are_counted(tmp_path: Path) -> None:
    """`# newdoc` and `#begin document` open a document, other comments don't; the counts say how many there were."""
    path, read = tmp_path / "a", ReadCounts()
    path.write_text("# newdoc\n# text = x\nx O\n\n# y\ny O\n\n#begin document (b)\nz O\n\n# newdoc id = 3\nz O\n")
    sentences = read_conll([path], Columns(0, 1), counts=read)
    counts = write_corpus(sentences, tmp_path / "c", scheme=Scheme.IOB2, read=read)
    assert [sentence.document_id for sentence in read_corpus(tmp_path / "c")] == [0, 0, 1, 2]
    assert counts.to_dict()["comment_lines"] == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("New York\tB-X\nis\tO\n\n \tO\n\u00a0\tO\n\u3000\tO\n10 000\tO \n", ["New York|is", " |\u00a0|\u3000|10 000"]),
        ("New York\tB-X\n\t\nis big\tO\n\t\nx\tO\n", ["New York", "is big", "x"]),  # blank rows of a spreadsheet
        ("a b\tO\tx y\nc\tB-X\tz\n", ["a b|c"]),
    ],
)
def test_tokens_may_hold_spaces_where_tabs_separate(tmp_path: Path, text: str, expected: list[str]) -> None:
    """Files that white space cannot read and tabs can are read by tabs."""
    found = _find(tmp_path, text, tag=1)
    assert found.layout.to_dict() == {"scheme": "iob2", "separator": "tab"}
    assert ["|".join(s.tokens) for s in _stored(tmp_path, found.layout, tag=1)] == expected
    assert "a space is part of a token" in found.remarks[0]


def test_the_separator_is_found_over_all_splits(tmp_path: Path) -> None:
    """One split with a space in a token makes all of them tab-separated; without one, white space separates."""
    assert _find(tmp_path, "a\tO\n", "New York\tB-X\nb\tO\n").layout.separator is Separator.TAB
    assert _find(tmp_path, "a\tO\n", "b  \t O\n").layout.to_dict() == {"scheme": "iob2"}


@pytest.mark.parametrize(
    ("text", "told", "bioes"),
    [
        ("a B-X\nb M-X\nc E-X\nd S-X\n", {"scheme": "bioes"}, "B-X I-X E-X S-X"),
        ("a B-X\nb M-X\nc E-X\nd W-X\n", {"scheme": "bioes"}, "B-X I-X E-X S-X"),
        ("a W-X\nb O\n", {"scheme": "bioes"}, "S-X O"),
        ("a b-x\nb i-x\nc o\n", {"scheme": "iob2"}, "B-x E-x O"),
        ("a B_X\nb I_X\nc O\n", {"scheme": "iob2"}, "B-X E-X O"),
        ("a B:X\nb I:X\nc 0\n", {"scheme": "iob2"}, "B-X E-X O"),
        ("a B.X\nb I.X\nc O\n", {"scheme": "iob2"}, "B-X E-X O"),
        ("a B\u2013X\nb I\u2013X\nc O\n", {"scheme": "iob2"}, "B-X E-X O"),
        ("a B-X\nb OTHER\n", {"scheme": "iob2"}, "S-X O"),
        ("a X-B\nb X-I\nc O\n", {"scheme": "iob2", "notation": "suffix"}, "B-X E-X O"),
        ("a E-B\nb E-I\nc X-B\n", {"scheme": "iob2", "notation": "suffix"}, "B-E E-E S-X"),  # a type called E
        ("a B\nb I\nc O\n", {"scheme": "iob2", "notation": "bare"}, "B-ENTITY E-ENTITY O"),
        ("a B\nb M\nc E\nd S\n", {"scheme": "bioes", "notation": "bare"}, "B-ENTITY I-ENTITY E-ENTITY S-ENTITY"),
        ("a B-\nb I-\nc O\n", {"scheme": "iob2", "notation": "bare"}, "B-ENTITY E-ENTITY O"),
        ("a I-X\nb E-X\nc E-X\n", {"scheme": "ioe"}, "B-X E-X S-X"),
    ],
)
def test_styles_of_tags_are_converted_and_said(tmp_path: Path, text: str, told: dict[str, str], bioes: str) -> None:
    """Each style becomes BIOES, the tags as in the file are kept, and a remark names the style."""
    found = _find(tmp_path, text)
    assert found.layout.to_dict() == told
    assert Layout.from_dict(told) == found.layout
    (sentence,) = _stored(tmp_path, found.layout)
    assert sentence.tags == tuple(bioes.split())
    assert sentence.source_tags == tuple(line.split()[1] for line in text.splitlines())
    assert told == {"scheme": "ioe"} or any("is read as" in remark for remark in found.remarks)


def test_types_alone_need_the_setting(tmp_path: Path) -> None:
    """With `scheme: io` a run of one type is one entity; prefixed tags may be so, too."""
    assert _read(tmp_path, "a X\nb X\nc Y\nd O\n", scheme=Scheme.IO) == [("a|b|c|d", "B-X E-X S-Y O")]
    assert _find(tmp_path, "a X\nb O\n", scheme=Scheme.IO).layout.notation is Notation.PLAIN
    assert _read(tmp_path, "a I-X\nb I-X\nc O\n", scheme=Scheme.IO) == [("a|b|c", "B-X E-X O")]


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (["a PER\nb O\n"], {}, r"train\.conll:1: found types without prefixes \('PER'\).*set labelled\.scheme: io"),
        (["a NN\nb VB\n"], {}, r":1: found a tag column without O and without prefixes.*set labelled\.columns\.tag to"),
        (["a B-X NN\nb O VB\n"], {}, r"set labelled\.columns\.tag to 1, where B-X stands \(it is -1 now\)"),
        (["a B-X\nb O\nc B-X\n", "a X-B\n"], {}, r"dev\.conll:1: found the tag 'X-B' \(it has the type before the"),
        (["a (PER*\nb *)\nc *\n"], {}, r"bracket style of CoNLL-2005 and OntoNotes.*convert the file to IOB2"),
        (["a X\nb OTHER\n"], {"scheme": Scheme.IO}, r":2: .*'OTHER' but no O; .*write O instead of OTHER"),
        (["a X\nb X\nc O\nd I-X\n"], {"scheme": Scheme.IO}, r":4: found the tag 'I-X'.*a type without a prefix"),
        (["a O\n# sent_id = 2\nb O\n"], {}, r":2: found a comment inside a sentence.*put a blank line before"),
        (["a O\n\n#tag\n"], {}, r":3: found 1 column \('#tag'\)"),
        (["1-2\tab\t_\tO\n1\ta\tX\tO\n2\tb\tX\tO\n"], {"word": 1}, r":1: found a multiword token .*of CoNLL-U"),
        (["New York\tB-X\nb\tO\n\tO\n"], {}, r":3: found an empty word \('\\tO'\)"),
        (["New York\tB-X\nb c\tO\nd\t\n"], {}, r":3: found an empty tag"),
        (["a O\nb\tO\nc O\nd O x\n"], {}, r":4: found 3 columns \('d O x'\); expected 2"),
        (["New York\tB-X\nb\tO\n"], {"separator": Separator.SPACE}, r":2: found 2 columns .*expected 3"),
        (["a O\nb O\n"], {"separator": Separator.TAB}, r":1: found 1 column .*set labelled\.separator"),
        (["Mary,O\nruns,O\n"], {}, r":1: found 1 column .*a word and a tag in columns of their own"),
        (["word tag pos\na O\nb O\n"], {}, r":1: found 3 columns .*expected 2 as in line 2; remove the line if"),
        (["word tag\na O\nb B-X\n"], {}, r":1: found the tag 'tag'.*remove the line if it is a header"),
        (["a b\nc d e\nf g h i\n"], {}, r"one token a line.*convert the file to CoNLL columns"),
        (["a B-X\nb O\n", "a\nb\nc\n"], {}, r"dev\.conll:1: found 1 column \('a'\).*a word and a tag in columns"),
        (["a B-X\nb O\n", "O a\nB-X b\nO c\nO d\n"], {}, r"dev\.conll:1: found the tag 'a'"),
        (
            ["a BPER\nb IPER\nc O\n"],
            {},
            r"prefixes that nothing separates .*'BPER', 'IPER'.*a hyphen after each prefix",
        ),
        (["a \u041e\nb O\nc B-X\n"], {}, r":1: .*U\+041E, CYRILLIC CAPITAL LETTER O.*write a Latin letter"),
        (['"a" "O"\n"b" "B-X"\n'], {}, r"tags in quotation marks.*export the columns without"),
        (["a;O\nb;B-X\n"], {}, r"separated by commas or semicolons: export them separated by tabs"),
        (["\tMary\tO\nx\truns\tB-X\n"], {"separator": Separator.TAB}, r"set labelled\.columns\.word to the column"),
        (['{"text": "a b"}\n{"text": "c d"}\n'], {}, r":1: found JSON lines; expected CoNLL columns; convert the file"),
        (["<html>\n<p>a</p>\n</html>\n"], {}, r":1: found an HTML page; expected CoNLL columns"),
        (["a X O\n", "a O\n"], {"tag": 2}, r"dev\.conll:1: .*a tag in column 2.*a number from -2 to 1"),
    ],
)
def test_refusals_name_the_style_and_the_remedy(
    tmp_path: Path, texts: list[str], settings: dict[str, Any], message: str
) -> None:
    """What cannot be read is refused with its place, its name and what to do."""
    with pytest.raises(InputError, match=message):
        _find(tmp_path, *texts, **settings)


def test_all_bad_lines_are_listed_up_to_twenty(tmp_path: Path) -> None:
    """Faults of columns and tags in several files stand in one error, in order; the rest is counted."""
    bad = "a B-X\nb\nc O\n\nd XX\n"
    with pytest.raises(InputError) as caught:
        _find(tmp_path, bad, bad + "e B-X\n" * 50 + "f XX\n" * 30)
    first, *others = str(caught.value).splitlines()
    assert "train.conll:2: found 1 column ('b'); expected 2 as in line 1" in first
    assert [other.split(": found ")[0].split("/")[-1] for other in others[:3]] == [
        "train.conll:5", "dev.conll:2", "dev.conll:5"
    ]  # fmt: skip
    assert len(others) == 20
    assert others[-1] == "  and 14 more"
    assert type(caught.value)(*caught.value.__reduce__()[1]).others == caught.value.others


def _repaired(folder: Path, tags: str, scheme: Scheme, *, strict: bool = False) -> tuple[str, CorpusCounts]:
    (folder / "a").write_text("".join(f"w {tag}\n" if tag != "/" else "\n" for tag in tags.split()))
    counts = write_corpus(read_conll([folder / "a"], Columns(0, 1)), folder / "c", scheme=scheme, strict=strict)
    return " / ".join(" ".join(sentence.tags or ()) for sentence in read_corpus(folder / "c")), counts


@pytest.mark.parametrize(
    ("scheme", "tags", "read", "place"),
    [
        (Scheme.BIOES, "B-X I-X / O", "B-X E-X / O", "a:2: found the tag 'I-X'; expected E-X or S-X at the end"),
        (Scheme.BIOES, "S-X I-X E-X", "S-X B-X E-X", "a:2: found the tag 'I-X'; expected B-X or I-X before it"),
        (Scheme.IOB2, "O / O I-X", "O / O S-X", "a:4: found the tag 'I-X'; expected B-X or I-X before it"),
        (Scheme.IOB2, "B-X E-X I-X", "B-X E-X S-X", "a:2: found the tag 'E-X'; expected no prefix but B and I"),
        (Scheme.IOB1, "I-X S-X", "S-X S-X", "a:2: found the tag 'S-X'; expected no prefix but B and I"),
    ],
)
def test_one_policy_for_tags_that_break_their_scheme(
    tmp_path: Path, scheme: Scheme, tags: str, read: str, place: str
) -> None:
    """By default they are read as conlleval reads them and counted with their places; strict refuses them."""
    bioes, counts = _repaired(tmp_path, tags, scheme)
    assert bioes == read
    assert counts.repaired_tags >= 1
    assert place in counts.repairs[0]
    with pytest.raises(InputError, match=place):
        _repaired(tmp_path, tags, scheme, strict=True)


def test_counts_of_valid_files_are_as_ever(tmp_path: Path) -> None:
    """Without comments and repairs, the counts do not mention them."""
    assert {"comment_lines", "repaired_tags", "repairs"}.isdisjoint(
        _repaired(tmp_path, "B-X", Scheme.IOB2)[1].to_dict()
    )
