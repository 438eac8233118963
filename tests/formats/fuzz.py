"""Mutations of valid files: each gives a result or an error of TagLM's, and no span disappears without a count."""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

from taglm_core.config.data import LabelledFormat, Misaligned
from taglm_core.errors import TagLMError
from taglm_core.formats.labelled import LabelledReading, read_labelled
from tests.formats import samples

_PIECES = [
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b"\t", b" ", b'"', b"{", b"}", b"[", b"]", b",", b"-1",
    b"99999999999999999999", b"null", b"true", b"1.5", b"\\ud83d", "😀".encode(), "e\u0301".encode(), b"B-",
    b"I-X", b"O", b"_", b"|", b"=", b"1-2", b"8.1", b";", b"T9\tX 0 1\ty\n", b"#", b"0",
]  # fmt: skip


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Return data with a few pieces removed, repeated, inserted, exchanged or cut off."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((0, 1, 1, 2, 5, 30)))
        kind = draw.randrange(6)
        if kind == 0:
            data = data[:start] + data[end:]
        elif kind == 1:
            data = data[:end] + data[start:end] + data[end:]
        elif kind == 2:
            data = data[:start] + draw.choice(_PIECES) + data[start:]
        elif kind == 3:
            data = data[:start] + draw.choice(_PIECES) + data[end:]
        elif kind == 4 and draw.random() < 0.2:
            data = data[:start]
        elif data[start:end]:
            data = data[:start] + bytes([data[start] ^ (1 << draw.randrange(8))]) + data[start + 1 :]
    return data


def _texts() -> dict[str, tuple[LabelledFormat, str]]:
    records = {"doccano": samples.doccano(), "entities": samples.doccano(newer=True), "studio": samples.label_studio(),
               "min": samples.json_min(), "prodigy": samples.prodigy(), "tokens": samples.token_records()}  # fmt: skip
    found = {name: (LabelledFormat.JSONL, samples.json_lines(made)) for name, made in records.items()}
    return {
        **found,
        "conllu": (LabelledFormat.CONLLU, samples.conllu()),
        "plus": (LabelledFormat.CONLLU, samples.conllu_plus()),
        "columns": (LabelledFormat.CONLL, "-DOCSTART- -X- O\n\nAnna NNP B-PER\nleft VBD O\nRome NNP B-LOC\n. . O\n\n"),
        "tabs": (LabelledFormat.CONLL, "New York\tB-LOC\ncalls\tO\n\nZoë\tU-PER\n😀\tO\n"),
    }


def seeds(folder: Path) -> dict[str, tuple[LabelledFormat, list[Path]]]:
    """Write one valid file of each kind; the last path of each list is the one to mutate."""
    found = {}
    for name, (form, text) in _texts().items():
        path = folder / name
        path.write_text(text, encoding="utf-8", newline="")
        found[name] = (form, [path])
    found["brat"] = (LabelledFormat.BRAT, sorted(samples.write_brat(folder / "brat"), reverse=True))
    for suffix in ("parquet", "arrow", "feather"):
        path = samples.write_table(folder / f"data.{suffix}", samples.table())
        found[suffix] = (LabelledFormat.PARQUET, [path])
    if find_spec("spacy") is not None:
        found["docbin"] = (LabelledFormat.DOCBIN, [samples.write_docbin(folder / "data.spacy")])
    return found


def run(folder: Path, name: str, rounds: int, seed: int) -> tuple[int, int]:
    """Read mutated files of one kind.

    Returns:
        How many were read, and how many were refused.
    """
    form, paths = seeds(folder)[name]
    target = paths[-1]
    valid, draw = target.read_bytes(), random.Random(seed)
    policies = tuple(Misaligned)
    accepted = 0
    for number in range(rounds):
        target.write_bytes(mutated(valid, draw))
        given = LabelledFormat.AUTO if number % 4 == 0 else form
        try:
            read = read_labelled(paths, LabelledReading(format=given, misaligned=policies[number % 3]))
        except TagLMError:
            continue
        accepted += 1
        met = read.counts.met
        lost = sum(count for kind, count in met.items() if kind.startswith(("spans_dropped", "spans_repeated")))
        entities = sum(read.counts.entities.values())
        if "spans" in met or lost:
            assert met.get("spans", 0) == entities + lost, (number, target.read_bytes(), met)
        assert all(len(tokens) == len(tags) for tokens, tags in zip(read.tokens, read.tags, strict=True))
    return accepted, rounds - accepted


def main_kinds() -> list[str]:
    """Return the names of all kinds of files."""
    extra = ["docbin"] if find_spec("spacy") is not None else []
    return [*_texts(), "brat", "parquet", "arrow", "feather", *extra]
