"""Labelled files of every format, and the faults known from the tools that export them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from taglm_core.config.data import LabelledFormat, Misaligned, OffsetUnit
from taglm_core.corpus.schemes import Scheme, to_spans
from taglm_core.errors import InputError
from taglm_core.formats.detect import detect_labelled
from taglm_core.formats.labelled import LabelledReading, LabelledSentences, read_labelled
from tests.formats import samples

AUTO = LabelledFormat.AUTO
SPANS = [("PER", "Alice Smith"), ("LOC", "North Korea"), ("PER", "Bob"), ("LOC", "Berlin"), ("PER", "Zoë"),
         ("ORG", "Müller GmbH")]  # fmt: skip


def entities(read: LabelledSentences) -> list[tuple[str, str]]:
    return [
        (span.type, " ".join(tokens[span.start : span.end]))
        for tokens, tags in zip(read.tokens, read.tags, strict=True)
        for span in to_spans(tags)
    ]


def read_text(folder: Path, text: str, name: str = "data.jsonl", **settings: Any) -> LabelledSentences:
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return read_labelled([path], LabelledReading(**{"format": AUTO, **settings}))


def read_records(folder: Path, *records: Any, **settings: Any) -> LabelledSentences:
    return read_text(folder, samples.json_lines(records), **settings)


@pytest.mark.parametrize(
    "records",
    [samples.doccano(), samples.doccano(newer=True), samples.label_studio(), samples.json_min(), samples.prodigy()],
    ids=["doccano", "doccano-entities", "label-studio", "json-min", "prodigy"],
)
@pytest.mark.parametrize("form", ["lines", "array", "pretty"])
def test_tools_are_recognised_by_their_keys(tmp_path: Path, records: list[Any], form: str) -> None:
    """All exports give the same entities, as lines, as one array and over several lines."""
    text = samples.json_lines(records)
    if form != "lines":
        text = json.dumps(records, ensure_ascii=False, indent=2 if form == "pretty" else None)
    read = read_text(tmp_path, text)
    assert entities(read) == SPANS
    assert read.counts.entities == {"LOC": 2, "ORG": 1, "PER": 3}
    assert read.counts.met["spans"] == samples.ENTITIES
    assert len(set(read.documents)) == 3


def test_token_records_keep_their_tokens_and_scheme(tmp_path: Path) -> None:
    """Tokens with tags go through the detection of schemes: this is IOB1 by its first tags."""
    read = read_records(
        tmp_path, {"tokens": ["A b", "x"], "tags": ["I-PER", "O"]}, {"tokens": ["c"], "tags": ["I-LOC"]}
    )
    assert read.tokens == [("A b", "x"), ("c",)]
    assert (read.layout.scheme, entities(read)) == (Scheme.IOB1, [("PER", "A b"), ("LOC", "c")])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tokens": ["a"], "ner_tags": [3]}, "numbers as tags, without their names.*export the names"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens and 1 tags"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, "an empty token"),
        ({"tokens": ["a"], "tags": ["PER"]}, r"the tag 'PER'.*labelled.scheme: io"),
        ({"text": "abc", "label": [["0", 1, "X"]]}, "start or end is no number"),
        ({"text": "abc", "label": [[0, 3, 7]]}, "label is no name"),
        ({"text": "abc"}, "a record without spans .its keys: text"),
        ({"text": "abc", "spans": [[0, 3, "A"]], "label": [[0, 3, "B"]]}, "spans in several keys .label, spans"),
        ([1, 2], "a record that is no object"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, record: Any, message: str) -> None:
    """The error has file and line."""
    with pytest.raises(InputError, match=rf"(?s)data.jsonl:2: .*{message}"):
        read_text(tmp_path, "\n" + samples.json_lines([record]), format=LabelledFormat.JSONL)


def test_broken_json_is_named_by_line(tmp_path: Path) -> None:
    """A line that was cut, an array that does not end, and nesting without end."""
    whole = samples.json_lines(samples.doccano())
    for text, line in ((whole[:-20], 3), ("[\n" + '{"text": "a", "label": []}', 2), (whole + "[" * 10**5, 4)):
        with pytest.raises(InputError, match=rf"data.jsonl:{line}: found no JSON"):
            read_text(tmp_path, text)


def test_rejected_and_unannotated_records_are_left_out_and_counted(tmp_path: Path) -> None:
    """Prodigy's answers, Label Studio's cancelled and missing annotations: they are no sentences without entities."""
    answers = ("accept", "reject", "ignore")
    rejected = [{**record, "answer": one} for record, one in zip(samples.prodigy(), answers, strict=True)]
    read = read_records(tmp_path, *rejected)
    assert (len(entities(read)), read.counts.met["records_not_accepted"]) == (4, 2)
    tasks = samples.label_studio()
    tasks[1]["annotations"] = []
    tasks[2]["annotations"][0]["was_cancelled"] = True
    tasks[0]["annotations"].append({"result": []})
    tasks[0]["annotations"][0]["result"].append({"type": "choices", "value": {"choices": ["good"]}})
    met = read_records(tmp_path, *tasks).counts.met
    assert (met["records_without_annotation"], met["further_annotations"], met["other_regions"]) == (2, 1, 1)


def test_offsets_in_utf16_are_noticed_by_the_text_of_the_span(tmp_path: Path) -> None:
    """Label Studio counts as JavaScript does: the error names both texts and the setting, which then reads the file."""
    tasks = samples.label_studio(utf16=True)
    with pytest.raises(InputError, match=r"data.jsonl:3: .*covers 'üller GmbH.'; expected 'Müller GmbH', as the file"
                                         r" says; .*set labelled.offsets: utf-16"):  # fmt: skip
        read_records(tmp_path, *tasks)
    assert entities(read_records(tmp_path, *tasks, offsets=OffsetUnit.UTF16)) == SPANS


def test_offsets_in_bytes(tmp_path: Path) -> None:
    """Each unit reads its own offsets; an offset inside a character is outside of the text."""
    text = "Zoë 😀 Bob"
    start = len("Zoë 😀 ".encode())
    read = read_records(tmp_path, {"text": text, "label": [[start, start + 3, "PER"]]}, offsets=OffsetUnit.BYTES)
    assert entities(read) == [("PER", "Bob")]
    with pytest.raises(InputError, match="lies outside of the text"):
        read_records(tmp_path, {"text": text, "label": [[3, 4, "PER"]]}, offsets=OffsetUnit.BYTES)


@pytest.mark.parametrize(
    ("spans", "kind", "message", "widened", "dropped"),
    [
        ([[6, 9, "A"]], "cut", "cuts a token of 'Smithson'", ["Smithson"], []),
        ([[0, 14, "A"], [6, 14, "B"]], "nested", "lies inside the span A 0-14", ["Alice Smithson"], ["Alice Smithson"]),
        ([[0, 14, "A"], [6, 22, "B"]], "overlapping", "overlaps the span B 6-22", ["Smithson visited"],
         ["Smithson visited"]),
        ([[3, 3, "A"]], "empty", "is empty", [], []),
        ([[5, 6, "A"]], "empty", "white space alone", [], []),
        ([[0, 99, "A"]], "outside", "outside of the text of 23 characters", [], []),
        ([[-2, 5, "A"]], "outside", "outside of the text", [], []),
        ([[5, 0, "A"]], "outside", "outside of the text", [], []),
        ([[0, 5, ""]], "untyped", "has no label", [], []),
    ],
)  # fmt: skip
def test_spans_that_tags_cannot_express(
    tmp_path: Path, spans: list[Any], kind: str, message: str, widened: list[str], dropped: list[str]
) -> None:
    """They are refused with file, line and remedy; or widened, or dropped; and counted in each case."""
    record = {"text": "Alice Smithson visited.", "label": spans}
    with pytest.raises(InputError, match=rf"data.jsonl:1: .*{message}.*labelled.misaligned: widen"):
        read_records(tmp_path, record)
    for policy, expected in ((Misaligned.WIDEN, widened), (Misaligned.DROP, dropped)):
        read = read_records(tmp_path, record, misaligned=policy)
        assert [text for _, text in entities(read)] == expected
        met = read.counts.met
        lost = sum(number for name, number in met.items() if name.startswith("spans_dropped"))
        assert met["spans"] == len(spans) == len(expected) + lost
        assert met.get(f"spans_dropped_{kind}", 0) == lost
        assert met.get("spans_widened", 0) == (kind == "cut" and policy is Misaligned.WIDEN)
        assert bool(read.counts.oddities) == bool(lost or met.get("spans_widened"))


def test_five_refused_spans_are_named_and_the_others_counted(tmp_path: Path) -> None:
    """An error stays readable."""
    with pytest.raises(InputError) as caught:
        read_records(tmp_path, *({"text": "Smith", "label": [[0, n % 4 + 1, "A"]]} for n in range(9)))
    assert str(caught.value).count("cuts a token") == 5
    assert "and 4 more" in str(caught.value)


def test_white_space_repetition_and_sentence_boundaries(tmp_path: Path) -> None:
    """Doccano's trailing spaces are trimmed, equal spans count once, and a span over two sentences joins them."""
    record = {
        "text": "I saw Alice. Bob left. He ran.",
        "label": [[6, 16, "A"], [6, 17, "A"], [6, 16, "A"], [23, 26, "B"]],
    }
    read = read_records(tmp_path, record)
    assert entities(read) == [("A", "Alice . Bob"), ("B", "He")]
    assert read.tokens[0][-1] == "."
    assert len(read.tokens) == 2
    met = read.counts.met
    assert (met["spans_trimmed"], met["spans_repeated"], met["sentences_joined"]) == (2, 2, 1)


