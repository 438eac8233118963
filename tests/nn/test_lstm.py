"""The LSTM's own pass on CPU gives what torch's LSTM gives: outputs, states and gradients, to float64's rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.lstm import LmLstm
from taglm_core.training.speed import count_operations

T, B, N, D, U = 7, 3, 5, 4, 6


def both(projection: int) -> tuple[LmLstm, nn.LSTM]:
    """Ours, and torch's with the same weights, all of them random (biases, too)."""
    torch.manual_seed(1)
    ours = LmLstm(D, U, projection).double()
    for weight in ours.parameters():
        nn.init.normal_(weight, std=0.7)
    reference = nn.LSTM(D, U, proj_size=projection if projection < U else 0).double()
    reference.load_state_dict(ours.state_dict())
    return ours, reference


def inputs(projection: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vectors of distinct words [N, D], which stands where [T, B] (word 4 nowhere), hidden and cell state."""
    torch.manual_seed(2)
    leaves = [torch.randn(*shape, dtype=torch.float64, requires_grad=True)
              for shape in ((N, D), (1, B, projection), (1, B, U))]  # fmt: skip
    return leaves[0], torch.randint(0, N - 1, (T, B)), leaves[1], leaves[2]


@pytest.mark.parametrize("projection", [3, U])
@pytest.mark.parametrize("indexed", [True, False])
def test_outputs_states_and_gradients_are_those_of_torch(projection: int, indexed: bool) -> None:
    """Every output and both last states enter the loss, so every way back is used."""
    ours, reference = both(projection)
    words, index, hidden, cell = inputs(projection)
    found, expected = [], []
    for module, kept in ((ours, found), (reference, expected)):
        x = functional.embedding(index, words)
        if module is ours:
            read = ours.read(words, index, (hidden, cell)) if indexed else ours.read(x, None, (hidden, cell))
        else:
            read = reference(x, (hidden, cell))
        outputs, (last, last_cell) = read
        loss = outputs.sin().sum() + (2 * last.cos()).sum() + last_cell.square().sum()
        leaves = [words, hidden, cell, *module.parameters()]
        kept += [outputs, last, last_cell, *torch.autograd.grad(loss, leaves)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_there_is_no_second_derivative() -> None:
    """Refused with a sentence, not with wrong numbers."""
    ours, _ = both(3)
    words, index, hidden, cell = inputs(3)
    outputs, _ = ours.read(words, index, (hidden, cell))
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(outputs.sum(), [words], create_graph=True)


def test_forget_gates_start_open() -> None:
    """Bias 1 at the forget gates, 0 elsewhere (Jozefowicz et al. 2016)."""
    lstm = LmLstm(D, U, 3)
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert bias.tolist() == [0.0] * U + [1.0] * U + [0.0] * 2 * U


def test_every_product_of_a_step_is_counted() -> None:
    """What the GEMM share is a share of: inputs once a distinct word, the rest once a token, twice that backward."""
    lstm = LmLstm(32, 64, 16)
    words, index = torch.randn(9, 32, requires_grad=True), torch.randint(0, 9, (5, 4))
    state = torch.zeros(1, 4, 16, requires_grad=True), torch.zeros(1, 4, 64)
    forward = 2 * (9 * 4 * 64 * 32 + 5 * 4 * (4 * 64 * 16 + 64 * 16))
    assert count_operations(lambda: lstm.read(words, index, state)[0].sum().backward()) == 3 * forward
