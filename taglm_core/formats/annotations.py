"""Records of annotation tools, recognised by their keys.

| tool                | record                                                                                         |
|---------------------|------------------------------------------------------------------------------------------------|
| doccano             | `{"text", "label": [[start, end, name]]}`, `{"text", "entities": [{"start_offset", ...}]}`     |
| Label Studio        | `{"data": {"text"}, "annotations": [{"result": [{"value": {"start", "end", "labels"}}]}]}` |
| ... its JSON-MIN    | `{"text", "label": [{"start", "end", "text", "labels"}]}`                                      |
| Prodigy             | `{"text", "spans": [{"start", "end", "label"}], "tokens": [...], "answer"}`                    |
| spaCy 2             | `["text", {"entities": [[start, end, name]]}]`                                                 |
| Hugging Face        | `{"tokens": ["word", ...], "tags": ["B-PER", ...]}`                                            |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from taglm_core.corpus.bad_lines import BadLine, error_of
from taglm_core.corpus.conll_faults import Faults
from taglm_core.corpus.sentence import ReadCounts, Sentence
from taglm_core.formats.json_files import read_json_records, without_surrogates
from taglm_core.formats.offsets import GivenSpan
from taglm_core.formats.span_reader import AnnotatedText

WORD_KEYS = ("tokens", "words")
TAG_KEYS = ("ner_tags", "ner", "tags", "labels", "label", "entities")
_TEXT_KEYS = ("text", "data", "content", "sentence")
_SPAN_KEYS = ("label", "labels", "spans", "entities", "annotations")
_START, _END = ("start", "start_offset", "begin"), ("end", "end_offset")
_TYPE = ("label", "labels", "type", "entity", "tag", "name")
_ANNOTATED = {"annotation_id", "annotator", "lead_time", "answer", "_task_hash", "tokens"}
"""Keys of records whose tool leaves out the key of the spans where there are none."""
TOKEN_SPANS = "token_spans"
"""Key of the places of tokens, with which `taglm suggest` keeps the tokens of texts that came tokenised."""

_EXPECTED = "a text with spans, or tokens with tags"
_REMEDY = (
    "name the keys in labelled.columns (word: the text or the tokens, tag: the spans or the tags), or export again"
)


class BadRecord(Exception):
    """A record that cannot be read: what was found, what was expected, and the remedy."""

    def __init__(self, found: str, expected: str = _EXPECTED, remedy: str = _REMEDY) -> None:
        super().__init__(found, expected, remedy)
        self.found, self.expected, self.remedy = found, expected, remedy


class AnnotationReader:
    """Records of JSON files, in order.

    Args:
        paths: the files.
        word: key of the text or the tokens; a number stands for the usual keys.
        tag: key of the spans or the tags; likewise.
        counts: receives counts of records that are left out (`records_*`).
    """

    def __init__(self, paths: Sequence[Path], word: int | str, tag: int | str, counts: ReadCounts) -> None:
        self._paths, self._counts, self._faults = list(paths), counts, Faults()
        self._word = (word,) if isinstance(word, str) else ()
        self._tag = (tag,) if isinstance(tag, str) else ()

    def records(self) -> Iterator[AnnotatedText | Sentence]:
        """Yield each record: a text with spans, or a sentence with tags as they stand in the file.

        Raises:
            InputError: not JSON; or at the end, naming the first of the records that cannot be read.
        """
        document, first = 0, None
        for path in self._paths:
            self._counts.files += 1
            self._counts.last_path = str(path)
            for record in read_json_records(path, self._counts):
                try:
                    found = self._record(record.value, path, record.line, document)
                    if found is not None and first is not None and type(found) is not first:
                        raise BadRecord("tokens and texts with spans in one data set", "one kind of record",
                                         "put them into two data sets, or convert one of them")  # fmt: skip
                except BadRecord as bad:
                    self._faults.add(BadLine(path, record.line, bad.found, bad.expected, bad.remedy))
                    continue
                if found is not None:
                    document += 1
                    first = type(found)
                    yield found
        if self._faults.count:
            raise error_of(self._faults.first, self._faults.count)

    def _record(self, value: Any, path: Path, line: int, document: int) -> AnnotatedText | Sentence | None:
        """Return what a record holds; None if it is left out."""
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
            value = {**value[1], "text": value[0]}
        if not isinstance(value, dict):
            raise BadRecord(f"a record that is no object ({_shown(value)})")
        if value.get("answer", "accept") != "accept":
            self._counts.met["records_not_accepted"] += 1
            return None
        if isinstance(value.get("data"), dict):
            return self._task(value, path, line)
        words = _first(value, self._word or WORD_KEYS)
        if isinstance(words, list) and not any(isinstance(word, dict) for word in words):
            return self._tagged(value, words, path, line, document)
        text = _first(value, self._word or _TEXT_KEYS)
        if not isinstance(text, str):
            raise BadRecord(f"a record without text and without tokens ({_keys(value)})")
        spans = self._spans_of(value, line)
        given = value.get("tokens")
        tokens = _tokens(given, len(text)) if isinstance(given, list) and given else None
        return _annotated(text, spans, path, line, tokens, value)

    def _spans_of(self, value: Mapping[str, Any], line: int) -> list[GivenSpan]:
        """Return the spans of a record with a text."""
        if value.get("relations"):
            self._counts.met["relations"] += len(value["relations"]) if isinstance(value["relations"], list) else 1
        keys = [key for key in self._tag or _SPAN_KEYS if isinstance(value.get(key), list)]
        keys = keys or [] if self._tag else keys or [key for key in value if _is_min(value[key])]
        filled = [key for key in keys if value[key]]
        if len(filled) > 1:
            raise BadRecord(f"spans in several keys ({', '.join(filled)})", "one key with spans",
                             f"set labelled.columns.tag to the right one, such as {filled[0]}")  # fmt: skip
        if not keys and not (_ANNOTATED & value.keys()) and not any(key in value for key in self._tag or _SPAN_KEYS):
            raise BadRecord(f"a record without spans ({_keys(value)})")
        return [span for item in value[filled[0]] for span in self._span(item, line)] if filled else []

    def _span(self, item: Any, line: int) -> list[GivenSpan]:
        """Return the spans of one item: several if it has several labels."""
        if isinstance(item, dict):
            start, end, kinds = _first(item, _START), _first(item, _END), _first(item, _TYPE)
            text = item.get("text")
        elif isinstance(item, list) and len(item) >= 3:
            (start, end, kinds), text = item[:3], None
        else:
            raise BadRecord(f"a span that is neither [start, end, label] nor an object ({_shown(item)})")
        if not _is_offset(start) or not _is_offset(end):
            raise BadRecord(f"a span whose start or end is no number ({_shown(item)})", "offsets as whole numbers")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if any(kind is not None and not isinstance(kind, str) for kind in kinds):
            raise BadRecord(f"a span whose label is no name ({_shown(item)})", "labels as strings",
                             "export the names of the labels instead of their numbers")  # fmt: skip
        own = without_surrogates(text) if isinstance(text, str) else None
        return [GivenSpan(((start, end),), without_surrogates(kind or "").strip(), line, own) for kind in kinds or [""]]

    def _task(self, task: Mapping[str, Any], path: Path, line: int) -> AnnotatedText | None:
        """Return a task of Label Studio by its first annotation that was not cancelled."""
        made = task.get("annotations", task.get("completions"))
        if not isinstance(made, list) or not all(isinstance(one, dict) for one in made):
            raise BadRecord(f"a task without annotations ({_keys(task)})")
        done = [one for one in made if not one.get("was_cancelled")]
        if not done:
            self._counts.met["records_without_annotation"] += 1
            return None
        if len(done) > 1:
            self._counts.met["further_annotations"] += len(done) - 1
        data = task["data"]
        texts = [data[key] for key in self._word or _TEXT_KEYS if isinstance(data.get(key), str)]
        texts = texts or ([] if self._word else [text for text in data.values() if isinstance(text, str)])
        if len(texts) != 1:
            raise BadRecord(f"a task with {len(texts)} texts ({_keys(data)})", "one text",
                             "set labelled.columns.word to the key of the text in data")  # fmt: skip
        regions = done[0].get("result")
        if not isinstance(regions, list):
            raise BadRecord(f"an annotation without a result ({_keys(done[0])})")
        spans: list[GivenSpan] = []
        for region in regions:
            value = region.get("value") if isinstance(region, dict) else None
            value = value if isinstance(value, dict) else {}
            is_span = _is_offset(value.get("start")) and _is_offset(value.get("end"))
            if not is_span or (self._tag and region.get("from_name") not in self._tag):
                self._counts.met["other_regions"] += 1
                continue
            names = value.get("labels")
            item = {name: value[name] for name in ("start", "end", "text") if name in value}
            spans += self._span({**item, "labels": names or [""]}, line)
        return _annotated(texts[0], spans, path, line, None, data)

    def _tagged(self, value: Mapping[str, Any], words: list[Any], path: Path, line: int, document: int
                ) -> Sentence | None:  # fmt: skip
        """Return a record with tokens and tags."""
        tags = next((value[key] for key in self._tag or TAG_KEYS if isinstance(value.get(key), list)), None)
        if tags is None:
            raise BadRecord(f"tokens without tags ({_keys(value)})")
        if any(isinstance(tag, int) for tag in tags):
            raise BadRecord("numbers as tags, without their names", "tags such as B-PER, I-PER and O",
                             "export the names of the tags, or Parquet with the names in its schema")  # fmt: skip
        found = sentence_of(words, tags, document, line, str(path))
        if found is None:
            self._counts.met["empty_records"] += 1
        return found


def _annotated(
    text: str, spans: list[GivenSpan], path: Path, line: int, tokens: list[tuple[int, int]] | None,
    record: Mapping[str, Any],
) -> AnnotatedText:  # fmt: skip
    """Return a text with its spans; one whose record has `token_spans` (`taglm suggest`) is one sentence of these."""
    places = record.get(TOKEN_SPANS)
    starts = None
    if isinstance(places, list) and places:
        given = [dict(zip(("start", "end"), place, strict=False)) if isinstance(place, list) else place
                 for place in places]  # fmt: skip
        tokens, starts = _tokens(given, len(text)), (0,)
    return AnnotatedText(without_surrogates(text), spans, str(path), line, tokens, starts)


def sentence_of(words: Sequence[Any], tags: Sequence[Any], document: int, line: int, path: str) -> Sentence | None:
    """Return the sentence of a record with tokens and tags; None if it has none.

    Raises:
        BadRecord: not strings, not as many tags as tokens, or an empty token.
    """
    if len(words) != len(tags):
        raise BadRecord(f"{len(words):,} tokens and {len(tags):,} tags", "one tag for each token", "correct the record")
    for name, values in (("token", words), ("tag", tags)):
        for value in values:
            if not isinstance(value, str) or not value.strip():
                found = (
                    f"an empty {name}"
                    if value is None or str(value).isspace() or value == ""
                    else f"a {name} that is no string"
                )
                raise BadRecord(f"{found} ({_shown(value)})", f"{name}s as strings that are not empty",
                                "correct the record")  # fmt: skip
    if not words:
        return None
    tokens = tuple(map(without_surrogates, words))
    return Sentence(tokens, tuple(map(without_surrogates, tags)), document, line, path, (line,) * len(tokens))


def _tokens(given: list[Any], length: int) -> list[tuple[int, int]]:
    """Return the places of tokens."""
    places: list[tuple[int, int]] = []
    for token in given:
        start, end = (token.get("start"), token.get("end")) if isinstance(token, dict) else (None, None)
        least = places[-1][1] if places else 0
        if not isinstance(start, int) or not isinstance(end, int) or not least <= start <= end <= length:
            raise BadRecord(f"a token without a place in the text ({_shown(token)})",
                            "start and end of each token, in order", "export again")  # fmt: skip
        places.append((start, end))
    return places


def _is_min(value: Any) -> bool:
    """Return whether a value is a list of spans of Label Studio's JSON-MIN, whose key is the name of a control."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(one, dict) and {"start", "end"} <= one.keys() for one in value
    )  # fmt: skip


def _first(value: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _is_offset(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _keys(value: Mapping[str, Any]) -> str:
    return f"its keys: {', '.join(map(str, list(value)[:12])) or 'none'}"


def _shown(value: Any, longest: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
