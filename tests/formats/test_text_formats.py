"""Raw text of every format: documents, what is refused with file and line, and the same bytes from any processes."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from taglm_core.analysis.source_samples import first_sentences
from taglm_core.config.data import TextFormat
from taglm_core.config.experiment import Experiment
from taglm_core.config.raw_text import TextConfig
from taglm_core.corpus.parquet import read_corpus, write_text_batches
from taglm_core.corpus.sentence import ReadCounts
from taglm_core.errors import ChildFailed, InputError, MissingLibrary
from taglm_core.formats import documents as reading
from taglm_core.formats import segmenting
from taglm_core.formats.detect import detect_text
from taglm_core.formats.documents import Document, read_documents
from taglm_core.formats.segmenting import record_of, segment
from taglm_core.pipeline.build import build
from taglm_core.pipeline.context import PipelineContext
from taglm_core.store.digests import file_sha256
from taglm_core.text.segmenter import Segmenter, TokenizerRecord
from taglm_core.text.spelling import Spelling

ENGLISH = {"language": "en", "tokenizer": "treebank", "spelling": "plain"}
CONLLU = (
    "# newdoc id = 1\n# sent_id = 1\n1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tDo\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "2\tn't\t_\t_\t_\t_\t_\t_\t_\t_\n3\tgo\t_\t_\t_\t_\t_\t_\t_\t_\n3.1\tthere\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    "# newdoc id = 2\n1\tNo\t_\t_\t_\t_\t_\t_\t_\t_\n"
)


def texts(path: Path, kind: TextFormat, column: str | None = None, counts: ReadCounts | None = None) -> list[object]:
    return [document.text for document in read_documents([path], kind, column, counts=counts)]


def experiment(folder: Path, text: Path | str, **settings: object) -> Experiment:
    return Experiment.model_validate({
        "unlabelled": {"path": str(text), **settings}, "run": {"store": str(folder / "store"), "workers": 1},
    })  # fmt: skip


def stored(folder: Path, text: Path | str, **settings: object) -> tuple[list[tuple[str, ...]], Path]:
    context = PipelineContext.resolve(experiment(folder, text, **settings))
    found = context.store.open(build(context.store, context.request(context.graph["corpus/text"], {}))).path
    return [sentence.tokens for sentence in read_corpus(found)], found


def test_empty_lines_end_documents_and_line_breaks_are_spaces(tmp_path: Path) -> None:
    """CRLF, a byte order mark and a line of white space make no difference."""
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffMr.\r\nSmith left.\r\n \t\r\n\r\nTwo\n".encode())
    counts = ReadCounts()
    assert texts(path, TextFormat.DOCUMENTS, counts=counts) == ["Mr.\nSmith left.", "Two"]
    assert (counts.empty_lines, counts.files) == (2, 1)
    sentences, _ = stored(tmp_path, path, format="documents")
    assert sentences == [("Mr.", "Smith", "left", "."), ("Two",)]


def test_a_document_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and the remedy says how to separate documents."""
    monkeypatch.setattr(reading, "MAX_DOCUMENT", 100)
    (tmp_path / "a.txt").write_text("first\n\n" + "a line\n" * 50)
    with pytest.raises(InputError, match=r"a\.txt:3: .*empty line"):
        texts(tmp_path / "a.txt", TextFormat.DOCUMENTS)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_json_lines(tmp_path: Path, pack: type) -> None:
    """Texts are documents and lists are sentences, compressed or not; null and empty texts are counted."""
    rows = [{"id": 1, "text": "One. Two."}, {"text": None}, {"text": " "}, {"tokens": ["a b", "c"], "x": {}}]
    path = tmp_path / "a.jsonl"
    path.write_bytes(pack(("\n".join(map(json.dumps, rows)) + "\n\n").encode()))
    counts = ReadCounts()
    assert detect_text([path]) is TextFormat.JSONL
    assert texts(path, TextFormat.JSONL, counts=counts) == ["One. Two.", ["a b", "c"]]
    assert (counts.met["empty_texts"], counts.empty_lines) == (2, 1)
    sentences, folder = stored(tmp_path, path)
    assert sentences == [("One", "."), ("Two", "."), ("a b", "c")]
    assert json.loads((folder / "counts.json").read_text())["met"] == {"empty_texts": 2}
    assert json.loads((folder / "tokenizer.json").read_text())["tokenizer"] == "treebank"


def test_bad_rows_are_named_together(tmp_path: Path) -> None:
    """No JSON, no object, no field, no text: each with its line, the rest counted; other fields are listed."""
    rows = ['{"text": "a"', "[1]", '{"body": "a", "id": 1}', '{"text": 3}', '{"text": ["a", null]}',
            '{"tokens": ["\\ud800"]}', "[" * 100_000, *['{"id": 1}'] * 20]  # fmt: skip
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + "\n".join(rows))
    with pytest.raises(InputError) as caught:
        texts(tmp_path / "a.jsonl", TextFormat.JSONL)
    said = str(caught.value)
    assert "a.jsonl:2: found no JSON" in said
    assert "a.jsonl:4: found no field 'text' or 'tokens' (there are 'body', 'id')" in said
    assert "unlabelled.column" in said
    assert said.endswith("and 7 more")
    assert texts(tmp_path / "a.jsonl", TextFormat.DOCUMENTS)  # another format reads the file


