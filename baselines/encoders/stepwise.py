"""An LSTM that is run step by step, because what it reads next depends on what it said: nn.LSTM is its naive twin.

Called for one step at a time, nn.LSTM packs its weights anew in every call, and adds up gradients as large as the
weights after every step. Here a step is one product with weights that stay as they are, and the weights' gradients are
one product over all steps, when the backward pass has come to their beginning.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

LayerState: TypeAlias = tuple[Tensor, Tensor]
Tape: TypeAlias = list[tuple[Tensor, Tensor]]
"""Of every step that the backward pass has been through: what was read [M, I + H], and the gradient [M, 4H]."""


class StepwiseLSTM:
    """An nn.LSTM for one forward pass of many steps: `output, state = core(inputs, state)`."""

    def __init__(self, core: nn.LSTM) -> None:
        self.hidden_size, self.layers = core.hidden_size, list[tuple[Tensor, Tensor, Tape]]()
        for weight_ih, weight_hh, bias_ih, bias_hh in core.all_weights:
            tape: Tape = []
            joined = _Joined.apply(tape, weight_ih, weight_hh, bias_ih, bias_hh)  # type: ignore[no-untyped-call]
            self.layers.append((*joined, tape))

    def __call__(self, inputs: Tensor, state: list[LayerState] | None = None) -> tuple[Tensor, list[LayerState]]:
        """Do one step: inputs [M, I] and every layer's hidden and cell state [M, H] -> output [M, H] and new states."""
        zeros = inputs.new_zeros(len(inputs), self.hidden_size)
        hidden, after = inputs, list[LayerState]()
        for number, (weight, bias, tape) in enumerate(self.layers):
            before, cell = (zeros, zeros) if state is None else state[number]
            read = torch.cat([hidden, before], dim=1)
            gates = _Product.apply(read, weight, bias, tape)  # type: ignore[no-untyped-call]
            entered, kept, candidate, shown = gates.chunk(4, dim=1)
            cell = kept.sigmoid() * cell + entered.sigmoid() * candidate.tanh()
            hidden = shown.sigmoid() * cell.tanh()
            after.append((hidden, cell))
        return hidden, after


class _Joined(torch.autograd.Function):
    """Both matrices of a layer beside each other, and the sum of its biases; their gradients come from the tape."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        tape: Tape,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.tape, ctx.sizes = tape, [weight_ih.shape[1], weight_hh.shape[1]]
        return torch.cat([weight_ih, weight_hh], dim=1), bias_ih + bias_hh

    @staticmethod
    def backward(ctx: Any, *unused: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        inputs, gradients = (torch.cat(tensors) for tensors in zip(*ctx.tape, strict=True))
        ctx.tape.clear()
        bias = gradients.sum(dim=0)
        return None, *(gradients.T @ inputs).split(ctx.sizes, dim=1), bias, bias


class _Product(torch.autograd.Function):
    """inputs @ weight.T + bias, which leaves to the tape what the gradients of weight and bias take."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, tape: Tape) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(inputs, weight)
        ctx.tape = tape
        return torch.addmm(bias, inputs, weight.T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        inputs, weight = ctx.saved_tensors
        ctx.tape.append((inputs, gradient))
        return gradient @ weight, None, None, None
