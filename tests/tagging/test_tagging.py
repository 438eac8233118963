"""Taggers: coding, batches, learning, exact resume, prediction."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taglm_core.config.tagger import NoCharacters, TaggerConfig
from taglm_core.corpus.schemes import Scheme, violations
from taglm_core.corpus.word_vectors import WordVectors, read_vectors
from taglm_core.errors import Interrupted, MismatchError
from taglm_core.evaluation.spans import conlleval_spans
from taglm_core.nn.uninitialised import Uninitialised
from taglm_core.tagging.dataset import JoinedStates, reading_batches, training_batches
from taglm_core.tagging.online_vectors import OnlineVectors, samples
from taglm_core.tagging.prediction import Predictor
from taglm_core.tagging.tagger_training import TaggerTraining, confidences, decode_all, droppable_rows
from taglm_core.tagging.trained import (
    FrozenVectors,
    LmInput,
    TaggerSpec,
    build_network,
    encode,
    load_network,
    load_spec,
    save_tagger,
    start_vectors,
)
from taglm_core.tagging.words import TaggerWords, normalise, tags_of
from taglm_core.training.checkpoints import Checkpoints
from taglm_core.training.devices import PLAIN, Device, open_device
from taglm_core.training.journal import JOURNAL, Journal, read_events
from taglm_core.training.loop import LoopSettings, take_step, train
from taglm_core.training.randomness import numpy_generator, seed_torch
from taglm_core.training.stopping import StopRequest
from tests.devices import DEVICES
from tests.lm.test_training import StopAfter

CONFIG = TaggerConfig.model_validate({
    "units": [8, 8], "words": {"size": 6}, "characters": {"kind": "cnn", "dim": 4, "filters": 6},
    "batch_size": 4, "max_epochs": 6, "patience": 3, "learning_rate": 0.02,
    "annealing": [{"learning_rate": 0.002, "epochs": 2}],
})  # fmt: skip


def corpus(count: int, seed: int) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Capitalised words are persons, numbers are dates of one or two tokens."""
    generator = np.random.default_rng(seed)
    tokens, tags = [], []
    for _ in range(count):
        words, labels = [], []
        for _ in range(int(generator.integers(1, 7))):
            pick = generator.integers(0, 3)
            words += [["saw", f"Name{generator.integers(9)}", str(generator.integers(1900, 1999))][pick]]
            labels += [["O", "S-PER", "S-DATE"][pick]]
        tokens.append(tuple(words))
        tags.append(tuple(labels))
    return tokens, tags


@dataclass(frozen=True)
class Noise:
    """LM states that depend on the sentence number only."""

    size: int
    lengths: tuple[int, ...]

    dtype = np.dtype(np.float16)

    def gather(self, numbers: np.ndarray, out: np.ndarray) -> None:
        for target, number in zip(out, numbers, strict=True):
            target[: self.lengths[number]], target[self.lengths[number] :] = self.sentence(number), 0

    def sentence(self, number: int) -> np.ndarray:
        return np.random.default_rng(number).normal(size=(self.lengths[number], self.size)).astype(np.float16)


def new_training(
    lm_size: int = 0, first_phase: int | None = None, where: str = "cpu"
) -> tuple[TaggerTraining, TaggerSpec]:
    """A fresh training, with or without LM states; with the epochs of the first phase it has no dev set."""
    device = open_device(where, 1)
    (tokens, tags), (dev_tokens, dev_tags) = corpus(40, 1), corpus(15, 2)
    lm = (LmInput("main", "forward", lm_size),) if lm_size else ()
    spec = TaggerSpec(CONFIG, tags_of(tags), TaggerWords.count(tokens, 1), 6, lm)
    seed_torch(1, "tagger")
    start, known = start_vectors(spec, [], 1, {})
    network = build_network(spec, start, FrozenVectors.none(6)).to(device.torch)

    def states(sentences: list[tuple[str, ...]]) -> list[Noise]:
        return [Noise(lm_size, tuple(map(len, sentences)))] if lm_size else []

    train_data = encode(spec, FrozenVectors.none(6), tokens, states(tokens), tags)
    dev_data = encode(spec, FrozenVectors.none(6), dev_tokens, states(dev_tokens))
    droppable = droppable_rows(spec.words.single, len(spec.words), known)
    dev = None if first_phase else (dev_data, dev_tags)
    return TaggerTraining(network, train_data, dev, spec.tags, CONFIG, 1, droppable, first_phase, device), spec


