"""Annotation formats and raw text: spans to tokens, offsets, records that are left out, suggestions."""

_SPANS, _OFFSETS = "taglm_core/formats/span_reader.py", "taglm_core/formats/offsets.py"
_TESTS = "tests/formats/test_labelled.py"
_EXPRESS = f"{_TESTS}::test_spans_that_tags_cannot_express"

MUTATIONS = [
    (
        "a span that cuts a token is widened without being asked",
        _SPANS,
        "if cuts and self._policy is not Misaligned.WIDEN:",
        "if False:",
        _EXPRESS,
    ),
    (
        "of overlapping spans the shortest stays",
        _SPANS,
        "key=lambda span: (-span.length, span.first)",
        "key=lambda span: (span.length, span.first)",
        _EXPRESS,
    ),
    (
        "a dropped span is not counted",
        _SPANS,
        'self._count(f"spans_dropped_{kind}")',
        "pass",
        "tests/formats/test_spans.py::test_every_span_is_an_entity_or_counted",
    ),
    (
        "a sentence boundary cuts a span",
        _SPANS,
        "edges = [edge for edge in edges if edge not in inside] if inside else edges",
        "pass",
        f"{_TESTS}::test_white_space_repetition_and_sentence_boundaries",
    ),
    (
        "a span is not compared with its own text",
        _SPANS,
        "if given.text is not None and not self._has_own_text(document, given, convert):",
        "if False:",
        f"{_TESTS}::test_offsets_in_utf16_are_noticed_by_the_text_of_the_span",
    ),
    (
        "characters beyond the basic plane are one UTF-16 unit",
        _OFFSETS,
        'lambda letter: 2 if letter > "\\uffff" else 1',
        "lambda letter: 1",
        f"{_TESTS}::test_offsets_in_utf16_are_noticed_by_the_text_of_the_span",
    ),
    (
        "rejected answers are read",
        "taglm_core/formats/annotations.py",
        'if value.get("answer", "accept") != "accept":',
        "if False:",
        f"{_TESTS}::test_rejected_and_unannotated_records_are_left_out_and_counted",
    ),
    (
        "words of a multiword token are tokens, too",
        "taglm_core/formats/conllu_files.py",
        "if isinstance(place, int) and place in sentence.words:",
        "if False:",
        f"{_TESTS}::test_conllu",
    ),
    (
        "plain text is no longer tokenised lines",
        "taglm_core/formats/detect.py",
        "TextFormat.CONLLU if _is_conllu(head) else TextFormat.TOKENISED",
        "TextFormat.CONLLU if _is_conllu(head) else TextFormat.DOCUMENTS",
        "tests/formats/test_text_formats.py::test_plain_text_is_tokenised_lines_as_before",
    ),
    (
        "CoNLL columns have their format in the key",
        "taglm_core/pipeline/corpora_steps.py",
        "if labelled.format in _WITH_TEXT:",
        "if True:",
        "tests/formats/test_steps.py::test_auto_becomes_a_format_once_and_only_where_it_changes_something",
    ),
    (
        "blocks come in the order in which processes finish",
        "taglm_core/formats/segmenting.py",
        "                while len(waiting) > processes or",
        "                waiting.rotate(1)\n                while len(waiting) > processes or",
        "tests/formats/test_text_formats.py::test_the_bytes_do_not_depend_on_the_processes",
    ),
    (
        "the most certain sentences are suggested",
        "tasks/suggesting.py",
        "rank, words = (-one.certainty, -number)",
        "rank, words = (one.certainty, -number)",
        "tests/flows/test_suggest.py::test_the_least_certain_come_first",
    ),
    (
        "near-duplicates are suggested",
        "tasks/suggesting.py",
        ">= ALIKE * len(words | self._sets[n])",
        ">= 2 * len(words | self._sets[n])",
        "tests/flows/test_suggest.py::test_of_sentences_that_are_alike_the_least_certain_comes",
    ),
    (
        "Label Studio gets code points",
        "tasks/suggesting.py",
        'return len(one.text[:offset].encode("utf-16-le")) // 2',
        "return offset",
        "tests/flows/test_suggest.py::test_the_tools_form_is_read_back",
    ),
]
