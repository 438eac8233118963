"""Labels to tokens to spans in many languages: nothing is lost, whatever script, unit of offsets and tool."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from taglm_core.config.data import LabelledFormat, OffsetUnit
from taglm_core.config.raw_text import TextConfig, TokenizerName
from taglm_core.corpus.schemes import to_spans
from taglm_core.formats.labelled import LabelledReading, read_labelled

TEXTS = {
    "en": ("Ann Smith visited Paris on Monday. She met Bo Lee.", ["Ann Smith", "Paris", "Bo Lee"]),
    "de": ("Eva Maier besuchte am 3. Mai die Müller-Lüdenscheidt GmbH in Köln. Es regnete.",
           ["Eva Maier", "Müller-Lüdenscheidt GmbH", "Köln"]),
    "fr": ("L'ancien maire Jean Roux est né à Paris. Il l'a dit aujourd'hui.", ["Jean Roux", "Paris"]),
    "es": ("¿Dónde vive José García? En Málaga, dijo él.", ["José García", "Málaga"]),
    "ru": ("Иван Петров приехал в Москву. Он встретил Анну Орлову.", ["Иван Петров", "Москву", "Анну Орлову"]),
    "ar": ("زار محمد صلاح القاهرة يوم الاثنين. ثم سافر إلى لندن.", ["محمد صلاح", "القاهرة", "لندن"]),
    "he": ("דוד כהן ביקר בירושלים אתמול. הוא פגש את יעל לוי.", ["דוד כהן", "יעל לוי"]),
    "hi": ("नरेंद्र मोदी दिल्ली में रहते हैं। वे गुजरात से हैं।", ["नरेंद्र मोदी", "दिल्ली", "गुजरात"]),
    "vi": ("Nguyễn Văn A sống ở Hà Nội. Anh ấy làm việc ở Đà Nẵng.", ["Nguyễn Văn A", "Hà Nội", "Đà Nẵng"]),
    "zh": ("王小明在北京会见了李雷。他们谈了很久。", ["王小明", "北京", "李雷"]),
    "ja": ("山田太郎は東京で生まれた。彼は山口県の出身だ。", ["山田太郎", "東京", "山口県"]),
    "th": ("สมชายอยู่ที่กรุงเทพ เขาไปเชียงใหม่", ["สมชาย", "กรุงเทพ", "เชียงใหม่"]),
    "pt": ("Ame\u0301lie 😀 mora em Bele\u0301m. 👩‍👩‍👧 Zoe\u0308 também.",
           ["Ame\u0301lie", "Bele\u0301m", "Zoe\u0308"]),
}  # fmt: skip
NOT_BY_SPACY = ("zh", "ja", "th", "vi")  # no spaces, or spaCy needs another library


def place(text: str, offset: int, unit: OffsetUnit) -> int:
    """Return an offset of code points in another unit."""
    before = text[:offset]
    return {OffsetUnit.CHARACTERS: offset, OffsetUnit.UTF16: len(before.encode("utf-16-le")) // 2,
            OffsetUnit.BYTES: len(before.encode())}[unit]  # fmt: skip


def write(folder: Path, text: str, spans: list[tuple[int, int]], unit: OffsetUnit) -> dict[str, list[Path]]:
    """Write the text with its spans as four tools do."""
    placed = [(place(text, start, unit), place(text, end, unit), text[start:end]) for start, end in spans]
    regions = [{"value": {"start": start, "end": end, "text": own, "labels": ["X"]}} for start, end, own in placed]
    records = {
        "doccano": {"text": text, "label": [[start, end, "X"] for start, end, _ in placed]},
        "studio": {"data": {"text": text}, "annotations": [{"result": regions}]},
        "prodigy": {"text": text, "spans": [{"start": start, "end": end, "label": "X"} for start, end, _ in placed],
                    "answer": "accept"},
    }  # fmt: skip
    for name, record in records.items():
        (folder / name).write_text(json.dumps(record, ensure_ascii=name == "prodigy") + "\n", encoding="utf-8")
    (folder / "a.txt").write_text(text, encoding="utf-8")
    lines = [f"T{n}\tX {start} {end}\t{own}\n" for n, (start, end, own) in enumerate(placed, 1)]
    (folder / "a.ann").write_text("".join(lines), encoding="utf-8")
    return {**{name: [folder / name] for name in records}, "brat": [folder / "a.txt", folder / "a.ann"]}


@pytest.mark.parametrize("tokenizer", [TokenizerName.CHARACTERS, TokenizerName.SPACY])
@pytest.mark.parametrize("language", TEXTS)
def test_spans_are_what_was_labelled(language: str, tokenizer: TokenizerName, tmp_path: Path) -> None:
    """With each tool and unit, the words of the entities are those that were labelled."""
    if tokenizer is TokenizerName.SPACY and (find_spec("spacy") is None or language in NOT_BY_SPACY):
        pytest.skip("the extra spacy, and a language that it takes")
    text, names = TEXTS[language]
    spans = [(text.index(name), text.index(name) + len(name)) for name in names]
    config = TextConfig.model_validate({"language": language, "tokenizer": tokenizer, "spelling": "as-is"})
    for unit in OffsetUnit:
        for tool, paths in write(tmp_path, text, spans, unit).items():
            read = read_labelled(paths, LabelledReading(LabelledFormat.AUTO, offsets=unit, text=config))
            found = ["".join(tokens[span.start : span.end]) for tokens, tags in zip(read.tokens, read.tags, strict=True)
                     for span in to_spans(tags)]  # fmt: skip
            assert found == ["".join(name.split()) for name in names], (tool, unit)
            assert "".join(token for tokens in read.tokens for token in tokens) == "".join(text.split()), (tool, unit)
