from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.characters import CharCnn, CharRnn
from taglm_core.nn.crf import Crf
from taglm_core.nn.lm_embedding_mixer import LmEmbeddingMixer, LmSource
from taglm_core.nn.rnn import Cell, matching_units
from taglm_core.nn.tagger_network import Batch, Dropout, Tagger, random_word_vectors

WORDS, FROZEN, TAGS, LM = 10, 4, 5, 6
DROPOUT = Dropout(0.3)
LENGTHS = (6, 1, 4)


def lm_vectors(size: int, **options: Any) -> LmEmbeddingMixer:
    """LM embeddings of one layer of one source."""
    return LmEmbeddingMixer([LmSource(size)], **options)


def build(*, lm_size: int = 0, characters: bool = True, words: bool = True, frozen: bool = True, seed: int = 0,
          dropout: Dropout = DROPOUT, constraints: Tensor | None = None, **options: Any) -> Tagger:  # fmt: skip
    """A small tagger with random transitions."""
    torch.manual_seed(seed)
    tagger = Tagger(
        Crf(TAGS, start_end=True, constraints=constraints),
        characters=CharCnn(12, 4, [(1, 3), (3, 4)], activation="relu") if characters else None,
        word_vectors=random_word_vectors(WORDS, 7, torch.Generator().manual_seed(seed)) if words else None,
        frozen_vectors=torch.randn(FROZEN, 7) if frozen and words else None,
        **({"lm": lm_vectors(lm_size)} if lm_size else {}),
        dropout=dropout,
        **{"units": (8, 9), "cell": "gru", **options},
    )
    for parameter in tagger.crf.parameters():
        nn.init.normal_(parameter)
    return tagger


def only_lm(**options: Any) -> Tagger:
    """Dense layer and CRF on the LM embeddings."""
    return build(lm_size=LM, lm_layer=0, units=(), characters=False, words=False, **options)


def make_batch(*, lm: bool = False, padding_seed: int = 0) -> Batch:
    """Three sentences; what stands at padding depends on `padding_seed` alone."""
    g = torch.Generator().manual_seed(1)
    lengths = torch.tensor(LENGTHS)
    mask = torch.arange(6) < lengths[:, None]
    noise = torch.Generator().manual_seed(padding_seed)

    def pad(x: Tensor, high: int) -> Tensor:
        return torch.where(mask, x, torch.randint(high, x.shape, generator=noise))

    chars = torch.zeros(9, 6, dtype=torch.int64)
    for row in range(9):
        chars[row, : 3 + row % 4] = torch.randint(1, 12, (3 + row % 4,), generator=g)
    vectors = torch.randn(3, 6, LM, generator=g)
    vectors = torch.where(mask.unsqueeze(-1), vectors, torch.randn(3, 6, LM, generator=noise))
    return Batch(
        words=pad(torch.randint(WORDS + FROZEN, (3, 6), generator=g), WORDS),
        distinct_chars=chars,
        char_index=pad(torch.randint(9, (3, 6), generator=g), 9),
        lengths=lengths,
        mask=mask,
        tags=pad(torch.randint(TAGS, (3, 6), generator=g), TAGS),
        lm=vectors if lm else None,
    )


def one(batch: Batch, row: int) -> Batch:
    """One sentence of a batch, without padding."""
    length = int(batch.lengths[row])

    def cut(x: Tensor) -> Tensor:
        return x[row : row + 1, :length]

    assert batch.tags is not None
    return Batch(
        cut(batch.words),
        batch.distinct_chars,
        cut(batch.char_index),
        batch.lengths[row : row + 1],
        cut(batch.mask),
        cut(batch.tags),
        None if batch.lm is None else cut(batch.lm),
    )


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("lm_size", "expected"), [(0, 1_623_600), (1536, 4_388_400), (1024, 3_466_800)])
def test_ner_layer_sizes(lm_size: int, expected: int) -> None:
    """The paper's NER sizes: 210 features into layer 1, and layer 2 with and without LM embeddings."""
    tagger = Tagger(
        Crf(17),
        characters=CharRnn(100, 25, 80, 2, cell="gru", dropout=0.25),
        word_vectors=torch.zeros(3, 50),
        units=(300, 300),
        cell="gru",
        dropout=Dropout(0.25),
        lm=lm_vectors(lm_size) if lm_size else None,
    )
    assert count(tagger.layers[0]) == 921_600
    assert count(tagger.layers[1]) == expected
    assert count(tagger.dense) == 600 * 17 + 17
    assert count(tagger.crf) == 17 * 17