def run(
    folder: Path, stop: StopRequest, lm_size: int = 0, first_phase: int | None = None, where: str = "cpu"
) -> TaggerTraining:
    """Train with a checkpoint after every step."""
    training, _ = new_training(lm_size, first_phase, where)
    journal = Journal(folder / JOURNAL)
    try:
        train(training, checkpoints=Checkpoints(folder / "c", 2), journal=journal, stop=stop, settings=LoopSettings(0))
    finally:
        journal.close()
    return training


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize(("lm_size", "first_phase"), [(0, None), (5, None), (5, 6)])
def test_interrupted_and_resumed_gives_the_same_bits(
    tmp_path: Path, where: str, lm_size: int, first_phase: int | None
) -> None:
    """Stopped in an epoch, between epochs and in the annealing: the same weights and the same dev scores."""
    whole = run(tmp_path / "whole", StopRequest(), lm_size, first_phase, where)
    for looks in (3, 17, 40):
        with pytest.raises(Interrupted):
            run(tmp_path / "parts", StopAfter(looks), lm_size, first_phase, where)
    parts = run(tmp_path / "parts", StopRequest(), lm_size, first_phase, where)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name

    def scores(folder: Path) -> dict[int, float]:
        events = [event for event, _ in read_events(folder / JOURNAL) if event.kind == "metrics"]
        return {event.step: event.values.get("dev/f1", -1.0) for event in events}

    assert scores(tmp_path / "whole") == scores(tmp_path / "parts")
    assert whole.schedule.best == parts.schedule.best


