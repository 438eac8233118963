"""Valid files of every format, made from texts with spans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS: tuple[tuple[str, tuple[tuple[int, int, str], ...]], ...] = (
    ("Alice Smith visited North Korea. She met Bob in Berlin.",
     ((0, 11, "PER"), (20, 31, "LOC"), (41, 44, "PER"), (48, 54, "LOC"))),
    ("Nothing is here.", ()),
    ("Zoë 😀 works for Müller GmbH.", ((0, 3, "PER"), (16, 27, "ORG"))),
)  # fmt: skip
ENTITIES = 6
TAGGED = ((("Alice", "Smith", "left", "Berlin"), ("B-PER", "I-PER", "O", "B-LOC")), (("No", "one"), ("O", "O")))


def doccano(newer: bool = False) -> list[dict[str, Any]]:
    if not newer:
        return [
            {"id": n, "text": text, "label": [list(span) for span in spans]} for n, (text, spans) in enumerate(TEXTS)
        ]
    return [
        {"id": n, "text": text, "relations": [],
         "entities": [{"id": 1, "label": t, "start_offset": s, "end_offset": e} for s, e, t in spans]}
        for n, (text, spans) in enumerate(TEXTS)
    ]  # fmt: skip


def label_studio(utf16: bool = False) -> list[dict[str, Any]]:
    def place(text: str, offset: int) -> int:
        return len(text[:offset].encode("utf-16-le")) // 2 if utf16 else offset

    return [
        {"id": n, "data": {"text": text}, "annotations": [{"id": 1, "was_cancelled": False, "result": [
            {"type": "labels", "from_name": "label", "to_name": "text",
             "value": {"start": place(text, s), "end": place(text, e), "text": text[s:e], "labels": [t]}}
            for s, e, t in spans]}], "predictions": []}
        for n, (text, spans) in enumerate(TEXTS)
    ]  # fmt: skip


def json_min() -> list[dict[str, Any]]:
    return [
        {"id": n, "text": text, "annotator": 1, "annotation_id": n, "lead_time": 2.5}
        | ({"ner": [{"start": s, "end": e, "text": text[s:e], "labels": [t]} for s, e, t in spans]} if spans else {})
        for n, (text, spans) in enumerate(TEXTS)
    ]


def prodigy() -> list[dict[str, Any]]:
    records = []
    for text, spans in TEXTS:
        tokens, place = [], 0
        for word in text[:-1].replace(". ", " .~ ").split(" "):
            word = word.rstrip("~")
            start = text.index(word, place)
            place = start + len(word)
            tokens.append({"text": word, "start": start, "end": place, "id": len(tokens)})
        tokens.append({"text": ".", "start": len(text) - 1, "end": len(text), "id": len(tokens)})
        given = [{"start": s, "end": e, "label": t} for s, e, t in spans]
        record = {"text": text, "spans": given, "tokens": tokens, "answer": "accept", "_task_hash": 7}
        records.append(record)
    return records


def token_records() -> list[dict[str, Any]]:
    return [{"tokens": list(tokens), "ner_tags": list(tags)} for tokens, tags in TAGGED]


def json_lines(records: Sequence[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def conllu() -> str:
    return (
        "# newdoc id = a\n# sent_id = 1\n# text = Alice fährt zum Berg\n"
        "1\tAlice\t_\tPROPN\t_\t_\t2\tnsubj\t_\tNER=B-PER\n2\tfährt\t_\tVERB\t_\t_\t0\troot\t_\tNER=O|SpaceAfter=Yes\n"
        "3-4\tzum\t_\t_\t_\t_\t_\t_\t_\t_\n3\tzu\t_\tADP\t_\t_\t5\tcase\t_\tNER=O\n4\tdem\t_\tDET\t_\t_\t5\tdet\t_\tNER=B-LOC\n"
        "5\tBerg\t_\tNOUN\t_\t_\t2\tobl\t_\tNER=I-LOC\n5.1\tleer\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    )


def conllu_plus() -> str:
    return "# global.columns = ID FORM NER\n1\tAlice\tB-PER\n2\tleft\tO\n\n1\tBerlin\tB-LOC\n\n"


def write_brat(folder: Path, newline: str = "\n", bom: bool = False) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (text, spans) in enumerate(TEXTS):
        lines = [f"T{n}\t{kind} {start} {end}\t{text[start:end]}" for n, (start, end, kind) in enumerate(spans, 1)]
        (folder / f"d{number}.txt").write_bytes(f"{chr(0xFEFF) * bom}{text}{newline}".encode())
        (folder / f"d{number}.ann").write_text("".join(f"{line}\n" for line in lines))
    return sorted(folder.iterdir())


def table(names: Sequence[str] | None = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), kind: str = "Sequence") -> pa.Table:
    """Return TAGGED as `datasets` writes it: numbers, and their names in the metadata of the schema."""
    known = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    data = pa.table({
        "id": ["0", "1"],
        "tokens": pa.array([list(tokens) for tokens, _ in TAGGED], pa.list_(pa.string())),
        "ner_tags": pa.array([[known.index(tag) for tag in tags] for _, tags in TAGGED], pa.list_(pa.int64())),
    })  # fmt: skip
    if names is None:
        return data
    tags = {"feature": {"names": list(names), "_type": "ClassLabel"}, "_type": kind}
    info = {
        "info": {
            "features": {"tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": kind}, "ner_tags": tags}
        }
    }
    return data.replace_schema_metadata({"huggingface": json.dumps(info)})


def write_table(path: Path, data: pa.Table) -> Path:
    """Write a table as Parquet, as an Arrow stream (as `datasets` does), or as an Arrow file, by the path's suffix."""
    if path.suffix == ".parquet":
        pq.write_table(data, path)
        return path
    opened = pa.ipc.new_stream if path.suffix == ".arrow" else pa.ipc.new_file
    with opened(str(path), data.schema) as writer:
        writer.write_table(data)
    return path


def write_docbin(path: Path) -> Path:
    """Write a DocBin of all texts with spaCy's tokens."""
    import spacy
    from spacy.tokens import DocBin

    blank, documents = spacy.blank("en"), DocBin()
    for text, spans in TEXTS:
        document = blank.make_doc(text)
        document.set_ents([document.char_span(start, end, kind, alignment_mode="expand") for start, end, kind in spans])
        documents.add(document)
    documents.to_disk(path)
    return path