@pytest.mark.parametrize(("lm_size", "expected"), [(0, 963_200), (1024, 2_601_600), (1536, 3_420_800)])
def test_chunking_layer_sizes(lm_size: int, expected: int) -> None:
    """The paper's chunking sizes: LSTMs of 200 units a direction."""
    tagger = Tagger(
        Crf(45),
        characters=CharCnn(100, 30, [(3, 30)], activation="tanh", dropout=0.5),
        word_vectors=torch.zeros(3, 50),
        units=(200, 200),
        cell="lstm",
        dropout=Dropout(0.5, output=True),
        lm=lm_vectors(lm_size) if lm_size else None,
    )
    assert tagger.layers[0].inputs == 80
    assert count(tagger.layers[1]) == expected


PLACES: dict[str, dict[str, Any]] = {
    "baseline": {},
    "lstm": {"lm_size": LM, "cell": "lstm"},
    "no characters": {"characters": False},
    "input": {"lm_size": LM, "lm_layer": 0},
    "top": {"lm_size": LM, "lm_layer": 2},
    "one layer": {"lm_size": LM, "units": (8,)},
    "four layers": {"lm_size": LM, "units": (8, 5, 4, 3), "lm_layer": 3},
    "prepared": {
        "lm": LmEmbeddingMixer(
            [LmSource(2), LmSource(2, 2)], mix=True, norm=True, projection=3, activation="tanh", dropout=0.2
        )
    },
    "only": {"lm_size": LM, "lm_layer": 0, "units": (), "characters": False, "words": False},
}