def test_compressed_files_and_bom(tmp_path: Path) -> None:
    """JSON lines may be compressed and begin with a byte order mark."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + samples.json_lines(samples.doccano()).encode()))
    assert entities(read_labelled([path])) == SPANS


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [False, True])
def test_brat(tmp_path: Path, newline: str, bom: bool) -> None:
    """A folder of .txt and .ann; offsets of the samples count neither a byte order mark nor line ends before them."""
    paths = samples.write_brat(tmp_path, newline, bom)
    (tmp_path / "annotation.conf").write_text("[entities]\n")
    read = read_labelled([*paths, tmp_path / "annotation.conf"])
    assert entities(read) == SPANS
    assert read.counts.met["other_files"] == 1


def test_brat_counts_carriage_returns_as_its_offsets_do(tmp_path: Path) -> None:
    """CRLF counts two where the spans say so, and one where a converter wrote so."""
    (tmp_path / "a.txt").write_bytes(b"One\r\nBob left.\r\n")
    for start in (5, 4):
        (tmp_path / "a.ann").write_text(f"T1\tPER {start} {start + 3}\tBob\n")
        assert entities(read_labelled([tmp_path / "a.txt", tmp_path / "a.ann"])) == [("PER", "Bob")]


def test_brat_pieces_relations_and_notes(tmp_path: Path) -> None:
    """A discontinuous span is refused, widened to its hull or dropped; a line break is no gap; other lines count."""
    (tmp_path / "a.txt").write_text("North and South Korea\nwon. Alice\nSmith left.\n")
    (tmp_path / "a.ann").write_text("T1\tLOC 0 5;16 21\tNorth Korea\nT2\tPER 27 32;33 38\tAlice Smith\n"
                                    "R1\tWith Arg1:T1 Arg2:T2\nE1\tWin:T1\nA1\tNew T1\n#1\tAnnotatorNotes T1\tno\n"
                                    "*\tEquiv T1 T2\nN1\tReference T1 Wiki:1\tx\n")  # fmt: skip
    paths = [tmp_path / "a.txt", tmp_path / "a.ann"]
    with pytest.raises(InputError, match=r"a.ann:1: .*LOC 0-5;16-21 that has several pieces"):
        read_labelled(paths)
    read = read_labelled(paths, LabelledReading(format=AUTO, misaligned=Misaligned.WIDEN))
    assert entities(read) == [("LOC", "North and South Korea"), ("PER", "Alice Smith")]
    assert {name: read.counts.met[name] for name in ("relations", "events", "attributes", "notes", "equivalences")} == {
        "relations": 1, "events": 1, "attributes": 1, "notes": 1, "equivalences": 1}  # fmt: skip
    read = read_labelled(paths, LabelledReading(format=AUTO, misaligned=Misaligned.DROP))
    assert entities(read) == [("PER", "Alice Smith")]
    assert read.counts.met["spans_dropped_discontinuous"] == 1


def test_brat_files_without_partner_and_bad_lines(tmp_path: Path) -> None:
    """Both have an error."""
    (tmp_path / "a.ann").write_text("T1\tPER zero 5\tAlice\n")
    with pytest.raises(InputError, match=r"no a.txt beside it"):
        read_labelled([tmp_path / "a.ann"])
    (tmp_path / "a.txt").write_text("Alice\n")
    with pytest.raises(InputError, match=r"a.ann:1: found the line 'T1"):
        read_labelled([tmp_path / "a.ann", tmp_path / "a.txt"])


def test_conllu(tmp_path: Path) -> None:
    """Surface tokens; the tags are found in MISC; a multiword token has the tag of its words."""
    read = read_text(tmp_path, samples.conllu(), "data.conllu")
    assert read.tokens == [("Alice", "fährt", "zum", "Berg")]
    assert entities(read) == [("PER", "Alice"), ("LOC", "zum Berg")]
    assert read.layout.tag == "MISC.NER"
    assert (read.counts.met["empty_nodes"], read.counts.met["multiword_tokens"]) == (1, 1)


def test_conllu_plus(tmp_path: Path) -> None:
    """The columns are those of `# global.columns`."""
    read = read_text(tmp_path, samples.conllu_plus(), "data.conllup")
    assert (entities(read), read.layout.tag) == ([("PER", "Alice"), ("LOC", "Berlin")], "NER")


def test_conllu_with_tags_in_several_places_or_none(tmp_path: Path) -> None:
    """The error lists the candidates; the setting decides."""
    text = samples.conllu().replace("NER=B-PER", "NER=B-PER|Other=B-X")
    with pytest.raises(InputError, match=r"tags in several places: MISC.NER, MISC.Other.*labelled.columns.tag"):
        read_text(tmp_path, text, "data.conllu")
    assert len(entities(read_text(tmp_path, text, "data.conllu", format=LabelledFormat.CONLLU, tag="MISC.Other"))) == 1
    with pytest.raises(InputError, match=r"no tags such as B-PER .*UPOS"):
        read_text(tmp_path, text.replace("B-", "").replace("I-", ""), "data.conllu")


@pytest.mark.parametrize("name", ["data.parquet", "data.arrow", "data.feather"])
@pytest.mark.parametrize("kind", ["Sequence", "List"])
def test_tables_with_class_labels(tmp_path: Path, name: str, kind: str) -> None:
    """Numbers have their names in the schema's metadata; Parquet, Arrow streams and files are told by content."""
    (tmp_path / "state.json").write_text('{"_fingerprint": "1"}')
    paths = [samples.write_table(tmp_path / name, samples.table(kind=kind)), tmp_path / "state.json"]
    read = read_labelled(paths)
    assert read.tokens == [tokens for tokens, _ in samples.TAGGED]
    assert entities(read) == [("PER", "Alice Smith"), ("LOC", "Berlin")]


