"""Recurrent networks that run natively, as differentiable functions. Python side of the extension `_native`.

Equal to `rnn_zoos.networks.stack.NetworkStack` without it, and to `torch.nn.LSTM`, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnn_zoos.errors import BackendError

_FLOAT = torch.empty(0, dtype=torch.float32, device="cpu")
"""Makes tensors that the native code reads and writes, whatever torch's defaults for new tensors are."""

try:
    from rnn_zoos.networks.native import _native
except ImportError:  # built without a C++ compiler
    _native = None  # type: ignore[assignment]

NativeState: TypeAlias = tuple[Tensor, Tensor | None]
"""Hidden states and, of an LSTM, cells of all layers: each [M, L, B, H]."""


NATIVE_CELLS = ("lstm", "gru", "rnn")
"""The cells that cells.h has; others run in torch."""
NATIVE_LAYERS = 16
"""Layers that the native code has room for at most (`MAX_LAYERS` in architecture.h); more run in torch."""
_allowed = ContextVar("_allowed", default=True)


def is_usable(tensors: Sequence[Tensor], cell: str = "lstm", num_layers: int = 1) -> bool:
    """Return whether the extension exists and can run these networks: float32 on the CPU, not empty, not too deep."""
    return (
        _native is not None
        and _allowed.get()
        and cell in NATIVE_CELLS
        and num_layers <= NATIVE_LAYERS
        and all(t.device.type == "cpu" and t.dtype == torch.float32 and t.numel() > 0 for t in tensors)
    )


@contextmanager
def without_native_code() -> Iterator[None]:
    """Run everything in torch, the reference implementation, for example to count its operations."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


class Recurrence:
    """M networks of one architecture, packed for the native code; their weights must not change afterwards.

    Gradients flow to inputs, initial state and parameters; they cannot be differentiated again.

    Args:
        cell: lstm, gru or rnn.
        layers: Stacked weight_ih [M, G H, I], weight_hh [M, G H, H], bias_ih and bias_hh [M, G H] of every layer.
        readout: Stacked weight [M, O, H] and bias [M, O]; without it, outputs are the last layer's states.
        instruction_set: One of `instruction_sets()`, by default the best of this machine.

    Raises:
        BackendError: The package was built without a C++ compiler.
    """

    def __init__(
        self,
        cell: str,
        layers: Sequence[Sequence[Tensor]],
        readout: Sequence[Tensor] = (),
        instruction_set: str | None = None,
    ) -> None:
        if _native is None:
            raise BackendError("The native code was not built. Install rnn-zoos where there is a C++ compiler.")
        parameters = [*(tensor for layer in layers for tensor in layer), *readout]
        self.cell, self.num_layers, self.hidden = cell, len(layers), layers[0][1].shape[-1]
        self.outputs = readout[1].shape[-1] if readout else self.hidden
        arrays = [_array(tensor.contiguous()) for tensor in parameters]
        self.stack = _native.Stack(cell, len(layers), arrays, instruction_set or instruction_sets()[0])
        self.parameters = parameters
        self.trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in parameters)
        # An input of every pass, so that the engine asks for the parameters' gradients after the last of them.
        self.token = _Parameters.apply(self.stack, *parameters) if self.trains else None  # type: ignore[no-untyped-call]

    def __call__(self, inputs: Tensor, state: NativeState | None = None) -> tuple[Tensor, NativeState]:
        """Run on inputs [M, B, T, I]; return outputs [M, B, T, O] and the last state."""
        hidden, cell = state or (None, None)
        outputs, hidden, cell = _Pass.apply(self, self.token, inputs, hidden, cell)  # type: ignore[no-untyped-call]
        return outputs, (hidden, cell)


def instruction_sets() -> list[str]:
    """Return the instruction sets of this machine that the code is compiled for, the best first."""
    return _native.instruction_sets()


class _Parameters(torch.autograd.Function):
    """Returns a number that stands for the parameters; its backward pass takes their gradients from the stack."""

    @staticmethod
    def forward(ctx: Any, stack: _native.Stack, *parameters: Tensor) -> Tensor:  # noqa: ANN401
        # The stack alone: a `Recurrence` here would be a cycle of references, which keeps its memory for long.
        ctx.stack, ctx.shapes = stack, [tensor.shape for tensor in parameters]
        return _FLOAT.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *unused: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        gradients = [_FLOAT.new_empty(shape) for shape in ctx.shapes]
        ctx.stack.take_gradients([_array(tensor) for tensor in gradients])
        return (None, *gradients)


class _Pass(torch.autograd.Function):
    """Runs a stack on inputs from an initial state."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        recurrence: Recurrence,
        token: Tensor | None,
        inputs: Tensor,
        hidden: Tensor | None,
        cell: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        networks, batch, steps, _ = inputs.shape
        state_shape = (networks, recurrence.num_layers, batch, recurrence.hidden)
        outputs = _FLOAT.new_empty(networks, batch, steps, recurrence.outputs)
        last_hidden = _FLOAT.new_empty(state_shape)
        last_cell = _FLOAT.new_empty(state_shape) if recurrence.cell == "lstm" else None
        inputs, hidden, cell = inputs.contiguous(), _contiguous(hidden), _contiguous(cell)
        keeps = any(ctx.needs_input_grad)
        tape = _FLOAT.new_empty(recurrence.stack.tape_size(batch, steps)) if keeps else None
        arrays = map(_optional_array, (inputs, hidden, cell, outputs, last_hidden, last_cell, tape))
        recurrence.stack.forward(*arrays)  # type: ignore[arg-type]
        if keeps:
            ctx.recurrence = recurrence
            ctx.save_for_backward(inputs, tape)
            ctx.set_materialize_grads(False)
        return outputs, last_hidden, last_cell

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        recurrence, (inputs, tape) = ctx.recurrence, ctx.saved_tensors
        _, needs_token, needs_inputs, needs_hidden, needs_cell = ctx.needs_input_grad
        d_outputs, d_hidden, d_cell = map(_contiguous, gradients)
        networks, batch, steps, _ = inputs.shape
        state_shape = (networks, recurrence.num_layers, batch, recurrence.hidden)
        if d_outputs is None:
            d_outputs = _FLOAT.new_zeros(networks, batch, steps, recurrence.outputs)
        d_inputs = torch.empty_like(inputs) if needs_inputs else None
        d_first = [_FLOAT.new_empty(state_shape) if needed else None for needed in (needs_hidden, needs_cell)]
        arrays = map(_optional_array, (inputs, tape, d_outputs, d_hidden, d_cell, d_inputs, *d_first))
        # Parameters may need gradients, but not now: `autograd.grad(outputs, inputs)` would leave their sums behind.
        needs_token = needs_token and torch._C._will_engine_execute_node(recurrence.token.grad_fn)
        recurrence.stack.backward(*arrays, needs_token)
        return None, _FLOAT.new_zeros(()) if needs_token else None, d_inputs, *d_first


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    """Return a contiguous tensor as a numpy array that shares its memory."""
    return tensor.detach().numpy()


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _optional_array(tensor: Tensor | None) -> npt.NDArray[np.float32] | None:
    return None if tensor is None else _array(tensor)
