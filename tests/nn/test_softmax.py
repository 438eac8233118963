"""Output layers: exact ones are distributions; the sampled one draws, corrects and leaves out as it should."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from taglm_core.nn.softmax import (
    AdaptiveSoftmax,
    FullSoftmax,
    SampledSoftmax,
    Softmax,
    block_losses,
    draw_log_uniform,
)
from taglm_core.training.devices import open_device
from tests.devices import DEVICES

V, P = 50, 8


@pytest.fixture(params=["full", "tied", "adaptive", "sampled"])
def layer(request: pytest.FixtureRequest) -> Softmax:
    torch.manual_seed(0)
    match request.param:
        case "full":
            return FullSoftmax(P, V)
        case "tied":
            return FullSoftmax(P, V, table=nn.Embedding(V, P))
        case "adaptive":
            return AdaptiveSoftmax(P, V, cutoffs=(10, 30), shrink=2.0)
    return SampledSoftmax(P, V, samples=20)


def test_every_layer_is_a_distribution(layer: Softmax) -> None:
    """The probabilities of all words sum to one, in blocks of any size: perplexity is exact."""
    state = torch.randn(1, P).expand(V, P)
    for block in (7, None):
        losses = block_losses(layer, state, torch.arange(V), block=block)
        assert losses.dtype == torch.float64
        assert float((-losses).exp().sum()) == pytest.approx(1.0, rel=1e-5)


def test_exact_layers_train_on_what_they_score(layer: Softmax) -> None:
    """Losses of full and adaptive softmax are their scores; a sampled one says that it samples."""
    states, targets = torch.randn(6, P), torch.arange(6)
    losses = layer.training_losses(states, targets, np.random.default_rng(1))
    assert (layer.samples == 0) == torch.equal(losses, layer(states, targets))


@pytest.mark.parametrize("where", DEVICES)
@pytest.mark.parametrize("targets", [range(V), [3, 30, 4], [12, 49], [0], [31]], ids=str)
def test_adaptive_is_that_of_torch(targets: Sequence[int], where: str) -> None:
    """Scores and gradients of its own forward, with no, one and many targets in a cluster.

    On CUDA torch's own fails at a single target once algorithms are to be deterministic; ours must not.
    """
    torch.manual_seed(0)
    layer, given = AdaptiveSoftmax(P, V, cutoffs=(10, 30), shrink=2.0), torch.tensor(list(targets))
    states = torch.randn(len(given), P, requires_grad=True)
    learnt = [states, *layer.parameters()]
    expected = -layer.clusters(states, given).output
    gradients = torch.autograd.grad(expected.sum(), learnt, allow_unused=True)
    open_device(where, 1)
    layer.to(where)
    found = layer(states.to(where), given.to(where))
    its = torch.autograd.grad(found.sum(), [states, *layer.parameters()], allow_unused=True)
    torch.testing.assert_close(found.cpu(), expected)
    for ours, theirs in zip(its, gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours.cpu(), theirs)


def test_a_tied_matrix_is_the_table() -> None:
    """It has a bias of its own and nothing else to save; a step moves the table."""
    table = nn.Embedding(V, P)
    layer = FullSoftmax(P, V, table=table)
    assert set(layer.state_dict()) == {"bias"}
    layer(torch.randn(3, P), torch.tensor([1, 2, 3])).sum().backward()
    assert table.weight.grad is not None
    assert bool(table.weight.grad.abs().sum(1).all())


def test_draws_are_distinct_and_follow_the_log_uniform_law() -> None:
    """Every rank in range, none twice; how often a rank is met is what the number of draws lets expect."""
    generator, samples, rounds = np.random.default_rng(3), 20, 4_000
    met, expected = np.zeros(V), np.zeros(V)
    ranks = np.arange(V)
    p = np.log((ranks + 2) / (ranks + 1)) / math.log(V + 1)
    assert p.sum() == pytest.approx(1.0)
    for _ in range(rounds):
        words, tries = draw_log_uniform(V, samples, generator)
        assert len(set(words.tolist())) == samples
        assert words.min() >= 0
        assert words.max() < V
        met[words] += 1
        expected += -np.expm1(tries * np.log1p(-p))
    # tries is chance itself, so this is an approximation (as in every sampled softmax): within 2 points of 100
    assert np.abs(met - expected).max() / rounds < 0.02


def test_sampled_loss_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Target against samples, scores lowered by the log of expected counts, the target among the samples left out."""
    torch.manual_seed(1)
    layer = SampledSoftmax(P, V, samples=4).double()
    nn.init.normal_(layer.bias.weight)
    drawn, tries = np.array([7, 0, 3, 41]), 9
    monkeypatch.setattr("taglm_core.nn.softmax.draw_log_uniform", lambda *_: (drawn, tries))
    states, targets = torch.randn(3, P, dtype=torch.float64), torch.tensor([3, 12, 7])
    found = layer.training_losses(states, targets, np.random.default_rng(0))

    def score(state: torch.Tensor, word: int) -> float:
        p = math.log((word + 2) / (word + 1)) / math.log(V + 1)
        count = 1 - (1 - p) ** tries
        return float(state @ layer.weight.weight[word] + layer.bias.weight[word, 0]) - math.log(count)

    with torch.no_grad():
        for row, (state, target) in enumerate(zip(states, targets.tolist(), strict=True)):
            others = [math.exp(score(state, word)) for word in drawn.tolist() if word != target]
            own = math.exp(score(state, target))
            assert float(found[row]) == pytest.approx(-math.log(own / (own + sum(others))), rel=1e-6)


def test_sampled_gradient_nears_the_full_one() -> None:
    """Averaged over many draws the gradient points where the full softmax's does; both tables get sparse gradients."""
    torch.manual_seed(2)
    layer = SampledSoftmax(P, V, samples=40)
    states, targets = torch.randn(64, P, requires_grad=True), torch.randint(V, (64,))
    (full,) = torch.autograd.grad(layer(states, targets).mean(), states)
    generator, total = np.random.default_rng(5), torch.zeros_like(states)
    for _ in range(200):
        total += torch.autograd.grad(layer.training_losses(states, targets, generator).mean(), states)[0]
    assert float(functional.cosine_similarity(total.flatten(), full.flatten(), dim=0)) > 0.98
    layer.training_losses(states, targets, generator).mean().backward()
    assert all(parameter.grad is not None and parameter.grad.is_sparse for parameter in layer.parameters())


def test_the_same_generator_gives_the_same_loss() -> None:
    """What a resumed run relies on."""
    torch.manual_seed(4)
    layer, states, targets = SampledSoftmax(P, V, samples=10), torch.randn(5, P), torch.arange(5)
    one, two, other = (layer.training_losses(states, targets, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("samples", "vocabulary"), [(50, 50), (60, 50)])
def test_as_many_samples_as_words_are_refused(samples: int, vocabulary: int) -> None:
    """The message gives both numbers and what to do."""
    with pytest.raises(ValueError, match=rf"{samples} samples of a vocabulary of {vocabulary} words.*lower softmax"):
        SampledSoftmax(P, vocabulary, samples=samples)
