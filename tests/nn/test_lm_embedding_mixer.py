"""LM embeddings before they enter the tagger, against their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taglm_core.nn.lm_embedding_mixer import LmEmbeddingMixer, LmSource

SOURCES = [LmSource(4, 3), LmSource(5)]  # L = 17


def make(**options: Any) -> LmEmbeddingMixer:
    """Two sources, every parameter random."""
    torch.manual_seed(0)
    vectors = LmEmbeddingMixer(SOURCES, **options).double()
    for parameter in vectors.parameters():
        nn.init.normal_(parameter)
    return vectors


def states(sentences: int = 2) -> Tensor:
    """[B, 3, 17]."""
    return torch.randn(sentences, 3, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def plain(vectors: LmEmbeddingMixer, x: Tensor) -> Tensor:
    """The definition, token by token and layer by layer."""
    sentences = []
    for sentence in x:
        rows = []
        for token in sentence:
            joined, start = [], 0
            for source, its in zip(SOURCES, vectors.sources, strict=True):
                layers = []
                for _ in range(source.layers):
                    h = token[start : start + source.size]
                    start += source.size
                    if its.norm is not None:
                        centred = h - h.mean()
                        h = centred / (centred.square().mean() + 1e-5).sqrt() * its.norm.weight + its.norm.bias
                    layers.append(h)
                if its.weights is not None:
                    shares = its.weights.exp() / its.weights.exp().sum()
                    layers = [sum((share * h for share, h in zip(shares, layers, strict=True)), torch.zeros(()))]
                joined += [h if its.scale is None else its.scale * h for h in layers]
            row = torch.cat(joined)
            if vectors.projection is not None:
                row = vectors.projection.weight @ row + vectors.projection.bias
                row = {"none": row, "relu": row.clamp(min=0), "tanh": row.tanh()}[vectors.activation]
            rows.append(row)
        sentences.append(torch.stack(rows))
    return torch.stack(sentences)


WAYS: list[tuple[dict[str, Any], int]] = [
    ({}, 17),
    ({"scale": True}, 17),
    ({"norm": True}, 17),
    ({"mix": True}, 9),
    ({"mix": True, "norm": True}, 9),
    ({"projection": 6}, 6),
    ({"scale": True, "norm": True, "projection": 6, "activation": "relu"}, 6),
    ({"mix": True, "projection": 6, "activation": "tanh"}, 6),
]


@pytest.mark.parametrize(("options", "size"), WAYS)
def test_equals_its_definition(options: dict[str, Any], size: int) -> None:
    """Values and all gradients equal those of the slow definition; gradients equal finite differences."""
    vectors, x = make(**options), states()
    parameters = list(vectors.parameters())
    fast, slow = vectors(x), plain(vectors, x)
    assert fast.shape == (2, 3, size)
    assert (vectors.inputs, vectors.size) == (17, size)
    torch.testing.assert_close(fast, slow)
    weights = torch.randn_like(fast)
    if parameters:
        expected = torch.autograd.grad((slow * weights).sum(), parameters)
        for gradient, reference in zip(torch.autograd.grad((fast * weights).sum(), parameters), expected, strict=True):
            torch.testing.assert_close(gradient, reference)
        names = [name for name, _ in vectors.named_parameters()]

        def run(*values: Tensor) -> Tensor:
            return torch.func.functional_call(vectors, dict(zip(names, values, strict=True)), (x,))

        if vectors.activation != "relu":  # finite differences may step over its corner
            assert torch.autograd.gradcheck(run, [parameter.detach().requires_grad_() for parameter in parameters])


@pytest.mark.parametrize(("options", "size"), WAYS)
def test_a_token_does_not_see_others(options: dict[str, Any], size: int) -> None:
    """Each token's vector depends on its own LM embedding alone, so padding cannot matter."""
    vectors, x = make(**options), states()
    before = vectors(x)
    x[0, 1] += 1
    moved = (vectors(x) != before).any(2)
    assert moved.tolist() == [[False, True, False], [False] * 3]


def test_it_starts_as_the_mean_of_the_layers() -> None:
    """A fresh mix is the plain mean; a fresh scale changes no bit; without options nothing is drawn nor learned."""
    x = states().float()
    first, second = x.split([12, 5], 2)
    torch.testing.assert_close(
        LmEmbeddingMixer(SOURCES, mix=True)(x), torch.cat((first.unflatten(2, (3, 4)).mean(2), second), 2)
    )
    assert torch.equal(LmEmbeddingMixer(SOURCES, scale=True)(x), x)
    before = torch.get_rng_state()
    assert not list(LmEmbeddingMixer(SOURCES).parameters())
    assert torch.equal(before, torch.get_rng_state())


def test_projection_is_xavier() -> None:
    """The projection starts within Xavier's bound, its bias at zero."""
    projection = LmEmbeddingMixer([LmSource(300)], projection=100).projection
    assert projection is not None
    bound = (6 / 400) ** 0.5
    assert 0.95 * bound < projection.weight.abs().max() <= bound
    assert not projection.bias.any()


def test_dropout_is_its_own() -> None:
    """With a rate it drops in training alone; without one it never does."""
    x = torch.ones(4, 5, 17)
    dropping = LmEmbeddingMixer(SOURCES, dropout=0.5)
    assert sorted(dropping(x).unique().tolist()) == [0.0, 2.0]
    assert torch.equal(dropping.eval()(x), x)
    assert torch.equal(LmEmbeddingMixer(SOURCES)(x), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": []}, r"sources are \[\]; expected at least one"),
        ({"sources": [LmSource(3, 0)]}, "of positive sizes"),
        ({"mix": True, "scale": True}, "expected mix or scale, not both"),
        ({"activation": "gelu", "projection": 3}, r"'gelu'; expected one of \['none', 'relu', 'tanh'\]"),
        ({"activation": "relu"}, "comes after a projection"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    """Parts that do not fit each other are refused."""
    with pytest.raises(ValueError, match=message):
        LmEmbeddingMixer(**{"sources": SOURCES, **options})


def test_wrong_width() -> None:
    """LM embeddings of another width are refused with both shapes."""
    with pytest.raises(ValueError, match=r"shape \[2, 3, 16\]; expected \[B, T, 17\]"):
        make()(states()[:, :, :16])
