from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from taglm_core.nn import crf_chains
from taglm_core.nn.crf import Crf, crf_log_partition, crf_loss, crf_marginals
from taglm_core.nn.crf_paths import crf_decode, crf_n_best, crf_path_log_probs

LOG_SPACE = pytest.mark.parametrize("safe_range", [30.0, -1.0], ids=["scaled", "log"], indirect=True)


@pytest.fixture
def safe_range(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(crf_chains, "_SAFE_RANGE", request.param)
    return request.param


def paths_of(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> tuple[list[tuple[int, ...]], Tensor]:
    """Every path of one sentence [T, K] and its score, by the definition."""
    steps, tags = emissions.shape
    paths = list(itertools.product(range(tags), repeat=steps))
    scores = []
    for path in paths:
        score = start[path[0]] + end[path[-1]]
        for token, tag in enumerate(path):
            score = score + emissions[token, tag]
        for source, target in itertools.pairwise(path):
            score = score + transitions[source, target]
        scores.append(score)
    return paths, torch.stack(scores)


def random_case(seed: int, *, start_end: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Emissions, tags, mask, transitions, start, end of a small batch; nan and nonsense at padding."""
    g = torch.Generator().manual_seed(seed)
    batch, steps, tags = 4, 1 + seed % 5, 2 + seed % 3
    lengths = torch.randint(1, steps + 1, (batch,), generator=g)
    lengths[0] = steps
    mask = torch.arange(steps) < lengths[:, None]
    emissions = torch.randn(batch, steps, tags, generator=g, dtype=torch.float64) * 2
    emissions[~mask] = torch.nan
    gold = torch.randint(tags, (batch, steps), generator=g).masked_fill(~mask, -100)
    transitions = torch.randn(tags, tags, generator=g, dtype=torch.float64) * 2
    start, end = torch.randn(2, tags, generator=g, dtype=torch.float64)
    return emissions, gold, mask, transitions, start if start_end else None, end if start_end else None


@LOG_SPACE
@pytest.mark.parametrize("start_end", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_everything_equals_enumeration(seed: int, start_end: bool, safe_range: float) -> None:
    """Partition, loss, marginals and best path are those found by enumerating all paths, each sentence by itself."""
    emissions, gold, mask, transitions, start, end = random_case(seed, start_end=start_end)
    tags = transitions.shape[0]
    zero = torch.zeros(tags, dtype=torch.float64)
    losses = crf_loss(emissions, gold, mask, transitions, start, end)
    log_z = crf_log_partition(emissions, mask, transitions, start, end)
    marginals = crf_marginals(emissions, mask, transitions, start, end)
    best, best_scores = crf_decode(emissions, mask, transitions, start, end)
    for b, length in enumerate(mask.sum(1).tolist()):
        paths, scores = paths_of(
            emissions[b, :length], transitions, zero if start is None else start, zero if end is None else end
        )
        expected_z = scores.logsumexp(0)
        gold_score = scores[paths.index(tuple(gold[b, :length].tolist()))]
        torch.testing.assert_close(log_z[b], expected_z)
        torch.testing.assert_close(losses[b], expected_z - gold_score)
        torch.testing.assert_close(best_scores[b], scores.max())
        assert tuple(best[b, :length].tolist()) == paths[int(scores.argmax())]
        expected = torch.zeros(length, tags, dtype=torch.float64)
        for path, probability in zip(paths, scores.softmax(0), strict=True):
            expected[torch.arange(length), torch.tensor(path)] += probability
        torch.testing.assert_close(marginals[b, :length], expected)
        assert not best[b, length:].any()
        assert not marginals[b, length:].any()


@LOG_SPACE
@pytest.mark.parametrize("start_end", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_n_best_and_path_probabilities_equal_enumeration(seed: int, start_end: bool, safe_range: float) -> None:
    """The n best paths in order, and the probability of every stretch of a path, are those of enumeration."""
    emissions, gold, mask, transitions, start, end = random_case(seed, start_end=start_end)
    zero = torch.zeros(len(transitions), dtype=torch.float64)
    n = 7
    found, found_scores = crf_n_best(emissions, mask, transitions, start, end, n=n)
    alone, after = crf_path_log_probs(emissions, gold, mask, transitions, start, end)
    assert torch.equal(found[:, 0], crf_decode(emissions, mask, transitions, start, end)[0])
    for b, length in enumerate(mask.sum(1).tolist()):
        paths, scores = paths_of(
            emissions[b, :length], transitions, zero if start is None else start, zero if end is None else end
        )
        order = scores.argsort(descending=True)[:n].tolist()
        assert [tuple(path[:length]) for path in found[b, : len(order)].tolist()] == [paths[k] for k in order]
        torch.testing.assert_close(found_scores[b, : len(order)], scores[order])
        assert bool(found_scores[b, len(order) :].isneginf().all())  # there are not so many paths
        assert not found[b, :, length:].any()
        probabilities, tags = scores.softmax(0), tuple(gold[b, :length].tolist())
        for first, last in itertools.combinations_with_replacement(range(length), 2):
            same = torch.tensor([path[first : last + 1] == tags[first : last + 1] for path in paths])
            stretch = alone[b, first] + after[b, first + 1 : last + 1].sum()
            torch.testing.assert_close(stretch.exp(), probabilities[same].sum())
        assert not alone[b, length:].any()
        assert not after[b, length:].any()


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_path_probabilities_of_improbable_paths_are_exact(scale: float) -> None:
    """Any path at any scale of scores, with a forbidden transition: by enumeration in float64, never nan."""
    g = torch.Generator().manual_seed(3)
    emissions, transitions = scale * torch.randn(1, 4, 3, generator=g), scale * torch.randn(3, 3, generator=g)
    transitions[0, 1] = -torch.inf
    mask, zero = torch.ones(1, 4, dtype=torch.bool), torch.zeros(3, dtype=torch.float64)
    paths, scores = paths_of(emissions[0].double(), transitions.double(), zero, zero)
    for path, score in zip(paths, scores, strict=True):
        alone, after = crf_path_log_probs(emissions, torch.tensor([path]), mask, transitions)
        assert not alone.isnan().any()
        assert not after.isnan().any()
        whole = alone[0, 0] + after[0, 1:].sum()
        torch.testing.assert_close(whole, score - scores.logsumexp(0), rtol=1e-6, atol=1e-6)
        for token, tag in enumerate(path):
            here = torch.tensor([other[token] == tag for other in paths])
            expected = scores[here].logsumexp(0) - scores.logsumexp(0)
            torch.testing.assert_close(alone[0, token], expected, rtol=1e-6, atol=1e-6)


def test_a_sentence_without_any_allowed_path_has_an_infinite_loss_and_no_probabilities() -> None:
    """Everything forbidden: +inf for any gold path, -inf for the partition and for every tag, no nan."""
    transitions = torch.full((2, 2), -torch.inf)
    emissions, mask = torch.zeros(1, 3, 2), torch.ones(1, 3, dtype=torch.bool)
    gold = torch.zeros(1, 3, dtype=torch.int64)
    assert crf_loss(emissions, gold, mask, transitions).tolist() == [math.inf]
    assert crf_log_partition(emissions, mask, transitions).tolist() == [-math.inf]
    assert all(found.isneginf().all() for found in crf_path_log_probs(emissions, gold, mask, transitions))
    assert crf_decode(emissions, mask, transitions)[1].tolist() == [-math.inf]


@pytest.mark.parametrize("tokens", [1, 3])
def test_start_and_end_scores_may_forbid_every_path(tokens: int) -> None:
    """The transitions are finite, but no tag may be first and last: infinite, not nan; marginals are refused."""
    tags = 2 if tokens == 1 else 1
    transitions, emissions = torch.zeros(tags, tags), torch.zeros(1, tokens, tags)
    start, end = torch.full((tags,), -torch.inf), torch.zeros(tags)
    if tokens == 1:
        start, end = torch.tensor([0.0, -torch.inf]), torch.tensor([-torch.inf, 0.0])
    mask, gold = torch.ones(1, tokens, dtype=torch.bool), torch.zeros(1, tokens, dtype=torch.int64)
    assert crf_loss(emissions, gold, mask, transitions, start, end).tolist() == [math.inf]
    assert crf_log_partition(emissions, mask, transitions, start, end).tolist() == [-math.inf]
    with pytest.raises(ValueError, match="rows 0: the scores forbid every path"):
        crf_marginals(emissions, mask, transitions, start, end)


def test_a_layer_that_allows_no_path_refuses_the_gold_tags() -> None:
    """Start allows one tag and end the other: a sentence of one word has no path, and its loss is no number."""
    crf = Crf(2, start_end=True, allowed_start=torch.tensor([True, False]), allowed_end=torch.tensor([False, True]))
    with pytest.raises(ValueError, match="forbidden transition"):
        crf.loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool))


def test_scores_that_are_not_numbers_are_not_taken_for_forbidden_tags() -> None:
    """A diverged training has a nan loss, which the loop stops at; the tags are not to blame."""
    crf = Crf(2, constraints=torch.tensor([[True, False], [True, True]]))
    emissions, mask = torch.full((1, 3, 2), torch.nan), torch.ones(1, 3, dtype=torch.bool)
    assert crf.loss(emissions, torch.zeros(1, 3, dtype=torch.int64), mask).isnan().all()


def test_n_best_of_a_long_sentence_and_of_forbidden_paths() -> None:
    """Five thousand tokens at scores of 1e4 stay in order; forbidden transitions are in no path."""
    g = torch.Generator().manual_seed(1)
    emissions = 1e4 * torch.randn(1, 5000, 5, generator=g)
    transitions = torch.randn(5, 5, generator=g)
    transitions[0, 1] = -torch.inf
    mask = torch.ones(1, 5000, dtype=torch.bool)
    paths, scores = crf_n_best(emissions, mask, transitions, n=3)
    assert torch.equal(paths[:, 0], crf_decode(emissions, mask, transitions)[0])
    assert len({tuple(path) for path in paths[0].tolist()}) == 3
    assert scores[0].tolist() == sorted(scores[0].tolist(), reverse=True)
    assert not ((paths[..., :-1] == 0) & (paths[..., 1:] == 1)).any()
    with pytest.raises(ValueError, match="n is 0; expected at least 1"):
        crf_n_best(emissions, mask, transitions, n=0)


@LOG_SPACE
def test_flat_potentials_give_length_times_log_k(safe_range: float) -> None:
    """With all scores zero log Z is N log K."""
    mask = torch.arange(7) < torch.tensor([[7], [1], [4]])
    log_z = crf_log_partition(torch.zeros(3, 7, 5), mask, torch.zeros(5, 5))
    torch.testing.assert_close(log_z, torch.tensor([7.0, 1.0, 4.0]) * math.log(5))


@LOG_SPACE
@pytest.mark.parametrize("start_end", [False, True])
def test_gradcheck(start_end: bool, safe_range: float) -> None:
    """Gradients of loss and partition equal finite differences, for every argument and uneven weights."""
    emissions, gold, mask, transitions, start, end = random_case(3, start_end=start_end)
    emissions = emissions.nan_to_num(0.0)
    arguments = [x.requires_grad_() for x in (emissions, transitions, start, end) if x is not None]
    weights = torch.tensor([0.3, -1.0, 2.0, 0.7], dtype=torch.float64)

    def loss(e: Tensor, a: Tensor, *ends: Tensor) -> Tensor:
        return crf_loss(e, gold, mask, a, *ends) * weights

    def log_z(e: Tensor, a: Tensor, *ends: Tensor) -> Tensor:
        return crf_log_partition(e, mask, a, *ends) * weights

    assert not mask.all()
    assert torch.autograd.gradcheck(loss, arguments)
    assert torch.autograd.gradcheck(log_z, arguments)


@LOG_SPACE
def test_gradient_is_marginals_minus_gold(safe_range: float) -> None:
    """The gradient of the summed loss by an emission is its marginal minus one for the gold tag; zero at padding."""
    emissions, gold, mask, transitions, start, end = random_case(5, start_end=True)
    emissions.requires_grad_()
    crf_loss(emissions, gold, mask, transitions, start, end).sum().backward()
    onehot = torch.nn.functional.one_hot(gold.clamp(min=0), transitions.shape[0]) * mask.unsqueeze(-1)
    torch.testing.assert_close(emissions.grad, crf_marginals(emissions, mask, transitions, start, end) - onehot)


def test_second_derivative_is_refused() -> None:
    """Asking for a gradient that can be differentiated again raises, it is not silently wrong."""
    emissions, gold, mask, transitions, *_ = random_case(5, start_end=False)
    emissions = emissions.nan_to_num(0.0).requires_grad_()
    transitions.requires_grad_()
    loss = crf_loss(emissions, gold, mask, transitions).sum()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(loss, emissions, create_graph=True)


@LOG_SPACE
def test_length_one_is_softmax(safe_range: float) -> None:
    """A sentence of one token is a softmax over emission + start + end, whatever the transitions."""
    e, start, end = torch.randn(2, 1, 4), torch.randn(4), torch.randn(4)
    gold = torch.tensor([[1], [3]])
    losses = crf_loss(e, gold, torch.ones(2, 1, dtype=torch.bool), torch.randn(4, 4), start, end)
    torch.testing.assert_close(
        losses, torch.nn.functional.cross_entropy(e[:, 0] + start + end, gold[:, 0], reduction="none")
    )


@pytest.mark.parametrize("transition_scale", [1.0, 1e4])
def test_extreme_scores(transition_scale: float) -> None:
    """Scores of +-1e4 in float32 give the float64 enumeration's loss, finite gradients and the best path."""
    g = torch.Generator().manual_seed(0)
    emissions = (torch.randint(-1, 2, (3, 5, 3), generator=g) * 1e4).requires_grad_()
    transitions = (torch.randint(-1, 2, (3, 3), generator=g) * transition_scale).requires_grad_()
    gold = torch.randint(3, (3, 5), generator=g)
    mask = torch.ones(3, 5, dtype=torch.bool)
    losses = crf_loss(emissions, gold, mask, transitions)
    losses.sum().backward()
    _, best_scores = crf_decode(emissions, mask, transitions)
    zero = torch.zeros(3, dtype=torch.float64)
    for b in range(3):
        paths, scores = paths_of(emissions[b].detach().double(), transitions.detach().double(), zero, zero)
        expected = scores.logsumexp(0) - scores[paths.index(tuple(gold[b].tolist()))]
        torch.testing.assert_close(losses[b].double(), expected, rtol=1e-6, atol=1e-4)
        assert best_scores[b] == scores.max()
    assert emissions.grad is not None
    assert bool(emissions.grad.isfinite().all())
    torch.testing.assert_close(emissions.grad.sum(2), torch.zeros(3, 5), atol=1e-5, rtol=0)


def test_evidence_against_an_underflowed_tag_is_not_lost() -> None:
    """A tag that is 1e4 less likely at one token than another still wins when later scores say so."""
    emissions = torch.tensor([[[1e4, 0.0], [0.0, 0.0], [0.0, 3e4]]])
    transitions = torch.tensor([[14.0, -14.0], [-14.0, 14.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    zero = torch.zeros(2, dtype=torch.float64)
    _, scores = paths_of(emissions[0].double(), transitions.double(), zero, zero)
    assert crf_log_partition(emissions, mask, transitions).item() == pytest.approx(scores.logsumexp(0).item(), abs=1e-2)
    end = torch.tensor([0.0, 2e4])  # the end score turns the last tag around
    flat = torch.tensor([[[1e4, 0.0], [1e4, 0.0]]])
    marginals = crf_marginals(flat, mask[:, :2], transitions, None, end)
    torch.testing.assert_close(marginals[0, 1], torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(marginals[0, 0], torch.tensor([1.0, 0.0]))


@LOG_SPACE
def test_long_sentence(safe_range: float) -> None:
    """5,000 tokens: log Z in float32 equals the float64 recursion, marginals sum to one, the path's score fits."""
    g = torch.Generator().manual_seed(0)
    emissions, transitions = torch.randn(1, 5000, 5, generator=g), torch.randn(5, 5, generator=g)
    mask = torch.ones(1, 5000, dtype=torch.bool)
    alpha = emissions[0, 0].double()
    for emission in emissions[0, 1:].double():
        alpha = (alpha[:, None] + transitions.double()).logsumexp(0) + emission
    log_z = crf_log_partition(emissions, mask, transitions)
    assert log_z.item() == pytest.approx(alpha.logsumexp(0).item(), rel=1e-6)
    torch.testing.assert_close(crf_marginals(emissions, mask, transitions).sum(2), torch.ones(1, 5000))
    tags, score = crf_decode(emissions, mask, transitions)
    assert crf_loss(emissions, tags, mask, transitions).item() == pytest.approx((log_z - score).item(), abs=1e-2)
    assert score.item() < log_z.item()


def test_constraints() -> None:
    """Forbidden transitions, starts and ends have probability zero, get no gradient and are never decoded."""
    allowed = torch.tensor([[True, True, False], [False, True, True], [True, False, True]])
    starts, ends = torch.tensor([True, False, True]), torch.tensor([False, True, True])
    crf = Crf(3, start_end=True, constraints=allowed, allowed_start=starts, allowed_end=ends).double()
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    emissions, mask = torch.randn(1, 4, 3, dtype=torch.float64), torch.ones(1, 4, dtype=torch.bool)
    assert crf.start is not None
    assert crf.end is not None
    paths, scores = paths_of(emissions[0], crf.transitions, crf.start, crf.end)
    legal = [
        bool(starts[p[0]] & ends[p[-1]]) and all(bool(allowed[a, b]) for a, b in itertools.pairwise(p)) for p in paths
    ]
    scores = torch.where(torch.tensor(legal), scores, -torch.inf)
    best, best_score = crf.decode(emissions, mask)
    assert tuple(best[0].tolist()) == paths[int(scores.argmax())]
    torch.testing.assert_close(best_score[0], scores.max())
    loss = crf.loss(emissions, best, mask)
    torch.testing.assert_close(loss[0], scores.logsumexp(0) - scores.max())
    loss.sum().backward()
    assert crf.transitions.grad is not None
    assert not crf.transitions.grad[~allowed].any()
    assert bool(crf.transitions.grad[allowed].any())
    assert crf.marginals(emissions, mask)[0, 0, 1] == 0
    assert set(crf.state_dict()) == {"transitions", "start", "end"}


def test_forbidden_gold_path_is_refused() -> None:
    """A forbidden gold path, or constraints that allow no path, name the rows instead of an infinite loss."""
    crf = Crf(2, constraints=torch.tensor([[True, False], [True, True]]), allowed_end=torch.tensor([True, False]))
    emissions, mask = torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"rows 1: the gold tags take a forbidden transition"):
        crf.loss(emissions, torch.tensor([[1, 0, 0], [0, 1, 0]]), mask)
    closed = Crf(2, constraints=torch.zeros(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"rows 0, 1: every path"):
        closed.decode(emissions, mask)


def test_argument_errors() -> None:
    """Wrong shapes are named beside the shape expected; bad masks and tags name their rows."""
    emissions, tags, mask, transitions = (
        torch.zeros(3, 4, 5),
        torch.zeros(3, 4, dtype=torch.int64),
        torch.ones(3, 4, dtype=torch.bool),
        torch.zeros(5, 5),
    )
    with pytest.raises(ValueError, match=r"\[4, 5\]; emissions \[3, 4, 5\] need \[5, 5\]"):
        crf_loss(emissions, tags, mask, torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"start has shape \[4\]; emissions \[3, 4, 5\] need \[5\]"):
        crf_loss(emissions, tags, mask, transitions, torch.zeros(4))
    with pytest.raises(ValueError, match=r"tags have shape \[3, 3\]; the mask \[3, 4\]"):
        crf_loss(emissions, tags[:, :3], mask, transitions)
    with pytest.raises(ValueError, match=r"torch.float32 \[3, 4\].*need torch.bool \[3, 4\]"):
        crf_decode(emissions, mask.float(), transitions)
    for shape in ((0, 4, 5), (3, 0, 5), (3, 4, 0), (4, 5)):
        with pytest.raises(ValueError, match=r"one of each at least"):
            crf_loss(torch.zeros(shape), tags, mask, transitions)
    gap, empty = mask.clone(), mask.clone()
    gap[1, 2], empty[2] = False, False
    with pytest.raises(ValueError, match="rows 1 have padding before a token"):
        crf_marginals(emissions, gap, transitions)
    with pytest.raises(ValueError, match="rows 2 have no token"):
        crf_log_partition(emissions, empty, transitions)
    tags[1, 3] = 5
    with pytest.raises(ValueError, match=r"rows 1 have tags outside 0\.\.4"):
        crf_loss(emissions, tags, mask, transitions)
    with pytest.raises(ValueError, match=r"allowed: torch.bool of shape \[2, 5\]; expected torch.bool \[5, 5\]"):
        Crf(5, constraints=torch.ones(2, 5, dtype=torch.bool))


def test_deterministic_and_half_precision() -> None:
    """Two passes give the same bits with deterministic algorithms on; bfloat16 emissions are summed in float32."""

    def gradients() -> list[Tensor]:
        crf = Crf(5, start_end=True)
        emissions = torch.randn(6, 9, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
        mask = torch.arange(9) < torch.arange(4, 10)[:, None]
        crf.loss(emissions, torch.ones(6, 9, dtype=torch.int64), mask).mean().backward()
        return [x.grad for x in (emissions, *crf.parameters()) if x.grad is not None]

    torch.use_deterministic_algorithms(True)
    try:
        for first, second in zip(gradients(), gradients(), strict=True):
            assert torch.equal(first, second)
    finally:
        torch.use_deterministic_algorithms(False)
    half = torch.zeros(1, 3, 4, dtype=torch.bfloat16)
    log_z = crf_log_partition(half, torch.ones(1, 3, dtype=torch.bool), torch.zeros(4, 4))
    assert log_z.dtype == torch.float32
    assert log_z.item() == pytest.approx(3 * math.log(4))


@pytest.mark.parametrize("seed", range(6))
def test_without_bigram_scores_it_is_a_softmax_per_token(seed: int) -> None:
    """Loss and gradient are those of cross-entropy, the paths those of enumeration; nothing is learned or saved."""
    emissions, gold, mask, _, _, _ = random_case(seed, start_end=False)
    tags = emissions.shape[2]
    layer = Crf(tags, bigrams=False).double()
    assert not list(layer.parameters())
    assert not layer.state_dict()
    ours = emissions.nan_to_num().requires_grad_()
    peer = emissions.nan_to_num().requires_grad_()
    losses = layer.loss(ours, gold, mask)
    expected = cross_entropy(peer.transpose(1, 2), gold, reduction="none", ignore_index=-100).sum(1)
    torch.testing.assert_close(losses, expected)
    losses.mean().backward()
    expected.mean().backward()
    torch.testing.assert_close(ours.grad, peer.grad)
    shares = emissions.softmax(2)
    torch.testing.assert_close(layer.marginals(emissions, mask)[mask], shares[mask])
    best, _ = layer.decode(emissions, mask)
    assert torch.equal(best[mask], emissions[mask].argmax(1))
    alone, after = layer.path_log_probs(emissions, best, mask)
    torch.testing.assert_close(alone[mask].exp(), shares.amax(2)[mask])
    torch.testing.assert_close(after[:, 1:][mask[:, 1:]], alone[:, 1:][mask[:, 1:]])  # whatever the tag before is
    several, scores = layer.n_best(emissions, mask, 3)
    log_z = layer.log_partition(emissions, mask)
    zero = torch.zeros(tags, dtype=torch.float64)
    for b, length in enumerate(mask.sum(1).tolist()):
        paths, all_scores = paths_of(emissions[b, :length], torch.zeros(tags, tags).double(), zero, zero)
        chances, order = all_scores.softmax(0).sort(descending=True)
        found = min(3, len(paths))
        torch.testing.assert_close((scores[b, :found] - log_z[b]).exp(), chances[:found])
        assert [tuple(row[:length].tolist()) for row in several[b, :found]] == [paths[n] for n in order[:found]]