def test_tables(tmp_path: Path) -> None:
    """Parquet, an Arrow file and an Arrow stream; strings of any type, lists, nulls; a column of another name."""
    table = pa.table({"id": [1, 2, 3], "body": ["One. Two.", None, "Three"], "tokens": [["a"], [], ["b", "c"]],
                      "kind": pa.array(["x y", "x y", "z"]).dictionary_encode()})  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write(table)
    with pa.OSFile(str(tmp_path / "c.arrows"), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write(table)
    for name in ("a.parquet", "b.arrow", "c.arrows"):
        counts = ReadCounts()
        assert detect_text([tmp_path / name]) is TextFormat.PARQUET
        assert texts(tmp_path / name, TextFormat.PARQUET, "body", counts) == ["One. Two.", "Three"]
        assert texts(tmp_path / name, TextFormat.PARQUET) == [["a"], ["b", "c"]]
        assert texts(tmp_path / name, TextFormat.PARQUET, "kind") == ["x y", "x y", "z"]
        assert counts.met["empty_texts"] == 1
        with pytest.raises(InputError, match=r"no column 'text2' \(there are 'id', 'body', 'tokens', 'kind'\)"):
            texts(tmp_path / name, TextFormat.PARQUET, "text2")
        with pytest.raises(InputError, match="'id' of type int64"):
            texts(tmp_path / name, TextFormat.PARQUET, "id")
    (tmp_path / "d.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:200])
    with pytest.raises(InputError, match=r"d\.parquet: found an error while reading"):
        texts(tmp_path / "d.parquet", TextFormat.PARQUET, "body")


def test_conllu(tmp_path: Path) -> None:
    """A multiword token is one token, an empty node none, `# newdoc` a document; the nodes are counted."""
    path, counts = tmp_path / "a.conllu", ReadCounts()
    path.write_text(CONLLU)
    assert detect_text([path]) is TextFormat.CONLLU
    found = list(read_documents([path], TextFormat.CONLLU, counts=counts))
    assert [(document.text, document.number) for document in found] == [(["Don't", "go"], 0), (["No"], 1)]
    assert "empty nodes (8.1) left out: 1" in counts.notes[0]
    assert stored(tmp_path, path)[0] == [("Don't", "go"), ("No",)]
    path.write_text("1\tYes\nno columns\n")
    with pytest.raises(InputError, match=r"a\.conllu:2: found 'no columns'"):
        texts(path, TextFormat.CONLLU)


def test_plain_text_is_tokenised_lines_as_before(tmp_path: Path) -> None:
    """Untokenised or not, with the step that it always had; a mixture of formats is refused; a missing file waits."""
    text, rows = tmp_path / "a.txt", tmp_path / "b.jsonl"
    text.write_text('{ a } brace .\n{"a": 1} more\nHe left, didn\'t he?\n')
    rows.write_text('{"text": "One"}\n')
    assert detect_text([text]) is TextFormat.TOKENISED
    for path in (text, tmp_path / "missing.txt"):
        step = PipelineContext.resolve(experiment(tmp_path, path)).graph["corpus/text"]
        assert step.config == {"format": "text"}
    with pytest.raises(
        InputError, match=r"b\.jsonl: found a file that looks like jsonl; expected tokenised, as a\.txt"
    ):
        detect_text([text, rows])
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"id": "1", "text": "word " * 5000}))
    assert detect_text([long, tmp_path / "missing"]) is TextFormat.JSONL


def test_what_changes_tokens_is_in_the_key_and_processes_are_not(tmp_path: Path) -> None:
    """Language, tokenizer by its name, spelling and column; never `auto`."""
    (tmp_path / "a.jsonl").write_text('{"text": "One"}\n')
    one = experiment(tmp_path, tmp_path / "a.jsonl")
    config = PipelineContext.resolve(one).graph["corpus/text"].config
    assert config == {"format": "text", "text_format": "jsonl", "column": None, **ENGLISH}
    more = one.model_copy(update={"run": one.run.model_copy(update={"workers": 7})})
    assert PipelineContext.resolve(more).graph["corpus/text"].config == config


ODD = ["", "x" * 150_000, "a\0b\x07c", "\r\n\r\nA\r\nB", "\ufeffmark", "🙂 👩‍👩‍👧 smile!", "שלום עולם. מה שלומך?",
       "e\u0301te\u0301 n\u0303", "half \ud83d pair", "“Quoted,” she’s said.", "東京です。次の文。"]  # fmt: skip