@pytest.mark.parametrize("lm_size", [0, 5])
@pytest.mark.parametrize("where", DEVICES)
def test_nothing_reads_memory_that_nobody_wrote(lm_size: int, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fresh memory full of nan, as torch leaves it where asked to, the same losses and the same tags."""
    found = []
    for filled in (False, True):
        training, spec = new_training(lm_size, where=where)
        monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", filled)
        assert not filled or bool(torch.empty(3).isnan().all())
        losses = [take_step(training) for _ in range(5)]
        found.append((losses, decode_all(training._network, training._train, spec.tags)))
    assert found[0] == found[1]


@pytest.mark.parametrize("where", DEVICES)
def test_it_learns_and_ends_with_the_best_model(tmp_path: Path, where: str) -> None:
    """The pattern is learnt; the final weights score what the schedule calls the best."""
    training = run(tmp_path, StopRequest(), where=where)
    assert training.schedule.best[0] > 0.9
    assert training.dev_f1() == training.schedule.best[0]


def test_fixed_epochs_end_with_the_last_model(tmp_path: Path) -> None:
    """Without dev: as many epochs as given, the phases after them, no score anywhere, and the last weights."""
    training = run(tmp_path, StopRequest(), first_phase=3)
    events = [event.values for event, _ in read_events(tmp_path / JOURNAL) if event.kind == "metrics"]
    assert [values["learning_rate"] for values in events] == [0.02] * 3 + [0.002] * 2
    assert not any("dev/f1" in values for values in events)
    assert training.schedule.best[1] == 5
    other, _ = new_training(first_phase=3)
    journal = Journal(tmp_path / "other")
    while not other.finished():
        before = [parameter.detach().clone() for parameter in other.model.parameters()]
        loss = take_step(other)
        after = [parameter.detach().clone() for parameter in other.model.parameters()]
        assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        other.after_step(loss, journal)
        assert all(torch.equal(a, b) for a, b in zip(after, other.model.parameters(), strict=True))
    journal.close()
    assert all(torch.equal(a, b) for a, b in zip(after, training.model.parameters(), strict=True))
    with pytest.raises(ValueError, match="nothing to be scored on"):
        training.dev_f1()
    with pytest.raises(ValueError, match="dev is given and first_phase 3; expected one of them"):
        TaggerTraining(
            training._network, training._train, (training._train, []), ("O",), CONFIG, 1, torch.zeros(0), first_phase=3
        )


def test_two_splits_side_by_side_keep_their_states() -> None:
    """Sentence n of the joined states is sentence n of the first, then of the second."""
    first, second = Noise(3, (2, 1)), Noise(3, (4,))
    joined = JoinedStates(first, 2, second)
    assert joined.size == 3
    out = np.full((3, 5, 3), np.nan, joined.dtype)
    joined.gather(np.array([2, 0, 1]), out)
    for target, (states, its) in zip(out, [(second, 0), (first, 0), (first, 1)], strict=True):
        length = states.lengths[its]
        assert np.array_equal(target[:length], states.sentence(its))
        assert not target[length:].any()


KINDS = [
    {"characters": {"kind": "gru", "dim": 3, "units": 4}, "units": [5]},
    {"characters": {"kind": "lstm", "dim": 3, "units": 4, "layers": 1}, "cell": "lstm", "units": [5, 4, 3]},
    {"characters": {"kind": "none"}, "locked_dropout": 0.3, "word_dropout": 0.2},
    {"lm": {"position": "input"}},
    {"lm": {"position": "layer-2-output", "projection": 4, "activation": "relu"}},
    {"lm": {"mix": True, "norm": True, "dropout": 0.5}},
    {"lm": {"scale": True, "position": "only"}},
    {"output": "softmax"},
    {"output": "softmax", "lm": {"position": "only"}},
    {"preset": "paper-ner", "units": [6, 6], "characters": {"units": 5}},
    {"preset": "paper-chunking", "units": [6, 6]},
]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_every_part_is_configured_trained_saved_and_loaded(settings: dict[str, Any], tmp_path: Path) -> None:
    """A step of training changes every parameter that can be reached; from its files come the same tags."""
    (tokens, tags), lm = corpus(12, 1), (LmInput("main", "forward", 5), LmInput("main", "backward", 4))
    # one batch holds all: each word row gets a gradient, but the unknown word's
    config = TaggerConfig.model_validate({**settings, "batch_size": 12, "words": {"size": 6, "dropout": 0.0}})
    spec = TaggerSpec(config, tags_of(tags), TaggerWords.count(tokens, 1), 6, lm)
    seed_torch(1, "tagger")
    network = build_network(spec, start_vectors(spec, [], 1, {})[0], FrozenVectors.none(6))
    states = [Noise(size, tuple(map(len, tokens))) for _, _, size, _ in lm]
    data = encode(spec, FrozenVectors.none(6), tokens, states, tags)
    training = TaggerTraining(network, data, (data, tags), spec.tags, config, 1, torch.zeros(0, dtype=torch.int64))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    take_step(training)
    single = {"lm.sources.0.weights", "lm.sources.1.weights"}  # the share of a single layer is 1
    assert {name for name, parameter in network.named_parameters() if torch.equal(before[name], parameter)} <= single
    save_tagger(network, spec, {}, tmp_path)
    loaded, _ = load_spec(tmp_path)
    assert loaded.config == config
    again = load_network(tmp_path, loaded, FrozenVectors.none(6), torch.device("cpu"))
    assert decode_all(again, data, spec.tags) == decode_all(network, data, spec.tags)
    reads = network.words is not None
    assert reads == (config.lm.position != "only")


@pytest.mark.parametrize(("settings", "rounded"), [(KINDS[0], True), (KINDS[1], False)], ids=("gru", "lstm"))
def test_trained_in_bfloat16(settings: dict[str, Any], rounded: bool) -> None:
    """GRUs multiply in it, LSTMs do not; the loss is near that of float32, and it and all gradients are float32."""
    tokens, tags = corpus(12, 1)
    config = TaggerConfig.model_validate({**settings, "dropout": 0.0, "words": {"size": 6, "dropout": 0.0}})
    spec = TaggerSpec(config, tags_of(tags), TaggerWords.count(tokens, 1), 6, ())
    losses = []
    nothing = torch.zeros(0, dtype=torch.int64)
    for device in (PLAIN, Device("cpu", 1, precision="bfloat16")):
        seed_torch(1, "tagger")
        network = build_network(spec, start_vectors(spec, [], 1, {})[0], FrozenVectors.none(6))
        data = encode(spec, FrozenVectors.none(6), tokens, [], tags)
        training = TaggerTraining(network, data, (data, tags), spec.tags, config, 1, nothing, device=device)
        network.train()
        loss = training.loss()
        loss.backward()
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())
        assert loss.dtype == torch.float32
        losses.append(loss.item())
    assert (losses[0] != losses[1]) is rounded
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def vector_file(folder: Path, scale: float = 1.0) -> Path:
    """Vectors of names and years, some of which training does not have."""
    generator = np.random.default_rng(5)
    words = ("saw", "anna", "bert", "carl", "dora", "emil", "0000")
    rows = {word: (scale * generator.normal(size=6)).round(4) for word in words}
    path = folder / f"vectors-{scale}.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in rows.items()))
    return path


def test_words_that_training_lacks_have_their_vectors_at_prediction(tmp_path: Path, caplog: Any) -> None:
    """With the vector file a predictor tags as the evaluation does; without it they are unknown, and it says so."""
    path = vector_file(tmp_path, 8.0)
    sentences = [("saw", "Anna"), ("Bert", "saw")]
    # characters would tell the words apart without vectors
    config = CONFIG.model_copy(update={"characters": NoCharacters()})
    vectors = read_vectors(path, {token for sentence in sentences for token in sentence})
    spec = TaggerSpec(config, ("O", *(f"S-{letter}" for letter in "ABCDEFGH")), TaggerWords.count(sentences, 1), 6, ())
    seed_torch(3, "tagger")
    network = build_network(spec, start_vectors(spec, [vectors], 3, {})[0], FrozenVectors.none(6))
    torch.nn.init.normal_(network.dense.weight, std=5)
    save_tagger(network, spec, {"vector_samples": samples([vectors])}, tmp_path)
    new = [("Carl", "saw", "Dora", "strange"), ("EMIL", "Bert"), (), ("Carl", "1999", "Carl", "saw", "Emil")]
    filled = [sentence for sentence in new if sentence]
    needed = read_vectors(path, {token for sentence in filled for token in sentence})
    frozen = FrozenVectors.of(spec.words, [needed])
    evaluated = load_network(tmp_path, spec, frozen, torch.device("cpu"))
    expected = decode_all(evaluated, encode(spec, frozen, filled, []), spec.tags)
    with_file = Predictor.load(tmp_path, [], vectors=path)
    assert not caplog.records
    found = with_file.tag(new)
    assert [tags for tags in found if tags] == expected
    assert [with_file.tag([sentence])[0] for sentence in reversed(new)] == list(reversed(found))
    path.rename(tmp_path / "moved")  # what was met is not looked up again
    assert with_file.tag(new) == found
    (tmp_path / "moved").rename(path)
    without = Predictor.load(tmp_path, [])
    assert "words outside of its 3 training words have no vectors here" in caplog.text
    unknown = [tuple("?" if token in frozen.rows else token for token in sentence) for sentence in new]
    assert without.tag(new) == without.tag(unknown) != found


def test_another_vector_file_is_refused(tmp_path: Path) -> None:
    """Other values, words or length, and any file for a tagger that was trained without one: each is an error."""
    path, words = vector_file(tmp_path), TaggerWords(("saw",), 0)
    expected = samples([read_vectors(path, {"saw", "Anna", "1999"})])
    assert len(expected) == 3
    OnlineVectors(path, words, 6, expected)
    with pytest.raises(MismatchError, match="give the file it was trained with"):
        OnlineVectors(vector_file(tmp_path, 2.0), words, 6, expected)
    with pytest.raises(MismatchError, match="give the file it was trained with"):
        OnlineVectors(path, words, 6, {**expected, "absent": [0.0] * 6})
    with pytest.raises(MismatchError, match=r"6 values a word.*7 values"):
        OnlineVectors(path, words, 7, expected)
    with pytest.raises(MismatchError, match="trained without a vector file; give none"):
        OnlineVectors(path, words, 6, {})


def test_saved_and_loaded_tags_alike(tmp_path: Path) -> None:
    """Files hold everything: same tags, posterior confidences between 0 and 1, one tag a token."""
    training, spec = new_training()
    save_tagger(training._network, spec, {"parameters": 1}, tmp_path)
    loaded, facts = load_spec(tmp_path)
    assert (loaded, facts["parameters"]) == (spec, 1)
    network = load_network(tmp_path, loaded, FrozenVectors.none(6), torch.device("cpu"))
    tokens, _ = corpus(9, 7)
    data = encode(loaded, FrozenVectors.none(6), tokens, [])
    tags = decode_all(network, data, loaded.tags)
    assert tags == decode_all(training._network, data, spec.tags) == Predictor.load(tmp_path, []).tag(tokens)
    assert [len(row) for row in tags] == [len(row) for row in tokens]


def test_confidences_are_the_probabilities_of_enumerated_paths() -> None:
    """Of each token's tag and of each span's whole stretch of tags, by summing over all paths of the sentence."""
    training, spec = new_training()
    network, tags = training._network.eval(), spec.tags
    torch.nn.init.normal_(network.crf.transitions)
    tokens = [("Name1", "saw", "1912", "Name2"), ("1999",), ("saw", "Name3", "Name4")]
    data = encode(spec, FrozenVectors.none(6), tokens, [])
    # Renamed, so that spans have several tokens.
    renamed = [{"S-PER": "B-PER", "S-DATE": "E-PER", "O": "O"}[tag] for tag in tags]
    predicted = [["B-PER", "E-PER", "O", "E-PER"], ["O"], ["B-PER", "E-PER", "E-PER"]]
    found = confidences(network, data, predicted, renamed)
    spans_met = 0
    for number, sentence in enumerate(predicted):
        with torch.no_grad():
            emissions = network.emissions(data.batch([number]))[0].double()
        paths = list(itertools.product(range(3), repeat=len(sentence)))
        scores = torch.stack([
            sum(emissions[t, tag] for t, tag in enumerate(path))
            + sum(network.crf.transitions[a, b].double() for a, b in itertools.pairwise(path))
            for path in paths
        ])  # fmt: skip
        shares, gold = scores.detach().softmax(0), [renamed.index(tag) for tag in sentence]

        def share(first: int, end: int, paths: list[tuple[int, ...]], shares: torch.Tensor, gold: list[int]) -> float:
            same = [list(path[first:end]) == gold[first:end] for path in paths]
            return float(shares[torch.tensor(same)].sum())

        expected = [share(t, t + 1, paths, shares, gold) for t in range(len(sentence))]
        assert found.tokens[number] == pytest.approx(expected, rel=1e-4)
        spans = conlleval_spans(sentence)
        expected = [share(span.start, span.end, paths, shares, gold) for span in spans]
        assert found.spans[number] == pytest.approx(expected, rel=1e-4)
        spans_met += sum(span.end - span.start > 1 for span in spans)
    assert spans_met == 2


def test_a_batch_holds_each_token_with_its_own_word_characters_and_states() -> None:
    """Chosen out of order, with two language models: every row is its sentence's, zeros behind it."""
    tokens = [("saw", "Name1"), ("Name2",), ("Name1", "saw", "Name3", "saw"), ("1912", "Name2", "Name1")]
    _, spec = new_training()
    lengths = tuple(map(len, tokens))
    states = [Noise(5, lengths), Noise(2, lengths)]
    data = encode(spec, FrozenVectors.none(6), tokens, states)
    for chosen in ([2, 0, 3], [1], [3, 1, 0, 2]):
        batch = data.batch(chosen)
        assert batch.lm is not None
        for row, number in enumerate(chosen):
            n = len(tokens[number])
            alone = encode(spec, FrozenVectors.none(6), [tokens[number]], []).batch([0])
            assert batch.words[row, :n].tolist() == alone.words[0].tolist()
            joined = np.concatenate([its.sentence(number) for its in states], axis=1)
            assert np.array_equal(batch.lm[row, :n].numpy(), joined.astype(np.float32))
            assert not batch.lm[row, n:].any()
            mine, its = batch.distinct_chars[batch.char_index[row, :n]], alone.distinct_chars[alone.char_index[0]]
            width = min(mine.shape[1], its.shape[1])
            assert torch.equal(mine[:, :width], its[:, :width])
            assert not mine[:, width:].any()


def test_prediction_takes_empty_sentences_and_wants_its_language_models(tmp_path: Path) -> None:
    """An empty sentence has no tags; a tagger with LM embeddings refuses to run without its LM."""
    training, spec = new_training()
    save_tagger(training._network, spec, {}, tmp_path)
    assert Predictor.load(tmp_path, []).tag([(), ("Name1",), ()])[::2] == [[], []]
    assert Predictor.load(tmp_path, []).tag([]) == []
    training, spec = new_training(lm_size=5)
    save_tagger(training._network, spec, {}, tmp_path)
    with pytest.raises(MismatchError, match="forward"):
        Predictor.load(tmp_path, [])


def test_batches_cover_every_sentence_once() -> None:
    """Training: all sentences, shuffled by seed; reading: all, shortest first."""
    lengths = np.random.default_rng(0).integers(1, 40, size=333)
    epoch = training_batches(lengths, 8, numpy_generator(1, "b", 0))
    assert sorted(np.concatenate(epoch).tolist()) == list(range(333))
    other = training_batches(lengths, 8, numpy_generator(1, "b", 1))
    assert [batch.tolist() for batch in epoch] != [batch.tolist() for batch in other]
    reading = np.concatenate(list(reading_batches(lengths, 8)))
    assert sorted(reading.tolist()) == list(range(333))
    assert (np.diff(lengths[reading]) >= 0).all()
    padding = sum(int(lengths[batch].max()) * len(batch) for batch in epoch) / lengths.sum()
    assert padding < 1.25


def test_words_come_from_training_and_vectors_fill_in() -> None:
    """Look-up is lower-cased with digits to zero; words with only a vector get a frozen row, others the unknown one."""
    assert normalise("In1999") == "in0000"
    words = TaggerWords.count([("The", "the", "cat"), ("1999",)], 1)
    assert words.words == ("the", "0000", "cat")
    assert words.single == 2
    vectors = WordVectors(("Dog", "The"), np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), {})
    spec = TaggerSpec(CONFIG, ("O",), words, 2, ())
    table, known = start_vectors(spec, [vectors], 1, {"The": 1})
    assert (table[1].tolist(), known) == ([3.0, 4.0], {1})
    assert droppable_rows(words.single, len(words), known).tolist() == [2, 3]
    frozen = FrozenVectors.of(words, [vectors])
    data = encode(spec, frozen, [("The", "Dog", "zebra", "1812")], [])
    assert data.words.tolist() == [1, len(words), 0, 2]
    assert frozen.matrix.tolist() == [[1.0, 2.0]]


