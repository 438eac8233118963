from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from taglm_core.nn.gru import read_both_ways
from taglm_core.nn.packing import PackedBatch, put_rows, take_rows

LENGTHS = torch.tensor([3, 7, 1, 4, 7])


def layer(seed: int = 0) -> nn.GRU:
    """A bidirectional layer of doubles whose biases are not zero."""
    torch.manual_seed(seed)
    return nn.GRU(5, 6, batch_first=True, bidirectional=True, dtype=torch.float64)


def read(rnn: nn.GRU, x: torch.Tensor) -> torch.Tensor:
    """States [N, T, 2U] by the functions under test, zero at padding."""
    packed = PackedBatch.of(LENGTHS, x.shape[1])
    tokens = take_rows(x.reshape(-1, x.shape[2]), packed.rows)
    states = torch.cat(read_both_ways(tokens, packed, rnn, None), dim=1)
    return put_rows(states, packed.rows, x.shape[0] * x.shape[1]).view(*x.shape[:2], -1)


def test_states_and_gradients_equal_torch() -> None:
    """States, and gradients of inputs and of all eight weights, are those of torch's packed layer."""
    rnn, generator = layer(), torch.Generator().manual_seed(1)
    x = torch.randn(5, 7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 7, 12, generator=generator, dtype=torch.float64)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(rnn(packed)[0], batch_first=True)[0]
    found = read(rnn, x)
    torch.testing.assert_close(found, expected)
    reads = (x, *rnn.parameters())
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), reads),
        torch.autograd.grad((expected * weight).sum(), reads),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_gradcheck() -> None:
    """Gradients are those of finite differences."""
    rnn = layer()
    x = torch.randn(5, 7, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: read(rnn, y), (x,))


def test_in_bfloat16() -> None:
    """Under autocast matrices alone are rounded: states and gradients keep their type and differ by that rounding."""
    rnn = layer().float()
    x = torch.randn(5, 7, 5, generator=torch.Generator().manual_seed(4), requires_grad=True)
    exact = read(rnn, x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = read(rnn, x)
    reads = (x, *rnn.parameters())
    exact_gradients, rounded_gradients = (torch.autograd.grad(y.square().sum(), reads) for y in (exact, rounded))
    for ours, theirs in zip((rounded, *rounded_gradients), (exact, *exact_gradients), strict=True):
        assert ours.dtype == torch.float32
        assert 0 < (ours - theirs).norm() / theirs.norm() < 0.02  # 2 ** -9 for each factor, added up


def test_padding_is_not_read() -> None:
    """What stands at padding moves nothing, and gets no gradient."""
    rnn = layer()
    x = torch.randn(5, 9, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = x.clone()
    padding = torch.arange(9) >= LENGTHS[:, None]
    y[padding] = torch.nan
    y.requires_grad_()
    found = read(rnn, y)
    assert torch.equal(found, read(rnn, x))
    found.sum().backward()
    assert y.grad is not None
    assert not y.grad[padding].any()
    assert y.grad[~padding].all()


def test_order_of_the_tokens() -> None:
    """The longest first, step after step; reversing twice is nothing; first and last tokens in the batch's order."""
    packed = PackedBatch.of(torch.tensor([1, 3, 2]), 4)
    assert packed.batch_sizes == [3, 2, 1]
    assert packed.rows.tolist() == [4, 8, 0, 5, 9, 6]
    assert packed.reverse_index.tolist() == [5, 4, 2, 3, 1, 0]
    assert torch.equal(packed.reverse_index[packed.reverse_index], torch.arange(6))
    assert packed.first.tolist() == [2, 0, 1]
    assert packed.last.tolist() == [2, 5, 4]


def test_no_second_derivative() -> None:
    """It is refused, not wrong."""
    x = torch.randn(5, 7, 5, dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="without create_graph=True"):
        torch.autograd.grad(read(layer(), x).sum(), x, create_graph=True)