@pytest.mark.parametrize("options", PLACES.values(), ids=PLACES)
def test_batch_equals_one_by_one(options: dict[str, Any]) -> None:
    """Scores, loss, marginals and tags of a padded batch are those of its sentences alone, gradients included."""
    tagger = build(**options).eval()
    batch = make_batch(lm=tagger.lm_size > 0)
    emissions, marginals, decoded = tagger.emissions(batch), tagger.marginals(batch), tagger.decode(batch)
    loss = tagger.loss(batch)
    alone = [one(batch, row) for row in range(3)]
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(emissions[row, :length], tagger.emissions(alone[row])[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(marginals[row, :length], tagger.marginals(alone[row])[0], atol=1e-6, rtol=0)
        assert decoded[row] == tagger.decode(alone[row])[0]
    assert [len(tags) for tags in decoded] == list(LENGTHS)
    single = torch.stack([tagger.loss(sentence) for sentence in alone]).mean()
    torch.testing.assert_close(loss, single)
    parameters = list(tagger.parameters())
    assert len(parameters) == len(set(parameters))
    for gradient, expected in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(single, parameters), strict=True
    ):
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("options", [{"lm_size": LM}, *list(PLACES.values())[3:]])
def test_padding_does_not_matter(options: dict[str, Any]) -> None:
    """Other words, characters, tags and LM embeddings at padding change nothing, not even a bit of the loss."""
    tagger = build(**options).eval()
    first, second = make_batch(lm=True), make_batch(lm=True, padding_seed=7)
    assert not torch.equal(first.words, second.words)
    assert torch.equal(tagger.loss(first), tagger.loss(second))
    assert tagger.decode(first) == tagger.decode(second)


def test_every_input_counts() -> None:
    """Word, characters and LM embedding of any token move the scores of the whole sentence, and of no other."""
    tagger, batch = build(lm_size=LM).eval(), make_batch(lm=True)
    before = tagger.emissions(batch)
    assert batch.lm is not None
    for token in range(4):
        words, chars, lm = batch.words.clone(), batch.char_index.clone(), batch.lm.clone()
        words[2, token] = (words[2, token] + 1) % WORDS
        chars[2, token] = (chars[2, token] + 1) % 9
        lm[2, token] += 1
        for change in ({"words": words}, {"char_index": chars}, {"lm": lm}):
            moved = (tagger.emissions(dataclasses.replace(batch, **change)) - before).abs().amax(2) > 1e-7
            assert moved.tolist() == [[False] * 6, [False] * 6, [True] * 4 + [False] * 2]


def test_word_tables() -> None:
    """Ids from V on read the frozen rows, which get no gradient and are not saved; ids below V are trained."""
    tagger, batch = build(), make_batch()
    assert tagger.words is not None
    assert tagger.frozen_vectors is not None
    ids = torch.tensor([[0, WORDS - 1, WORDS, WORDS + FROZEN - 1]])
    rows = torch.cat((tagger.words.weight, tagger.frozen_vectors))
    torch.testing.assert_close(tagger._embed_words(tagger.words, ids)[0], rows[ids[0]])
    words = batch.words.clamp(min=2)
    words[0, :2] = torch.tensor([3, WORDS + 1])
    tagger.loss(dataclasses.replace(batch, words=words)).backward()
    gradient = tagger.words.weight.grad
    assert gradient is not None
    used = set(words[batch.mask].tolist())
    assert {row for row in range(WORDS) if gradient[row].any()} == {word for word in used if word < WORDS}
    assert not any("frozen" in name for name in tagger.state_dict())
    assert not any(parameter is tagger.frozen_vectors for parameter in tagger.parameters())
    with pytest.raises(IndexError):
        tagger._embed_words(tagger.words, torch.tensor([[WORDS + FROZEN]]))
    tagger.set_frozen_vectors(None)
    with pytest.raises(IndexError):
        tagger._embed_words(tagger.words, torch.tensor([[WORDS]]))
    with pytest.raises(ValueError, match=r"\[3, 6\]; expected \[V2, 7\]"):
        tagger.set_frozen_vectors(torch.zeros(3, 6))


def test_given_vectors_are_copied() -> None:
    """Training does not write into the caller's vectors."""
    vectors = torch.zeros(WORDS, 7)
    tagger = Tagger(Crf(TAGS), characters=None, word_vectors=vectors, units=(8, 8), cell="gru", dropout=Dropout())
    assert tagger.words is not None
    with torch.no_grad():
        tagger.words.weight.fill_(1)
    assert tagger.words.weight.requires_grad
    assert not vectors.any()


def test_dropout_only_in_training_and_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout is off in evaluation; in training it covers each layer's input, and the last output only if asked."""
    batch = make_batch(lm=True)
    for output, expected in ((False, [14, 16 + LM]), (True, [14, 16 + LM, 18])):
        tagger = build(lm_size=LM, dropout=Dropout(0.3, output=output))
        assert not torch.equal(tagger.emissions(batch), tagger.emissions(batch))
        dropped: list[int] = []
        drop = tagger._drop
        monkeypatch.setattr(tagger, "_drop", lambda x, d=dropped, f=drop: (d.append(x.shape[2]), f(x))[1])
        tagger.emissions(batch)
        assert dropped == expected
        tagger.eval()
        assert torch.equal(tagger.emissions(batch), tagger.emissions(batch))


def test_lm_input_errors() -> None:
    """LM embeddings that are missing, unexpected or of another size are refused with both shapes."""
    with pytest.raises(ValueError, match=r"missing; this tagger needs lm of shape \[3, 6, 6\]"):
        build(lm_size=LM).loss(make_batch())
    with pytest.raises(ValueError, match=r"lm has shape \[3, 6, 6\], but this tagger was made without LM"):
        build().decode(make_batch(lm=True))
    with pytest.raises(ValueError, match=r"lm has shape \[3, 6, 6\]; this tagger needs \[3, 6, 8\]"):
        build(lm_size=8).marginals(make_batch(lm=True))
    with pytest.raises(ValueError, match=r"tags are missing; words \[3, 6\]"):
        build().loss(dataclasses.replace(make_batch(), tags=None))
    with pytest.raises(ValueError, match="lm_layer is 3; expected 0 to 2"):
        build(lm_size=LM, lm_layer=3)
    with pytest.raises(ValueError, match="the lowest layer has nothing to read"):
        Tagger(
            Crf(TAGS),
            characters=None,
            word_vectors=None,
            units=(8,),
            cell="gru",
            dropout=Dropout(),
            lm=lm_vectors(LM),
        )
    with pytest.raises(ValueError, match=r"frozen vectors have shape \[4, 7\]; expected \[V2, 0\]"):
        only_lm().set_frozen_vectors(torch.zeros(4, 7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"char_index": torch.zeros(3, 5, dtype=torch.int64)}, r"char_index has shape \[3, 5\]; words \[3, 6\]"),
        ({"tags": torch.zeros(2, 6, dtype=torch.int64)}, r"tags has shape \[2, 6\]; words \[3, 6\]"),
        ({"lm": torch.zeros(3, 5, LM)}, r"lm has shape \[3, 5, 6\]; words \[3, 6\] need \[3, 6, L\]"),
        ({"lengths": torch.tensor([6, 1, 3])}, r"lengths \[6, 1, 3\]; the mask has \[6, 1, 4\] tokens"),
        (
            {"distinct_chars": torch.zeros(3, dtype=torch.int64)},
            r"distinct_chars \[3\]; expected \[B, T\], \[N, C\]",
        ),
    ],
)
def test_batch_errors(change: dict[str, Tensor], message: str) -> None:
    """Tensors of a batch that do not fit each other are refused with both shapes."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_batch(), **change)


def test_batch_moves() -> None:
    """A batch moved to a device keeps every field."""
    batch = dataclasses.replace(make_batch(lm=True), encoded_chars=torch.ones(2, 3))
    moved = batch.to("cpu")
    assert all(torch.equal(getattr(batch, f.name), getattr(moved, f.name)) for f in dataclasses.fields(batch))
    assert make_batch().to("cpu").lm is None


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_deterministic(cell: str) -> None:
    """The same seed gives the same bits after training steps with dropout, with deterministic algorithms on."""

    def train() -> Sequence[Tensor]:
        tagger, batch = build(lm_size=LM, cell=cell, dropout=Dropout(0.3, output=True)), make_batch(lm=True)
        optimiser = torch.optim.Adam(tagger.parameters(), lr=0.01)
        for _ in range(3):
            optimiser.zero_grad()
            tagger.loss(batch).backward()
            optimiser.step()
        return list(tagger.parameters())

    torch.use_deterministic_algorithms(True)
    try:
        first, second = train(), train()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_learns() -> None:
    """A few steps on one batch find its tags."""
    tagger, batch = build(lm_size=LM, dropout=Dropout()), make_batch(lm=True)
    optimiser = torch.optim.Adam(tagger.parameters(), lr=0.03)
    assert batch.tags is not None
    gold = [row[:length] for row, length in zip(batch.tags.tolist(), LENGTHS, strict=True)]
    for _ in range(60):
        optimiser.zero_grad()
        tagger.loss(batch).backward()
        optimiser.step()
    assert tagger.decode(batch) == gold


def test_constraints_reach_the_crf() -> None:
    """A forbidden transition is never decoded."""
    allowed = torch.eye(TAGS, dtype=torch.bool)
    decoded = build(constraints=allowed).decode(make_batch())
    assert all(len(set(tags)) == 1 for tags in decoded)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_lm_embeddings_enter_where_they_should(layer: int) -> None:
    """The scores are those of torch's own layers, with LM embeddings joined to the states of the layer named."""
    tagger, batch = build(lm_size=LM, lm_layer=layer, characters=False).eval(), make_batch(lm=True)
    assert batch.lm is not None
    assert tagger.words is not None
    x = tagger._embed_words(tagger.words, batch.words)[:1]  # the longest sentence, no padding
    for number, rnn in enumerate(tagger.layers):
        x = torch.cat((x, batch.lm[:1]), 2) if number == layer else x
        back = rnn.back(x.flip(1))[0].flip(1)
        x = torch.cat((rnn.ahead(x)[0], back), 2)
    x = torch.cat((x, batch.lm[:1]), 2) if layer == 2 else x
    expected = functional.linear(x, tagger.dense.weight, tagger.dense.bias)
    torch.testing.assert_close(tagger.emissions(batch)[:1], expected)