def test_forms_of_a_word_start_from_the_vector_of_the_most_frequent() -> None:
    """With a cased file `THE` is no better start for `the` than any other year is for 1996."""
    sentences = [("THE", "The", "the", "the"), ("1996", "1996", "1000", "US", "US", "us")]
    words = TaggerWords.count(sentences, 1)
    forms = ("1000", "1996", "THE", "The", "US", "the", "us")
    train = WordVectors(forms, np.arange(7, dtype=np.float32)[:, None], {})
    dev = WordVectors(("Us", "tHE"), np.array([[8], [9]], np.float32), {})
    table, _ = start_vectors(
        TaggerSpec(CONFIG, ("O",), words, 1, ()), [train, dev], 1, Counter(itertools.chain(*sentences))
    )
    assert {word: table[row].item() for word, row in words.ids.items()} == {"the": 5, "0000": 1, "us": 4}


def test_all_variants_start_from_the_same_word_vectors() -> None:
    """Random vectors depend on the seed alone, not on what else a variant has."""
    (one, spec), (two, _) = new_training(), new_training(lm_size=5)
    assert torch.equal(one._network.words.weight, two._network.words.weight)
    assert not torch.equal(start_vectors(spec, [], 1, {})[0], start_vectors(spec, [], 2, {})[0])