def test_tables_without_names_or_columns(tmp_path: Path) -> None:
    """ClassLabel numbers without names, numbers beyond the names, and other columns have errors with remedies."""
    path = tmp_path / "data.parquet"
    for data, message in (
        (samples.table(None), "numbers as tags in column ner_tags, without their names"),
        (samples.table(["O", "B-PER"]), r"data.parquet:1: found the tag 2; expected a number from 0 to 1"),
        (samples.table().drop_columns(["tokens"]), "no column tokens.*ner_tags .*labelled.columns.word"),
        (samples.table().drop_columns(["ner_tags"]), "no column with tags"),
    ):
        samples.write_table(path, data)
        with pytest.raises(InputError, match=message):
            read_labelled([path])
    strings = pa.table({"words": [["a", "b"]], "x": [["B-PER", "O"]]})
    assert entities(read_labelled([samples.write_table(path, strings)])) == [("PER", "a")]


def test_docbin(tmp_path: Path) -> None:
    """DocBin keeps its tokens; spans of groups and missing annotation are counted."""
    spacy = pytest.importorskip("spacy", reason="the extra spacy")
    from spacy.tokens import DocBin

    blank, documents = spacy.blank("en"), DocBin()
    for text, spans in samples.TEXTS[:1]:
        document = blank.make_doc(text)
        document.set_ents([document.char_span(start, end, kind) for start, end, kind in spans[:-1]],
                          missing=[document[-2:]], default="outside")  # fmt: skip
        document.spans["sc"] = [document[0:1]]
        documents.add(document)
    DocBin(store_user_data=True, docs=list(documents.get_docs(blank.vocab))).to_disk(tmp_path / "train.spacy")
    path = tmp_path / "train.spacy"
    assert detect_labelled([path]) is LabelledFormat.DOCBIN
    read = read_labelled([path])
    assert entities(read) == SPANS[:3]
    assert (read.counts.met["tokens_without_annotation"], len(read.tokens)) == (2, 2)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="no readable DocBin"):
        read_labelled([path])


