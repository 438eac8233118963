"""Use of a tagger: raw text to tokens, entities with places and confidences, exports, output in parts."""

_TAGGER, _PREDICTION = "taglm/tagger.py", "taglm_core/tagging/prediction.py"
_SEGMENTER, _SPELLING = "taglm_core/text/segmenter.py", "taglm_core/text/spelling.py"
_EXPORTED, _PARTS, _JOB = "taglm_core/tagging/exported.py", "tasks/predicting/parts.py", "tasks/predicting/job.py"
_ENTITIES = "tests/taglm/test_tagger.py::test_entities_stand_where_they_say"
_KILLED = "tests/predicting/test_predict.py::test_killed_twice_it_gives_the_same_bytes"

MUTATIONS = [
    (
        "tokens have their places in the sentence, not in the text",
        _SEGMENTER,
        "tuple((start + first, start + last) for _, first, last in placed)",
        "tuple((first, last) for _, first, last in placed)",
        "tests/text/test_segmenter.py::test_sentences_and_tokens_have_their_places",
    ),
    (
        "a full stop at the end of a sentence stays in its chunk",
        "taglm_core/text/chunks.py",
        "place = chunk.start(), _END if number == len(chunks) else _INSIDE",
        "place = chunk.start(), _INSIDE",
        "tests/text/test_chunks.py::test_chunks_have_the_tokens_of_their_sentence",
    ),
    (
        "a closing quotation mark is spelled as an opening one",
        _SPELLING,
        "not before or before.isspace() or before in _OPENERS",
        "True",
        "tests/text/test_segmenter.py::test_marks_are_spelled_as_in_training",
    ),
    (
        "another version of a tokenizer is used in silence",
        _SEGMENTER,
        "if record.versions and record.versions.get(name) != version",
        "if record.versions and name not in record.versions",
        "tests/text/test_segmenter.py::test_another_version_warns",
    ),
    (
        "an entity ends with its first token",
        _TAGGER,
        "sentence.spans[span.start][0], sentence.spans[span.end - 1][1]",
        "sentence.spans[span.start][0], sentence.spans[span.start][1]",
        _ENTITIES,
    ),
    (
        "token numbers begin anew in each sentence",
        _TAGGER,
        "                    first += len(tokens)\n",
        "",
        _ENTITIES,
    ),
    (
        "the confidence of a span leaves out its last token",
        _PREDICTION,
        "after[place, span.start + 1 : span.end].sum()",
        "after[place, span.start + 1 : span.end - 1].sum()",
        "tests/taglm/test_tagger.py::test_a_confidence_is_the_share_of_the_paths_with_the_entity",
    ),
    (
        "results come in the order of their lengths",
        _PREDICTION,
        "result[filled[row]] = replace(found, known=known)",
        "result[filled[rows.index(row)]] = replace(found, known=known)",
        "tests/taglm/test_tagger.py::test_alone_and_together_are_the_same",
    ),
    (
        "rows of words overwrite those of words met before",
        "taglm_core/nn/word_rows.py",
        "first = len(self._places)",
        "first = 0",
        "tests/lm/test_cache.py::test_words_that_are_kept_give_the_same_states",
    ),
    (
        "a table of words outgrows its limit",
        "taglm_core/nn/word_rows.py",
        "            self._places, new = {}, list(range(len(words)))\n",
        "            pass\n",
        "tests/taglm/test_tagger.py::test_rows_of_words_are_kept_up_to_a_limit",
    ),
    (
        "a threshold is not applied",
        "taglm/entities.py",
        "self.confidence >= threshold",
        "True",
        "tests/taglm/test_tagger.py::test_thresholds_and_labels_filter",
    ),
    (
        "a truncated file of an export is opened",
        _EXPORTED,
        "if found != size:",
        "if found is None:",
        "tests/taglm/test_tagger.py::test_a_damaged_export_is_refused",
    ),
    (
        "an export keeps the softmax of its language models",
        _EXPORTED,
        "if not name.startswith(SOFTMAX)",
        "if name",
        "tests/taglm/test_tagger.py::test_an_export_has_no_softmax",
    ),
    (
        "a search in the table of vectors misses the first word",
        "taglm_core/corpus/vector_table.py",
        "low, high = 0, len(self)",
        "low, high = 1, len(self)",
        "tests/corpus/test_vector_table.py::test_every_word_of_a_large_table_is_found",
    ),
    (
        "a resumed prediction tags its last part again",
        _JOB,
        "self._blocks(parts.tally.rows)",
        "self._blocks(max(0, parts.tally.rows - 1))",
        _KILLED,
    ),
    (
        "a resumed prediction depends on words met before",
        _JOB,
        "        self._tagger.forget_words()\n",
        "",
        "tests/predicting/test_predict.py::test_each_part_begins_without_words_met_before",
    ),
    (
        "a part without its record counts as complete",
        _PARTS,
        'if not path.is_file() or path.stat().st_size != record["bytes"]:',
        "if not path.is_file():",
        "tests/predicting/test_predict.py::test_another_run_starts_anew_and_two_at_once_are_refused",
    ),
    (
        "parts of another run are kept",
        _PARTS,
        "if found == wanted:",
        "if isinstance(found, dict):",
        "tests/predicting/test_predict.py::test_another_run_starts_anew_and_two_at_once_are_refused",
    ),
    (
        "a moved alias is not followed",
        "taglm/serving/models.py",
        "changed = version != self._model.version",
        "changed = False",
        "tests/taglm/test_serving.py::test_a_moved_alias_is_followed",
    ),
]