def test_tags_are_ordered_and_taken_from_training() -> None:
    """O first, then by type and position; types may hold hyphens."""
    assert tags_of([("S-B", "O"), ("B-A-X", "E-A-X")]) == ("O", "B-A-X", "E-A-X", "S-B")


def test_constraints_leave_no_invalid_sequence() -> None:
    """An untrained tagger writes nonsense; with constraints its tags are always BIOES, and the loss is finite."""
    tokens, _ = corpus(30, 3)
    tags = ("O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "DATE")))
    gold = [("O",) * len(sentence) for sentence in tokens]

    def decoded(constraints: bool) -> list[list[str]]:
        config = CONFIG.model_copy(update={"constraints": constraints})
        spec = TaggerSpec(config, tags, TaggerWords.count(tokens, 1), 6, ())
        seed_torch(5, "tagger")
        network = build_network(spec, start_vectors(spec, [], 5, {})[0], FrozenVectors.none(6))
        torch.nn.init.normal_(network.dense.weight, std=3)
        data = encode(spec, FrozenVectors.none(6), tokens, [], gold)
        assert torch.isfinite(network.loss(data.batch(list(range(len(tokens))))))
        return decode_all(network, data, tags)

    def broken(sentences: list[list[str]]) -> int:
        return sum(len(violations(sentence, Scheme.BIOES)) for sentence in sentences)

    assert broken(decoded(constraints=False))
    assert not broken(decoded(constraints=True))


def test_a_softmax_has_no_scores_of_pairs_and_predicts_each_token_by_itself(tmp_path: Path) -> None:
    """From its files: probabilities are softmaxes of the emissions, a path's is their product."""
    tokens, tags = corpus(20, 3)
    networks = {}
    for output in ("crf", "softmax"):
        config = TaggerConfig.model_validate({**CONFIG.model_dump(), "output": output})
        spec = TaggerSpec(config, tags_of(tags), TaggerWords.count(tokens, 1), 6, ())
        seed_torch(5, "tagger")
        networks[output] = build_network(spec, start_vectors(spec, [], 5, {})[0], FrozenVectors.none(6))
    counts = {output: sum(p.numel() for p in network.parameters()) for output, network in networks.items()}
    assert counts["crf"] - counts["softmax"] == len(spec.tags) ** 2
    network = networks["softmax"].eval()
    save_tagger(network, spec, {}, tmp_path)
    predictor = Predictor.load(tmp_path, [])
    assert predictor.spec.config.output == "softmax"
    data = encode(spec, FrozenVectors.none(6), tokens, [])
    for number, found in enumerate(predictor.predict(tokens, marginals=True, n_best=2)):
        with torch.no_grad():
            shares = network.emissions(data.batch([number]))[0].softmax(1)
        assert found.marginals is not None
        assert found.marginals == pytest.approx(shares.numpy(), rel=1e-4)
        assert found.tags == tuple(spec.tags[code] for code in shares.argmax(1).tolist())
        assert found.paths[0] == (found.tags, pytest.approx(float(shares.amax(1).prod()), rel=1e-4))
        for span in found.spans:
            expected = float(shares.amax(1)[span.start : span.end].prod())
            assert span.confidence == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "two", "lm_size", "one"),
    [
        ({}, [200, 200], 0, 380),
        ({}, [200, 200], 256, 486),
        ({"preset": "paper-ner"}, [300, 300], 0, 553),
        ({"preset": "paper-ner"}, [300, 300], 256, 659),
        ({"preset": "paper-chunking"}, [200, 200], 0, 381),
        ({"preset": "paper-chunking"}, [200, 200], 256, 487),
    ],
)
def test_one_layer_of_equal_size(settings: dict[str, Any], two: list[int], lm_size: int, one: int) -> None:
    """The widths in docs/tag.md: no other one comes nearer to the parameters of two layers."""
    tags = ("O", *(f"{position}-{kind}" for position in "BIES" for kind in ("LOC", "MISC", "ORG", "PER")))
    lm = tuple(LmInput("main", way, lm_size) for way in ("forward", "backward")) if lm_size else ()

    def count(units: list[int]) -> int:
        spec = TaggerSpec(
            TaggerConfig.model_validate({**settings, "units": units}), tags, TaggerWords(("a",), 0), 50, lm
        )
        with torch.device("meta"), Uninitialised():
            network = build_network(spec, torch.zeros(2, 50), FrozenVectors.none(50))
        return sum(parameter.numel() for parameter in network.parameters())

    distances = {units: abs(count([units]) - count(two)) for units in (one - 1, one, one + 1)}
    assert min(distances, key=lambda units: distances[units]) == one