def test_only_lm_embeddings() -> None:
    """Without layers the scores are a linear map of a token's own LM embedding; words and characters are not read."""
    tagger, batch = only_lm().eval(), make_batch(lm=True)
    assert batch.lm is not None
    torch.testing.assert_close(tagger.emissions(batch), tagger.dense(batch.lm))
    assert {name.partition(".")[0] for name, _ in tagger.named_parameters()} == {"dense", "crf"}
    other = dataclasses.replace(batch, words=batch.words * 0, char_index=batch.char_index * 0)
    assert torch.equal(tagger.loss(batch), tagger.loss(other))


@pytest.mark.parametrize(
    ("lm", "units", "wide", "narrow", "cell"),
    [(1536, 300, 606, 120, "gru"), (1024, 300, 517, 152, "gru"), (512, 300, 416, 205, "gru"),
     (1024, 200, 404, 80, "lstm")],
)  # fmt: skip
def test_matched_parameter_counts(lm: int, units: int, wide: int, narrow: int, cell: Cell) -> None:
    """The paper's control: a wide second layer of the baseline, or a narrow one of TagLM, makes the sizes equal."""

    def second(width: int, lm_size: int) -> int:
        return count(build(characters=False, units=(units, width), cell=cell, lm_size=lm_size).layers[1])

    assert matching_units(2 * units, second(units, lm), cell=cell) == wide
    assert matching_units(2 * units + lm, second(units, 0), cell=cell) == narrow
    assert second(wide, 0) == pytest.approx(second(units, lm), rel=0.005)
    assert second(narrow, lm) == pytest.approx(second(units, 0), rel=0.005)


