"""Masks, padding, directions and dropout of the networks."""

_RNN, _GRU, _PACKING = "taglm_core/nn/rnn.py", "taglm_core/nn/gru.py", "taglm_core/nn/packing.py"
_TAGGER, _DATASET = "taglm_core/nn/tagger_network.py", "taglm_core/tagging/dataset.py"
_CHARACTERS = "taglm_core/nn/characters.py"

MUTATIONS = [
    (
        "sentences are reversed one token too far",
        _RNN,
        "torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)",
        "torch.where(time < lengths[:, None] - 1, lengths[:, None] - 2 - time, time)",
        "tests/nn/test_rnn.py::test_reverse_within",
        "tests/nn/test_rnn.py::test_equals_torch_bidirectional",
    ),
    (
        "backward states are not turned round again",
        _RNN,
        "torch.cat((forward, reverse_within(backward, lengths)), dim=2)",
        "torch.cat((forward, backward), dim=2)",
        "tests/nn/test_rnn.py::test_direction",
    ),
    (
        "the own backward GRU reads forwards",
        _GRU,
        "inputs = (x, take_rows(x, packed.reverse_index))",
        "inputs = (x, x)",
        "tests/nn/test_gru.py::test_states_and_gradients_equal_torch",
    ),
    (
        "the last step of a sequence is taken for the one before",
        _PACKING,
        "last[order] = begins[falling - 1]",
        "last[order] = begins[(falling - 2).clamp(min=0)]",
        "tests/nn/test_characters.py::test_rnn_reads_both_ways",
    ),
    (
        "the update gate of the own GRU is turned round",
        _GRU,
        "torch.lerp(n, h, gate[:, :, units:], out=states[:, here])",
        "torch.lerp(h, n, gate[:, :, units:], out=states[:, here])",
        "tests/nn/test_gru.py::test_states_and_gradients_equal_torch",
    ),
    (
        "the mask of a batch has a token too many",
        _DATASET,
        "mask = np.arange(T)[None, :] < lengths[:, None]",
        "mask = np.arange(T)[None, :] <= lengths[:, None]",
        "tests/tagging/test_tagging.py::test_a_batch_holds_each_token_with_its_own_word_characters_and_states",
    ),
    (
        "tagging goes on with dropout",
        "taglm_core/tagging/tagger_training.py",
        "    network.eval()\n    device = next(network.parameters()).device\n    predicted",
        "    device = next(network.parameters()).device\n    predicted",
        "tests/tagging/test_tagging.py::test_reading_has_no_dropout",
    ),
    (
        "dropout of the tagger is on in evaluation",
        _TAGGER,
        "functional.dropout(x, self.dropout.inputs, self.training)",
        "functional.dropout(x, self.dropout.inputs)",
        "tests/nn/test_tagger.py::test_dropout_only_in_training_and_where_asked",
    ),
    (
        "locked dropout draws a mask a token",
        _TAGGER,
        "torch.ones_like(x[:, :1])",
        "torch.ones_like(x)",
        "tests/nn/test_tagger.py::test_locked_dropout_is_one_mask_a_sentence",
    ),
    (
        "words of the frozen table begin one row too early",
        _TAGGER,
        "torch.where((ids >= count).unsqueeze(-1)",
        "torch.where((ids > count).unsqueeze(-1)",
        "tests/nn/test_tagger.py::test_word_tables",
    ),
    (
        "LM embeddings enter a layer too late",
        _TAGGER,
        "h = rnn(self._join(h, lm, layer, drop=True), batch.lengths)",
        "h = rnn(self._join(h, lm, max(0, layer - 1), drop=True), batch.lengths)",
        "tests/nn/test_tagger.py::test_lm_embeddings_enter_where_they_should",
    ),
    (
        "characters beyond the end of a word are read",
        _CHARACTERS,
        "best = scores[:words].clone()",
        "best = scores[:words].clamp(min=0)",
        "tests/nn/test_characters.py::test_cnn_equals_its_definition",
    ),
    (
        "layers of a language model are mixed by weights that do not add up to one",
        "taglm_core/nn/lm_embedding_mixer.py",
        "self.weights.softmax(0)",
        "self.weights.sigmoid()",
        "tests/nn/test_lm_embedding_mixer.py::test_it_starts_as_the_mean_of_the_layers",
    ),
    (
        "locked dropout is off where it should be on",
        _TAGGER,
        "if self.training and self.dropout.locked:",
        "if not self.training and self.dropout.locked:",
        "tests/nn/test_tagger.py::test_locked_dropout_is_one_mask_a_sentence",
    ),
]