def test_reading_has_no_dropout() -> None:
    """Tags and confidences are the same whenever they are asked for, also in the middle of training."""
    training, spec = new_training()
    network, data = training._network, training._train
    torch.nn.init.normal_(network.dense.weight, std=5)
    tags, found = [], []
    for _ in range(2):
        network.train()
        tags.append(decode_all(network, data, spec.tags))
        network.train()
        found.append(confidences(network, data, tags[0], spec.tags))
    assert tags[0] == tags[1]
    assert found[0] == found[1]


def test_every_epoch_has_its_own_batches(tmp_path: Path) -> None:
    """Shuffled anew, each sentence once."""
    training, _ = new_training()
    epochs = []
    with contextlib.closing(Journal(tmp_path / JOURNAL)) as journal:
        for _ in range(2):
            epochs.append([batch.tolist() for batch in training._batches])
            for _ in epochs[-1]:
                training.after_step(training.loss().item(), journal)
    first, second = epochs
    for batches in epochs:
        assert sorted(itertools.chain(*batches)) == list(range(40))
    assert first != second


def test_the_weights_of_the_best_epoch_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the later epochs bring: annealing starts from them, and the tagger ends with them."""
    training, _ = new_training()
    scores, seen = iter([0.2, 0.9, 0.1, 0.3, 0.4, 0.5, 0.6]), list[dict[str, torch.Tensor]]()

    def score() -> float:
        seen.append({name: weight.clone() for name, weight in training.model.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(training, "dev_f1", score)
    with contextlib.closing(Journal(tmp_path / JOURNAL)) as journal:
        while not training.finished():
            training.after_step(take_step(training), journal)
    assert (len(seen), training.schedule.best) == (7, (0.9, 2))
    assert all(torch.equal(weight, seen[1][name]) for name, weight in training.model.state_dict().items())
    assert any(not torch.equal(weight, seen[1][name]) for name, weight in seen[6].items())
