from __future__ import annotations

import pytest
import torch
from torch import nn

from taglm_core.nn.rnn import BiRnn, Cell, build_rnn, reverse_within

CELLS = pytest.mark.parametrize("cell", ["gru", "lstm"])
LENGTHS = torch.tensor([7, 1, 4])


def batch(seed: int = 0) -> torch.Tensor:
    """Three sentences [3, 7, 5] with nonsense at padding."""
    return torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(seed))


@CELLS
def test_masked_equals_unmasked(cell: Cell) -> None:
    """A sentence in a padded batch has the states it has alone, and zeros at padding."""
    layer = BiRnn(5, 6, cell=cell)
    x = batch()
    together = layer(x, LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        alone = layer(x[b : b + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[b, :length], alone[0], atol=1e-6, rtol=0)
        assert not together[b, length:].any()


@CELLS
def test_direction(cell: Cell) -> None:
    """Changing token k moves forward states from k on and backward states up to k, and no other."""
    layer = BiRnn(5, 6, cell=cell)
    x = batch()
    before = layer(x, LENGTHS)
    for token in range(4):
        changed = x.clone()
        changed[2, token] += 1
        moved = (layer(changed, LENGTHS) - before).abs() > 1e-7
        assert not moved[:2].any()
        forward, backward = moved[2, :4, :6].any(1).tolist(), moved[2, :4, 6:].any(1).tolist()
        assert forward == [k >= token for k in range(4)]
        assert backward == [k <= token for k in range(4)]


@CELLS
def test_equals_torch_bidirectional(cell: Cell) -> None:
    """With the same weights the layer equals torch's bidirectional layer on an unpadded sentence."""
    layer = BiRnn(5, 6, cell=cell)
    reference = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](5, 6, batch_first=True, bidirectional=True)
    state = dict(layer.ahead.named_parameters())
    state |= {f"{name}_reverse": parameter for name, parameter in layer.back.named_parameters()}
    reference.load_state_dict(state)
    x = batch()
    torch.testing.assert_close(layer(x, torch.tensor([7, 7, 7])), reference(x)[0])


def test_reverse_within() -> None:
    """Rows are reversed up to their length; padding stays; twice is nothing."""
    x = torch.arange(12).view(2, 6, 1)
    lengths = torch.tensor([6, 3])
    assert reverse_within(x, lengths)[:, :, 0].tolist() == [[5, 4, 3, 2, 1, 0], [8, 7, 6, 9, 10, 11]]
    assert torch.equal(reverse_within(reverse_within(x, lengths), lengths), x)


@CELLS
def test_initialisation(cell: Cell) -> None:
    """Recurrent weights are orthogonal gate by gate; biases are 0, an LSTM's forget gates 1 in sum."""
    rnn = build_rnn(5, 6, cell, bidirectional=True)
    for suffix in ("", "_reverse"):
        for gate in getattr(rnn, f"weight_hh_l0{suffix}").split(6):
            torch.testing.assert_close(gate @ gate.t(), torch.eye(6), atol=1e-5, rtol=0)
        bias = getattr(rnn, f"bias_ih_l0{suffix}") + getattr(rnn, f"bias_hh_l0{suffix}")
        expected = torch.zeros_like(bias)
        if cell == "lstm":
            expected[6:12] = 1
        assert torch.equal(bias, expected)


@CELLS
def test_deterministic(cell: Cell) -> None:
    """The same seed gives the same bits, gradients included, with deterministic algorithms on."""

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(3)
        layer = BiRnn(5, 6, cell=cell)
        x = batch().requires_grad_()
        layer(x, LENGTHS).square().sum().backward()
        return [parameter.grad for parameter in (x, *layer.parameters()) if parameter.grad is not None]

    torch.use_deterministic_algorithms(True)
    try:
        first, second = gradients(), gradients()
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(first) == 9
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_errors() -> None:
    """Wrong shapes and cells are named with what was expected."""
    with pytest.raises(ValueError, match=r"\[3, 7, 5\] and lengths \[3\]; expected \[B, T, 4\] and \[B\]"):
        BiRnn(4, 6, cell="gru")(batch(), LENGTHS)
    with pytest.raises(ValueError, match=r"'rnn'; expected one of \['gru', 'lstm'\]"):
        BiRnn(4, 6, cell="rnn")  # type: ignore[arg-type]
