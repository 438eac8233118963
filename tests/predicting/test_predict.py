"""Files in, files with entities out: every format, bad rows, kills, and the same entities as the library's."""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.cli_failures import BAD_ROWS
from taglm import Tagger
from taglm_core.corpus.conll import read_conll
from taglm_core.corpus.conll_faults import Columns
from taglm_core.corpus.schemes import Scheme, to_spans, violations
from taglm_core.errors import ConfigError, InputError
from taglm_core.store.durable import locked
from tasks.predicting.parts import work_of
from tasks.predicting.progress import Lines
from tasks.predicting.rows import Limits, Row, in_blocks
from tests.exports import TEXT, tiny_export

TEXTS = [
    TEXT.replace("\n\n", " "),
    "Rome.",
    "",
    "Carla saw Emil in New York and Bert.",
    "Émile  met   Anna 😀 in Rome.",
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_export(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def expected(export: Path) -> list[list[dict[str, Any]]]:
    """What the library says about the texts."""
    found = [[entity.to_dict() for entity in each] for each in Tagger.load(export).tag(TEXTS)]
    assert sum(map(len, found)) > 5
    return found


def predict(export: Path, *arguments: object, stdin: str | bytes = b"", status: int = 0) -> Result:
    """Run the command in this process."""
    done = CliRunner().invoke(app, ["predict", str(export), *map(str, arguments)], input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.stderr
    return done


def lines(text: str | Path) -> list[dict[str, Any]]:
    """Rows of JSON lines."""
    text = text.read_text(encoding="utf-8") if isinstance(text, Path) else text
    return [json.loads(line) for line in text.splitlines()]


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def close(found: list[Any], wanted: list[Any]) -> bool:
    """Whether entities are the same, with confidences within 1e-4."""
    flat = [[entity for each in rows for entity in each] for rows in (found, wanted)]
    return [len(each) for each in found] == [len(each) for each in wanted] and all(
        one | {"confidence": 0} == two | {"confidence": 0} and abs(one["confidence"] - two["confidence"]) < 1e-4
        for one, two in zip(*flat, strict=True)
    )


def test_all_ways_in_give_the_entities_of_the_library(
    export: Path, expected: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    """JSON lines from a file and from standard input, lines of text, files of text, Parquet, compressed or not."""
    rows = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    file = write_lines(tmp_path / "rows.jsonl", rows)
    found = lines(predict(export, file).stdout)
    assert [{"id": row["id"], "text": row["text"]} for row in found] == rows
    assert [row["entities"] for row in found] == expected
    assert lines(predict(export, "-", "--input", "jsonl", stdin=file.read_bytes()).stdout) == found
    plain = ("\ufeff" + "\r\n".join(TEXTS) + "\r\n").encode()
    (tmp_path / "texts.txt.gz").write_bytes(gzip.compress(plain))
    for given in (predict(export, "--lines", stdin=plain), predict(export, tmp_path / "texts.txt.gz", "--lines")):
        assert lines(given.stdout) == [{"text": row["text"], "entities": row["entities"]} for row in found]
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_bytes(text.encode())
    read = lines(predict(export, folder).stdout)
    assert [row["file"] for row in read] == [str(path) for path in sorted(folder.iterdir())]
    assert close([row["entities"] for row in read], expected)
    assert close([lines(predict(export, stdin=TEXTS[0]).stdout)[0]["entities"]], expected[:1])
    pq.write_table(pa.table({"text": pa.array(TEXTS, pa.large_string())}), tmp_path / "rows.parquet", row_group_size=2)
    assert [row["entities"] for row in lines(predict(export, tmp_path / "*.parquet").stdout)] == expected


def test_tokens_come_and_go_as_they_are(export: Path, tmp_path: Path) -> None:
    """Lists in JSON lines and Parquet, tokenised lines, CoNLL: the same tokens and tags."""
    sentences = [["Anna's", "dog", "saw", "Rome", "."], ["New", "York", "and", "Bert", ",", "it", "is"]] * 3
    wanted = [[e.to_dict() for e in each] for each in Tagger.load(export).tag_tokens(sentences)]
    assert any(wanted)
    (tmp_path / "in.conll").write_text(
        "-DOCSTART- O\n\n" + "\n".join("".join(f"X\t{token}\tO\n" for token in tokens) for tokens in sentences)
    )
    write_lines(tmp_path / "in.jsonl", [{"words": tokens} for tokens in sentences])
    pq.write_table(pa.table({"words": sentences}), tmp_path / "in.parquet")
    (tmp_path / "in.tok").write_text("".join(f"{' '.join(tokens)}\n" for tokens in sentences))
    ways = [("in.conll", "--word-column", 1), ("in.jsonl", "--column", "words"), ("in.parquet", "--column", "words"),
            ("in.tok", "--input", "tokens")]  # fmt: skip
    for name, *options in ways:
        found = lines(predict(export, tmp_path / name, *options).stdout)
        assert [row.get("words", row.get("tokens")) for row in found] == sentences, name
        assert [row["entities"] for row in found] == wanted, name
    for scheme in (Scheme.BIOES, Scheme.IOB2):
        target = tmp_path / f"{scheme}.conll"
        predict(export, tmp_path / "in.conll", "--word-column", 1, "--to", target, "--scheme", scheme)
        written = list(read_conll([target], Columns(0, 1)))
        assert [list(sentence.tokens) for sentence in written] == sentences
        for sentence, entities in zip(written, wanted, strict=True):
            assert sentence.tags is not None
            assert violations(sentence.tags, scheme) == []
            assert [(s.type, s.start, s.end) for s in to_spans(sentence.tags)] == [
                (entity["label"], entity["token_start"], entity["token_end"]) for entity in entities
            ]
    with pytest.raises(InputError, match="white space in the token"):
        predict(export, "--input", "jsonl", "--output", "conll", stdin='{"text": ["New York"]}\n')


def test_parquet_keeps_columns_rows_and_schema(
    export: Path, expected: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Types, metadata and order stay; entities have their type; from JSON lines the columns are found."""
    table = pa.table(
        {
            "day": [datetime.date(2026, 1, number + 1) for number in range(5)],
            "text": pa.array(TEXTS).dictionary_encode(),
            "raw": [b"\xff", None, b"", b"a", b"b"],
            "score": pa.array([0.5, None, float("nan"), 1, 2], pa.float32()),
        }
    ).replace_schema_metadata({"made by": "us"})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=3)
    predict(export, tmp_path / "in.parquet", "--to", tmp_path / "out.parquet", "--part-rows", 2)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.schema.metadata == table.schema.metadata
    kept = found.select(table.schema.names)
    assert kept.schema == table.schema
    assert kept.drop(["score"]).to_pylist() == table.drop(["score"]).to_pylist()
    assert str(kept["score"].to_pylist()) == str(table["score"].to_pylist())
    assert close(found["entities"].to_pylist(), expected)
    assert found["error"].to_pylist() == [None] * 5
    json_rows = lines(predict(export, tmp_path / "in.parquet").stdout)
    assert [row["raw"] for row in json_rows][:2] == [base64.b64encode(b"\xff").decode(), None]
    assert [row["score"] for row in json_rows] == [0.5, None, None, 1.0, 2.0]
    assert json_rows[0]["day"] == "2026-01-01"
    again = tmp_path / "again.parquet"
    predict(export, tmp_path / "out.parquet", "--to", again, "--labels", "LOC", "--threshold", 0.5)
    assert pq.read_schema(again).names == pq.read_schema(tmp_path / "out.parquet").names
    assert close(
        pq.read_table(again)["entities"].to_pylist(),
        [[e for e in each if e["label"] == "LOC" and e["confidence"] >= 0.5] for each in expected],
    )
    file = write_lines(tmp_path / "rows.jsonl", [{"id": n, "text": text, "none": None} for n, text in enumerate(TEXTS)])
    predict(export, file, "--to", tmp_path / "rows.parquet", "--part-rows", 2)
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows.schema.names == ["id", "text", "none", "entities", "error"]
    assert rows["id"].to_pylist() == list(range(5))
    assert close(rows["entities"].to_pylist(), expected)
    write_lines(file, [{"text": "a"}, {"text": "b"}, {"text": "c", "new": 1}])
    with pytest.raises(InputError, match="a field 'new' that no row of the first part has"):
        predict(export, file, "--to", tmp_path / "rows.parquet", "--part-rows", 2)


def test_bad_rows_stay_in_their_place(export: Path, tmp_path: Path) -> None:
    """Each is reported with file and number, is null in the output with its fault, and the exit status says so."""
    good = b'{"text": "Anna saw Rome ."}'
    bad = {
        2: (b"{", "no JSON"), 3: (b"[1]", "JSON list"), 4: (b'{"txt": "a"}', "no field 'text' (there are txt)"),
        5: (b'{"text": 7}', "type int"), 6: (b'{"text": null}', "null"), 7: (b'{"text": "\xff"}', "not UTF-8 (0xff"),
        8: (b'{"text": ["a", ""]}', "'' as token 2"), 9: (b'{"text": "a", "n": NaN}', "NaN"),
    }  # fmt: skip
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join([good, *(line for line, _ in bad.values()), good, b'{"text": "\\ud800 Anna"}']))
    done = predict(export, file, status=BAD_ROWS)
    found = lines(done.stdout)
    assert len(found) == 11
    assert found[0] == found[9]
    assert found[0]["entities"]
    for number, (_, wrong) in bad.items():
        row = found[number - 1]
        assert row["entities"] is None
        assert row["error"].startswith(f"{file}:{number}: found ")
        assert wrong in row["error"]
        assert row["error"] in done.stderr
    assert found[4]["text"] == 7
    assert "9 bad rows" in done.stderr
    assert found[10]["entities"] is None
    assert "half a surrogate pair ('\\ud800' at character 1)" in found[10]["error"]
    predict(export, file, "--to", tmp_path / "rows.parquet", status=BAD_ROWS)
    columns = pq.read_table(tmp_path / "rows.parquet").to_pydict()
    assert columns["error"] == [row.get("error") for row in found]
    assert columns["entities"] == [row["entities"] for row in found]
    assert columns["text"] == ["Anna saw Rome ." if place in (0, 9) else None for place in range(11)]
    text = predict(export, "--lines", stdin=b"Anna\n\xff\n", status=BAD_ROWS)
    assert [row["entities"] is None for row in lines(text.stdout)] == [False, True]
    names = _invalid_strings()
    pq.write_table(pa.table({"id": [1, 2, 3], "text": names}), tmp_path / "bad.parquet")
    rows = lines(predict(export, tmp_path / "bad.parquet", status=BAD_ROWS).stdout)
    assert [(row["id"], row["entities"] is None) for row in rows] == [(1, False), (2, True), (3, True)]
    conll = predict(export, file, "--output", "conll", status=BAD_ROWS).stdout
    assert conll.count("# error: ") == 9
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress((good + b"\n") * 1000)[:-9])
    write_lines(tmp_path / "z.jsonl", [{"text": "Anna"}])
    cut = lines(predict(export, tmp_path / "cut.jsonl.gz", tmp_path / "z.jsonl", status=BAD_ROWS).stdout)
    assert [row.get("text") for row in cut if row["entities"] is not None][-1] == "Anna"
    assert "cut off" in cut[-2]["error"]


def _invalid_strings() -> pa.Array:
    """A column of text in which one value is not UTF-8."""
    raw = pa.array([b"Anna", b"\xff", None])
    return pa.Array.from_buffers(pa.string(), 3, raw.buffers())


def test_what_makes_no_sense_is_refused(export: Path, tmp_path: Path) -> None:
    """Options, names and columns; each message says what to do."""
    write_lines(tmp_path / "a.jsonl", [{"text": "Anna"}])
    (tmp_path / "a.csv").write_text("text\nAnna\n")
    pq.write_table(pa.table({"texts": ["Anna"], "n": [1]}), tmp_path / "a.parquet")
    cases = [
        (("a.csv",), "its name tells no format; give --input"),
        (("a.jsonl", "a.parquet"), "the files are jsonl"),
        (("a.jsonl", "-"), "standard input"),
        (("a.parquet",), "did you mean --column texts"),
        (("a.parquet", "--column", "n"), "holds int64"),
        (("a.jsonl", "--labels", "ORG"), "expected a list of LOC, PER"),
        (("a.jsonl", "--input", "xml"), "expected text, tokens"),
        (("a.jsonl", "--output", "parquet"), "give --to"),
        (("a.jsonl", "--to", "a.jsonl"), "this is a file to read"),
        (("a.jsonl", "--to", "b.jsonl.gz"), "tells no format"),
        (("a.jsonl", "--to", f"{tmp_path}/"), "files of others"),
        (("a.jsonl", "--to", "/dev/null", "--output", "jsonl"), "neither a file nor a folder"),
    ]
    for arguments, message in cases:
        with pytest.raises(ConfigError, match=message):
            predict(export, *arguments)
    with pytest.raises(InputError, match="nothing named"):
        predict(export, "missing.jsonl")


def test_another_run_starts_anew_and_two_at_once_are_refused(export: Path, tmp_path: Path) -> None:
    """A folder of parts is kept by the same command, made anew after a change of option, input or model."""
    file, target = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS]), tmp_path / "out"
    command = (export, file, "--to", f"{target}/", "--part-rows", 2)
    predict(*command)
    parts = [target / f"part-0000{number}.jsonl" for number in range(3)]
    assert sorted(target.glob("part-*")) == parts
    first = {path: path.stat().st_mtime_ns for path in parts}
    assert "going on after 5 rows" in predict(*command).stderr
    assert {path: path.stat().st_mtime_ns for path in parts} == first
    assert "the options of the earlier run differed" in predict(*command, "--threshold", 0.5).stderr
    file.write_text(file.read_text() + '{"text": "Rome"}\n')
    assert "the input and options of the earlier run differed" in predict(*command).stderr.replace(" and the", " and")
    parts[1].write_bytes(b"")  # as after a loss of power without fsync
    assert "going on after 2 rows" in predict(*command).stderr
    rows = [row for path in parts for row in lines(path)]
    assert [row["text"] for row in rows] == [*TEXTS, "Rome"]
    other = tiny_export(tmp_path / "other", lm=False)
    assert "the model of the earlier run differed" in predict(other, *command[1:]).stderr
    lock = work_of(target, folder=True)
    with locked(lock.with_name(f"{lock.name}.lock")), pytest.raises(ConfigError, match="another process writes it"):
        predict(*command)


def test_killed_twice_it_gives_the_same_bytes(export: Path, tmp_path: Path) -> None:
    """Two kill -9 in the middle: no row is lost or doubled, and nothing is left but the output."""
    texts = [f"{TEXTS[number % 5]} Word{number % 97}" for number in range(500)]
    table = pa.table({"id": range(len(texts)), "text": texts})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=70)
    target, whole = tmp_path / "out.parquet", tmp_path / "whole.parquet"
    options = ["--part-rows", "10"]
    predict(export, tmp_path / "in.parquet", "--to", whole, *options)
    work = work_of(target, folder=False)
    command = [sys.executable, "-m", "flows.cli", "predict", str(export), str(tmp_path / "in.parquet"), "--to",
               str(target), *options]  # fmt: skip
    for wanted in (3, 8):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        while len(list(work.glob("part-*.json"))) < wanted and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.communicate()
        process.communicate()
        assert wanted <= len(list(work.glob("part-*.json"))) < 50
        assert not target.exists()
    assert "going on after" in predict(export, tmp_path / "in.parquet", "--to", target, *options).stderr
    assert target.read_bytes() == whole.read_bytes()
    assert pq.read_table(target)["id"].to_pylist() == list(range(len(texts)))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.parquet", target.name, whole.name])


def test_each_part_begins_without_words_met_before(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word that is encoded beside other words may differ in its last bits, and a killed run must not show that."""
    forgotten: list[Tagger] = []
    monkeypatch.setattr(Tagger, "forget_words", lambda tagger: forgotten.append(tagger))
    rows = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    predict(export, rows, "--to", tmp_path / "out.jsonl", "--part-rows", 2)
    assert len(forgotten) == 3


def test_an_export_needs_neither_prefect_nor_mlflow(export: Path, tmp_path: Path) -> None:
    """The command in a process of its own imports nothing of the pipeline."""
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "in.parquet")
    arguments = ["taglm", "predict", str(export), str(tmp_path / "in.parquet"), "--to", str(tmp_path / "out.parquet")]
    code = (
        f"import sys; sys.argv = {arguments!r}\nfrom flows.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(*{'prefect', 'mlflow', 'duckdb', 'scipy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 5


def test_text_for_people(export: Path) -> None:
    """Entities are marked; without a terminal there is no colour, and control characters never reach one."""
    shown = predict(export, "--output", "text", "--lines", stdin="Anna saw \x1b[2J Rome .\n").stdout
    assert "\x1b" not in shown
    for entity in Tagger.load(export).tag("Anna saw \x1b[2J Rome ."):
        assert f"{entity.text} [{entity.label} {entity.confidence:.2f}]".replace("\x1b", "\ufffd") in shown


def test_blocks_end_where_their_own_rows_say() -> None:
    """Cut anywhere at a border and read again from there, the same blocks come: a killed run goes on with them."""
    rows = [Row("a", number, "x" * (7 * number % 23)) for number in range(200)]
    blocks = list(in_blocks(rows, Limits(6, 50)))
    assert max(map(len, blocks)) == 6
    assert min(map(len, blocks[:-1])) < 6
    done = 0
    for number, block in enumerate(blocks):
        assert list(in_blocks(rows[done:], Limits(6, 50))) == blocks[number:]
        done += len(block)
    assert done == 200


def test_progress_says_rows_rate_and_time_left() -> None:
    """A line every half minute; rows of an earlier run count as done, not for the speed."""
    said: list[str] = []
    now = 0.0
    progress = Lines(1_000, said.append, lambda: now)
    progress.start(400)
    for _ in range(100):
        now += 1
        progress.advance()
    assert said == [
        "430 of 1,000 rows, 1 rows/s, 9 min 30 s left",
        "460 of 1,000 rows, 1 rows/s, 9 min 0 s left",
        "490 of 1,000 rows, 1 rows/s, 8 min 30 s left",
    ]