@pytest.mark.parametrize("tokenizer", ["treebank", "characters", "whitespace"])
def test_training_and_prediction_have_the_same_tokens(tokenizer: str) -> None:
    """Whatever the text holds, a corpus of it has the tokens that a tagger sees in it."""
    record = TokenizerRecord.of(
        TextConfig.model_validate({"tokenizer": tokenizer}), Spelling("plain", "plain", "as-is")
    )
    given = [Document(text, number, Path("x"), 1) for number, text in enumerate(ODD)]
    batches = list(segment(given, record, processes=1))
    predicted = [list(sentence.tokens) for text in ODD for sentence in Segmenter(record).sentences(text)]
    assert [tokens for batch in batches for tokens in batch["tokens"].to_pylist()] == predicted
    assert {token for tokens in predicted for token in tokens if not token.strip()} == set()


def test_another_language_needs_its_library() -> None:
    """Without spaCy: the present error, before anything is read."""
    with pytest.raises(MissingLibrary, match=r"taglm\[spacy\]"):
        record_of({"language": "de", "tokenizer": "spacy", "spelling": "plain"})


def test_invalid_utf8_and_no_text_at_all(tmp_path: Path) -> None:
    """The line of the bytes; and an empty file gives no sentence."""
    (tmp_path / "a.txt").write_bytes(b"good\n\nb\xff\xfed\n")
    with pytest.raises(InputError, match=r"a\.txt:3"):
        texts(tmp_path / "a.txt", TextFormat.DOCUMENTS)
    (tmp_path / "b.txt").write_bytes(b"")
    with pytest.raises(InputError, match="no sentence"):
        stored(tmp_path, tmp_path / "b.txt", format="documents")


def some_documents(count: int = 40) -> Iterator[Document]:
    for number in range(count):
        yield Document(
            f"Document {number} isn't long.\nIt has (two) “sentences”.\n\nA heading {number}", number, Path("x"), 1
        )
        yield Document(["as", "it", f"is{number}"], number, Path("x"), 1)


def test_the_bytes_do_not_depend_on_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, two and three processes, also from a thread, as Prefect's tasks run."""
    monkeypatch.setattr(segmenting, "BLOCK", 300)
    record, digests = record_of(ENGLISH), {}

    def write(processes: int) -> None:
        folder = tmp_path / str(processes)
        batches = segment(some_documents(), record, processes=processes)
        counts = write_text_batches(batches, folder, read=ReadCounts(), sentences_per_file=50, row_group=7)
        assert counts.sentences == 160
        digests[processes] = [file_sha256(path) for path in sorted(folder.iterdir())]

    write(1)
    for processes in (2, 3):
        thread = threading.Thread(target=write, args=[processes])
        thread.start()
        thread.join()
    assert len(digests[1]) == 4
    assert digests[1] == digests[2] == digests[3]
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a wait without end; and processes end with the reader that is closed early."""
    monkeypatch.setattr(segmenting, "BLOCK", 300)
    batches = segment(some_documents(2000), record_of(ENGLISH), processes=2)
    next(batches)
    for child in multiprocessing.active_children():
        os.kill(child.pid or 0, signal.SIGKILL)
    with pytest.raises(ChildFailed, match=r"run\.workers=1"):
        list(batches)
    assert not multiprocessing.active_children()


def test_the_first_sentences_of_each_source(tmp_path: Path) -> None:
    """Doctor shows them without a store: labelled columns, and raw text as tokens."""
    (tmp_path / "a.conll").write_text("New York\tO\nis\tO\n\nBig\tO\n")
    (tmp_path / "a.jsonl").write_text('{"text": "It\'s one. Two. Three. Four."}\n')
    path = str(tmp_path / "a.conll")
    settings = {
        "labelled": {"train": path, "dev": path, "test": None},
        "unlabelled": {"path": str(tmp_path / "a.jsonl")},
    }
    graph = PipelineContext.resolve(
        Experiment.model_validate({**settings, "run": {"store": str(tmp_path / "s")}})
    ).graph
    assert first_sentences(graph["corpus/train"]) == [["New York", "is"], ["Big"]]
    assert first_sentences(graph["corpus/text"]) == [["It", "'s", "one", "."], ["Two", "."], ["Three", "."]]
    assert not (tmp_path / "s").exists()


def test_one_array_and_tasks_of_label_studio(tmp_path: Path) -> None:
    """One JSON array is rows like JSON lines, and the text of a task is in its `data`."""
    rows = [{"id": 1, "text": "One."}, {"id": 2, "data": {"text": "Two.", "row": 3}}, {"text": None}]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1))
    assert detect_text([tmp_path / "a.json"]) is TextFormat.JSONL
    assert texts(tmp_path / "a.json", TextFormat.JSONL) == ["One.", "Two."]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert texts(tmp_path / "a.jsonl", TextFormat.JSONL) == ["One.", "Two."]
    (tmp_path / "b.json").write_text('[{"text": "One."},\n 7,\n {"body": "x"}]')
    with pytest.raises(InputError, match=r"b.json:2: found a JSON int") as refused:
        texts(tmp_path / "b.json", TextFormat.JSONL)
    assert "b.json:3: found no field 'text' or 'tokens'" in str(refused.value)
    (tmp_path / "c.json").write_text('[{"text": "One."},\n {"text": ')
    with pytest.raises(InputError, match=r"c.json:2: found no JSON"):
        texts(tmp_path / "c.json", TextFormat.JSONL)