def test_word_dropout_takes_whole_word_vectors() -> None:
    """In training a token's word vector is zero at the rate given, or as it is; nothing at evaluation."""
    tagger = build(characters=False, dropout=Dropout(0.3, words=0.4))
    batch = make_batch()
    torch.manual_seed(0)
    whole = tagger._embed_words(tagger.words, batch.words) if tagger.words is not None else batch.words
    dropped = 0
    for _ in range(200):
        x = tagger._read_tokens(batch)
        zero = (x == 0).all(2)
        assert torch.equal(x[~zero], whole[~zero])
        dropped += int(zero.sum())
    assert dropped / (200 * 18) == pytest.approx(0.4, abs=0.03)
    assert torch.equal(tagger.eval()._read_tokens(batch), whole)


def test_locked_dropout_is_one_mask_a_sentence() -> None:
    """Each sentence loses the same features at all its tokens, other sentences others; what is kept is scaled up."""
    tagger, x = build(dropout=Dropout(locked=0.25)), torch.ones(50, 6, 40)
    torch.manual_seed(0)
    y = tagger._drop(x)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert sorted(set(y.unique().tolist())) == [0.0, pytest.approx(4 / 3)]
    assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert len({tuple(row.tolist()) for row in y[:, 0]}) > 40
    assert tagger.eval()._drop(x) is x


def test_a_dropout_rate_of_zero_draws_nothing() -> None:
    """Locked and word dropout that are off leave torch's generator where it was without them."""
    tagger, batch = build(lm_size=LM, dropout=Dropout()), make_batch(lm=True)
    before = torch.get_rng_state()
    tagger.emissions(batch)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("rate", "expected"), [(None, [14, 16 + LM]), (0.5, [14, 16])])
def test_lm_embeddings_have_their_own_dropout(
    rate: float | None, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rate of their own LM embeddings are left out of the dropout of what they are joined to."""
    tagger = build(lm=lm_vectors(LM, dropout=rate))
    dropped: list[int] = []
    drop = tagger._drop
    monkeypatch.setattr(tagger, "_drop", lambda x: (dropped.append(x.shape[2]), drop(x))[1])
    tagger.emissions(make_batch(lm=True))
    assert dropped == expected
