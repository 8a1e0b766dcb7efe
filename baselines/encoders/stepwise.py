"""An LSTM for calls of one step at a time, as interactive probing needs it. `nn.LSTM` is its reference implementation.

Called for single steps, `nn.LSTM` packs its weights again in every call, and after every step accumulates gradients as
large as the weights. Here a step is one matrix product with weights that are concatenated once per forward pass, and
the gradients of the weights are one product over all steps, computed at the end of the backward pass.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

LayerState: TypeAlias = tuple[Tensor, Tensor]
"""Hidden and cell state of a layer, each [M, H]."""
Tape: TypeAlias = list[tuple[Tensor, Tensor]]
"""What the backward pass has recorded, per step: inputs of the product [M, I + H], gradients of its result [M, 4H]."""


class StepwiseLSTM:
    """An `nn.LSTM` for one forward pass of many steps: `output, state = core(inputs, state)`."""

    def __init__(self, core: nn.LSTM) -> None:
        self.hidden_size, self.layers = core.hidden_size, list[tuple[Tensor, Tensor, Tape]]()
        for weight_ih, weight_hh, bias_ih, bias_hh in core.all_weights:
            tape: Tape = []
            weight, bias = _JoinWeights.apply(tape, weight_ih, weight_hh, bias_ih, bias_hh)  # type: ignore[no-untyped-call]
            self.layers.append((weight, bias, tape))

    def __call__(self, inputs: Tensor, state: list[LayerState] | None = None) -> tuple[Tensor, list[LayerState]]:
        """Do one step: inputs [M, I] and the layers' states -> the last layer's hidden state [M, H] and new states."""
        zeros = inputs.new_zeros(len(inputs), self.hidden_size)
        output, new_state = inputs, list[LayerState]()
        for layer, (weight, bias, tape) in enumerate(self.layers):
            hidden, cell = (zeros, zeros) if state is None else state[layer]
            joined = torch.cat([output, hidden], dim=1)
            gates = _GateProduct.apply(joined, weight, bias, tape)  # type: ignore[no-untyped-call]
            input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=1)
            cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
            output = output_gate.sigmoid() * cell.tanh()
            new_state.append((output, cell))
        return output, new_state


class _JoinWeights(torch.autograd.Function):
    """Concatenates the weight matrices of a layer [4H, I + H] and adds its biases; gradients come from the tape."""

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


class _GateProduct(torch.autograd.Function):
    """inputs @ weight.T + bias; records on the tape what the gradients of weight and bias are computed from."""

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
