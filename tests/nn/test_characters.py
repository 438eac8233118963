from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.characters import CharCnn, CharRnn, Highway

FILTERS = [(1, 4), (2, 3), (5, 6)]


def cnn(**options: object) -> CharCnn:
    """A small convolutional encoder with visible biases."""
    torch.manual_seed(0)
    encoder = CharCnn(20, 5, FILTERS, **{"activation": "tanh", **options})  # type: ignore[arg-type]
    nn.init.normal_(encoder.bias, std=0.3)
    return encoder


def rnn(**options: object) -> CharRnn:
    """A small recurrent encoder."""
    torch.manual_seed(0)
    return CharRnn(20, 5, 6, 2, **{"cell": "gru", "dropout": 0.0, **options})  # type: ignore[arg-type]


ENCODERS = pytest.mark.parametrize(
    "build",
    [cnn, lambda: cnn(activation="relu", highway=2, output=7), rnn, lambda: rnn(cell="lstm")],
    ids=["cnn", "cnn-highway-projection", "gru", "lstm"],
)


def words(count: int = 12, width: int = 9) -> Tensor:
    """Words of 3 to 8 symbols between the marks 1 and 2, padded to `width`; repeated letters make equal windows."""
    g = torch.Generator().manual_seed(4)
    chars = torch.zeros(count, width, dtype=torch.int64)
    for row in range(count):
        length = 3 + row % 6
        chars[row, :length] = torch.randint(3, 6, (length,), generator=g)
        chars[row, 0], chars[row, length - 1] = 1, 2
    return chars


def plain_cnn(encoder: CharCnn, chars: Tensor) -> Tensor:
    """The definition, word by word and position by position; bias and activation come before the maximum."""
    activation = {"relu": torch.relu, "tanh": torch.tanh}[encoder.activation]
    rows = []
    for word in chars:
        length = int((word != 0).sum())
        x = functional.pad(encoder.embedding.weight[word[:length]], (0, 0, 0, 4))  # [length + 4, D]
        start = 0
        parts = []
        for kernel, (width, count) in zip(encoder.kernels, encoder.filters, strict=True):
            scores = torch.stack([kernel @ x[i : i + width].flatten() for i in range(length)])
            parts.append(activation(scores + encoder.bias[start : start + count]).amax(0))
            start += count
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_cnn_equals_its_definition(activation: str) -> None:
    """Values and all gradients equal those of the slow definition."""
    encoder, chars = cnn(activation=activation).double(), words()
    weights = torch.randn(12, 13, dtype=torch.float64)
    parameters = list(encoder.parameters())
    fast, slow = encoder(chars), plain_cnn(encoder, chars)
    torch.testing.assert_close(fast, slow)
    expected = torch.autograd.grad((slow * weights).sum(), parameters)
    for gradient, reference in zip(torch.autograd.grad((fast * weights).sum(), parameters), expected, strict=True):
        reference = reference.clone()
        if reference.shape == (20, 5):
            reference[0] = 0  # the padding symbol is not trained
        torch.testing.assert_close(gradient, reference)


def test_cnn_gradcheck() -> None:
    """Gradients through windows, highway and projection equal finite differences."""
    encoder, chars = cnn(highway=1, output=3).double(), words(5)
    names = [name for name, _ in encoder.named_parameters() if name != "embedding.weight"]

    def run(*values: Tensor) -> Tensor:
        return torch.func.functional_call(encoder, dict(zip(names, values, strict=True)), (chars,))

    assert torch.autograd.gradcheck(run, [encoder.get_parameter(name).detach().requires_grad_() for name in names])


@ENCODERS
def test_padding_and_neighbours_do_not_matter(build: Callable[[], CharCnn | CharRnn]) -> None:
    """A word alone, in a batch, in a wider batch and in another order has the same vector."""
    encoder, chars = build(), words()
    vectors = encoder(chars)
    assert vectors.shape == (12, encoder.size)
    torch.testing.assert_close(encoder(functional.pad(chars, (0, 11))), vectors, atol=1e-6, rtol=0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(encoder(chars[order]), vectors[order], atol=1e-6, rtol=0)
    for row, word in enumerate(chars):
        alone = encoder(word[word != 0].unsqueeze(0))
        torch.testing.assert_close(alone[0], vectors[row], atol=1e-6, rtol=0)


@ENCODERS
def test_every_character_counts(build: Callable[[], CharCnn | CharRnn]) -> None:
    """Changing any one character changes this word's vector and no other."""
    encoder, chars = build(), words()
    vectors = encoder(chars)
    for position in range(int((chars[5] != 0).sum())):
        changed = chars.clone()
        changed[5, position] = 9
        moved = ((encoder(changed) - vectors).abs() > 1e-6).any(1)
        assert moved.tolist() == [row == 5 for row in range(12)]


def test_rnn_reads_both_ways() -> None:
    """The vector is the forward state after the last and the backward state after the first character."""
    encoder, word = rnn(), words()[5:6, :8]
    encoder.layers = encoder.layers[:1]
    states, _ = encoder.layers[0](encoder.embedding(word))  # [1, C, 2 * units]
    torch.testing.assert_close(encoder(word)[0], torch.cat((states[0, -1, :6], states[0, 0, 6:])))


def test_new_highway_carries_its_input() -> None:
    """A fresh highway layer keeps 88 % of what comes in, and passes it unchanged when its gate is shut."""
    layer, x = Highway(30, "relu"), torch.randn(50, 30)
    gate = torch.sigmoid(layer.linear(x)[:, 30:])
    assert 0.05 < gate.median().item() < 0.25
    with torch.no_grad():
        layer.linear.bias[30:] = -1e4
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("build", [cnn, rnn], ids=["cnn", "rnn"])
def test_dropout_only_in_training(build: Callable[..., CharCnn | CharRnn]) -> None:
    """Dropout moves the vectors in training, and nothing in evaluation."""
    encoder, chars = build(dropout=0.5), words()
    assert not torch.equal(encoder(chars), encoder(chars))
    encoder.eval()
    assert torch.equal(encoder(chars), encoder(chars))
    torch.testing.assert_close(encoder(chars), build()(chars))


@ENCODERS
def test_deterministic(build: Callable[[], CharCnn | CharRnn]) -> None:
    """The same seed gives the same gradients, bit for bit, with deterministic algorithms on."""

    def gradients() -> list[Tensor]:
        encoder = build()
        encoder(words()).square().sum().backward()
        return [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]

    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(), gradients()
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(first) == len(list(build().parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_errors() -> None:
    """Empty words, padding inside a word, no words, a second derivative and unknown names are refused."""
    encoder, chars = cnn(), words()
    chars[3, 1], chars[7] = 0, 0
    with pytest.raises(ValueError, match=r"rows \[3, 7\] are empty or have padding"):
        encoder(chars)
    with pytest.raises(ValueError, match=r"shape \[0, 4\]; expected \[words, characters\]"):
        encoder(chars[:0, :4])
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(encoder(words()).sum(), encoder.kernels[0], create_graph=True)
    with pytest.raises(ValueError, match=r"'gelu'; expected one of \['relu', 'tanh'\]"):
        cnn(activation="gelu")
    with pytest.raises(ValueError, match="expected \\(width, count\\) pairs"):
        CharCnn(20, 5, [(0, 3)], activation="relu")