def detected(folder: Path, files: Sequence[tuple[str, bytes]]) -> LabelledFormat:
    for name, content in files:
        (folder / name).write_bytes(content)
    return detect_labelled([folder / name for name, _ in files])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ O\n\" O\n\nBob B-PER\n", LabelledFormat.CONLL),
        ("{ O\n} O\n", LabelledFormat.CONLL),
        ("1\tBob\tB-PER\n2\tleft\tO\n", LabelledFormat.CONLL),
        ("", LabelledFormat.CONLL),
        ('["Bob", {"entities": [[0, 3, "PER"]]}]\n', LabelledFormat.JSONL),
        ('\ufeff [\n {"text": "a"', LabelledFormat.JSONL),
        (samples.conllu(), LabelledFormat.CONLLU),
        (samples.conllu_plus(), LabelledFormat.CONLLU),
    ],
)  # fmt: skip
def test_formats_are_told_by_content(tmp_path: Path, text: str, expected: LabelledFormat) -> None:
    """Names of files don't count, and what is nothing else is CoNLL columns."""
    assert detected(tmp_path, [("data", text.encode())]) is expected


def test_splits_in_different_formats_are_refused(tmp_path: Path) -> None:
    """The error names both."""
    with pytest.raises(InputError, match=r"a: found conll, but .*b is jsonl"):
        detected(tmp_path, [("a", b"x O\n"), ("b", b'{"text": "x", "label": []}\n')])
