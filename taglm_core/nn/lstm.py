"""The LSTM layer of a language model, with a pass of its own for processors without cuDNN.

A word's part of the gates is computed once per distinct word of a window; torch's LSTM cannot do that. A step
multiplies only what the recurrence forces it to (docs/decisions/0005).

Axes: T tokens, B streams or sentences, N distinct words, D input, U units, P projection (P = U without one).
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from taglm_core.nn.gates import tanh_, through_sigmoid, through_tanh
from taglm_core.nn.products import add_product, autocast_type, product

State = tuple[Tensor, Tensor]


class LmLstm(nn.LSTM):
    """One LSTM layer with projection; parameters and results are those of `nn.LSTM`.

    Args:
        inputs: D, size of the input.
        units: U.
        projection: P; equal to `units` for none.

    Source: Sak et al. 2014 (projection); initialisation and forget bias 1 as in Jozefowicz et al. 2016.
    """

    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    weight_hr_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter

    def __init__(self, inputs: int, units: int, projection: int) -> None:
        super().__init__(inputs, units, proj_size=projection if projection < units else 0)
        for name, parameter in self.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            else:
                bound = parameter.shape[1] ** -0.5
                nn.init.uniform_(parameter, -bound, bound)
        with torch.no_grad():
            self.bias_ih_l0[units : 2 * units] = 1.0  # gates are stored in the order input, forget, cell, output

    def project(self, x: Tensor) -> Tensor:
        """Return the part of the gates [..., 4U] that inputs [..., D] give, with the biases."""
        return functional.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)

    def read(self, x: Tensor, index: Tensor | None, state: State, *, projected: bool = False) -> tuple[Tensor, State]:
        """Return the states after each step.

        Args:
            x: inputs [T, B, D]; with an index, the vectors of distinct words [N, D].
            index: distinct word at each position [T, B], or None. With an index, a word's part of the gates is computed
                once.
            state: hidden [1, B, P] and cell [1, B, U] before the first step.
            projected: whether x is what `project` returned; on the CPU alone.

        Returns:
            [T, B, P], and the state after the last step.
        """
        if x.device.type != "cpu":  # cuDNN takes only whole inputs; under autocast it would round cell states, too
            with torch.autocast("cuda", enabled=False) if x.is_cuda else contextlib.nullcontext():
                return self((x if index is None else functional.embedding(index, x)).float(), state)
        steps, batch = x.shape[:2] if index is None else index.shape
        rows = (x if projected else self.project(x)).to(state[0].dtype)
        if index is None:
            index = torch.arange(steps * batch).view(steps, batch)
        projection = self.weight_hr_l0 if self.proj_size else None
        low = autocast_type()
        with torch.autocast("cpu", enabled=False):
            outputs, hidden, cell = _Recurrence.apply(
                rows.reshape(-1, 4 * self.hidden_size),
                index,
                self.weight_hh_l0,
                projection,
                state[0][0],
                state[1][0],
                low,
            )
        return outputs, (hidden[None], cell[None])


class _Recurrence(torch.autograd.Function):
    """The steps of an LSTM after its input products: rows [N, 4U] at index [T, B] -> outputs [T, B, P].

    With the gates i, f, g, o after their activations, c' = f c + i g, m = o tanh(c'), h' = W_hr m. Also returns the
    state after the last step. Matrices are multiplied in the type `low` unless it is None; all else keeps its type.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        index: Tensor,
        recurrent: Tensor,
        projection: Tensor | None,
        hidden: Tensor,
        cell: Tensor,
        low: torch.dtype | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch = index.shape
        units = rows.shape[1] // 4
        keep = any(ctx.needs_input_grad)  # without a backward pass its inputs are kept for one step only
        kept = steps if keep else 1
        gates = rows.new_empty(kept, batch, 4 * units)
        cells = rows.new_empty(kept + 1, batch, units)  # row 0 is the state before the first step
        outputs = rows.new_empty(steps + 1, batch, hidden.shape[1])
        squashed, memory = rows.new_empty(kept, batch, units), rows.new_empty(kept, batch, units)
        cells[0], outputs[0] = cell, hidden
        if low is not None:
            recurrent, projection = recurrent.to(low), None if projection is None else projection.to(low)
        for step in range(steps):
            t, after = (step, step + 1) if keep else (0, 0)
            gate = torch.index_select(rows, 0, index[step], out=gates[t])  # [B, 4U]
            add_product(gate, outputs[step], recurrent.t())
            gate[:, : 2 * units].sigmoid_()
            tanh_(gate[:, 2 * units : 3 * units])
            gate[:, 3 * units :].sigmoid_()
            i, f, g, o = gate.split(units, 1)
            torch.mul(f, cells[t], out=cells[after]).addcmul_(i, g)
            tanh_(squashed[t].copy_(cells[after]))
            torch.mul(o, squashed[t], out=memory[t])
            outputs[step + 1] = memory[t] if projection is None else product(memory[t], projection.t())
        if keep:
            ctx.save_for_backward(index, gates, cells, squashed, memory, outputs, recurrent, projection)
            ctx.rows = len(rows)
        return outputs[1:], outputs[-1].clone(), cells[-1 if keep else 0].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # only under create_graph=True
            raise NotImplementedError("LmLstm has no second derivative; call backward without create_graph=True")
        index, gates, cells, squashed, memory, outputs, recurrent, projection = ctx.saved_tensors
        steps, batch, width = gates.shape
        units = width // 4
        d_states, d_cell = gradients[0].clone(memory_format=torch.contiguous_format), gradients[2].clone()
        d_states[-1] += gradients[1]
        d_gates, d_hidden = torch.empty_like(gates), torch.zeros_like(outputs[0])
        for t in range(steps - 1, -1, -1):
            i, f, g, o = gates[t].split(units, 1)
            d_i, d_f, d_g, d_o = d_gates[t].split(units, 1)
            d_memory = d_states[t] if projection is None else product(d_states[t], projection)  # [B, U]
            through_sigmoid(d_memory * squashed[t], o, d_o)
            d_squashed = d_memory * o
            d_cell += through_tanh(d_squashed, squashed[t], d_squashed)
            through_sigmoid(d_cell * g, i, d_i)
            through_sigmoid(d_cell * cells[t], f, d_f)
            through_tanh(d_cell * i, g, d_g)
            d_cell.mul_(f)
            add_product(d_states[t - 1] if t else d_hidden, d_gates[t], recurrent)
        flat, low = d_gates.view(-1, width), recurrent.dtype
        d_recurrent = product(flat.t(), outputs[:-1].view(steps * batch, -1).to(low))
        d_projection = None
        if projection is not None:
            d_projection = product(d_states.view(steps * batch, -1).t(), memory.view(steps * batch, units).to(low))
        d_rows = torch.ops.aten.embedding_dense_backward(flat, index.reshape(-1), ctx.rows, -1, False)
        return d_rows, None, d_recurrent, d_projection, d_hidden, d_cell, None
