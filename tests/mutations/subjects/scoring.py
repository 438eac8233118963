"""Spans, scores, significance, predictions."""

_SPANS, _SCORES = "taglm_core/evaluation/spans.py", "taglm_core/evaluation/scores.py"
_SIGNIFICANCE, _PREDICTIONS = "taglm_core/evaluation/significance.py", "taglm_core/evaluation/predictions.py"
_TAGGING = "taglm_core/tagging/tagger_training.py"
_TEST = "tests/evaluation/test_spans.py::"

MUTATIONS = [
    (
        "I after another type goes on with the span",
        _SPANS,
        "    is_begin[1:] |= type_[1:] != type_[:-1]\n",
        "",
        f"{_TEST}test_array_counts_equal_conlleval_and_seqeval",
    ),
    (
        "spans go on over the end of a sentence",
        _SPANS,
        "    is_begin |= opens\n",
        "",
        f"{_TEST}test_spans_end_with_their_sentence",
    ),
    (
        "S does not open a span",
        _SPANS,
        '(prefix == _PREFIXES.index("B")) | (prefix == _PREFIXES.index("S"))',
        'prefix == _PREFIXES.index("B")',
        f"{_TEST}test_array_counts_equal_conlleval_and_seqeval",
    ),
    (
        "a span with the right end counts as right",
        _SPANS,
        "row_at[self.gold.first] = np.arange(len(self.gold.first))\n        row = row_at[self.predicted.first]",
        "row_at[self.gold.last] = np.arange(len(self.gold.first))\n        row = row_at[self.predicted.last]",
        f"{_TEST}test_array_counts_equal_conlleval_and_seqeval",
    ),
    (
        "a span of the wrong type counts as right",
        _SPANS,
        '            self.hit &= self.gold.type.take(row, mode="clip") == self.predicted.type\n',
        "            pass\n",
        f"{_TEST}test_array_counts_equal_conlleval_and_seqeval",
    ),
    (
        "F1 is the mean of precision and recall",
        _SPANS,
        "return 2 * self.correct / total if total else 0.0",
        "return (self.precision + self.recall) / 2",
        "tests/evaluation/test_scores.py::test_scores_of_a_hand_worked_case",
    ),
    (
        "micro F1 is that of tokens",
        _SCORES,
        "        micro=Prf.of(counts.micro),",
        "        micro=Prf.of(Counts(len(coded.gold), len(coded.gold), _correct_tokens(coded))),",
        "tests/evaluation/test_scores.py::test_scores_of_a_hand_worked_case",
    ),
    (
        "strict F1 is not strict",
        _SCORES,
        "SpanPair(coded, strict=True)",
        "SpanPair(coded, strict=False)",
        "tests/evaluation/test_scores.py::test_scores_of_a_hand_worked_case",
    ),
    (
        "disagreement with seqeval is passed over",
        _SCORES,
        "if not same or not all(",
        "if not same and not all(",
        "tests/evaluation/test_scores.py::test_disagreement_with_seqeval_is_an_internal_error",
    ),
    (
        "the confusion of types has its axes swapped",
        _SCORES,
        "cells = pair.gold.type[pair.partner[met]] * K + pair.predicted.type[met]",
        "cells = pair.predicted.type[met] * K + pair.gold.type[pair.partner[met]]",
        "tests/evaluation/test_scores.py::test_confusion_of_a_hand_worked_case",
    ),
    (
        "significance exchanges every sentence",
        _SIGNIFICANCE,
        "difference = _f1(total_one + moved) - _f1(total_other - moved)",
        "difference = _f1(total_one + moved) - _f1(total_other + moved)",
        "tests/evaluation/test_significance.py::test_p_value_approaches_enumeration",
    ),
    (
        "a tie is not extreme",
        _SIGNIFICANCE,
        "(np.abs(difference) >= abs(observed) - _TIE)",
        "(np.abs(difference) > abs(observed) + _TIE)",
        "tests/evaluation/test_significance.py::test_p_value_approaches_enumeration",
    ),
    (
        "the bootstrap draws the systems apart",
        _SIGNIFICANCE,
        "_f1(totals[:, :3]) - _f1(totals[:, 3:])",
        "_f1(totals[:, :3]) - _f1(totals[::-1, 3:])",
        "tests/evaluation/test_significance.py::test_identical_systems_have_p_one",
    ),
    (
        "deviations are those of the population",
        _SIGNIFICANCE,
        "np.std(side, ddof=1)",
        "np.std(side)",
        "tests/evaluation/test_significance.py::test_welch_gives_the_papers_p_value",
    ),
    (
        "a word that conlleval takes for a boundary stands in its file",
        _PREDICTIONS,
        'return f"_{joined}_" if joined == CONLLEVAL_BOUNDARY else joined',
        "return joined",
        "tests/evaluation/test_predictions.py::test_conlleval_text_is_mapped_to_iob2",
    ),
    (
        "predictions of other tokens are taken",
        _PREDICTIONS,
        "if list(one) != list(other):",
        "if len(one) != len(other):",
        "tests/evaluation/test_predictions.py::test_gold_tokens_in_equal_predicted_tokens_out",
    ),
    (
        "sentences come in the order of their lengths",
        _TAGGING,
        "predicted[number] = [tags[code] for code in codes]",
        "predicted[len([row for row in predicted if row])] = [tags[code] for code in codes]",
        "tests/tagging/test_tagging.py::test_saved_and_loaded_tags_alike",
    ),
    (
        "the confidence of a span is that of its tokens one by one",
        _TAGGING,
        "alone[row, span.start] + after[row, span.start + 1 : span.end].sum()",
        "alone[row, span.start : span.end].sum()",
        "tests/tagging/test_tagging.py::test_confidences_are_the_probabilities_of_enumerated_paths",
    ),
    (
        "a calibration bin misses its upper edge",
        "taglm_core/evaluation/calibration.py",
        "np.ceil(given * bins).astype(np.int64) - 1",
        "np.floor(given * bins).astype(np.int64)",
        "tests/evaluation/test_calibration.py::test_a_confidence_at_an_edge_belongs_to_the_bin_below",
    ),
]
