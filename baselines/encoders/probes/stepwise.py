"""The LSTM that reads answers in probing: on whole sequences, or a step at a time, natively where possible.

`nn.LSTM` is the reference implementation. Called for single steps, it packs its weights again in every call, and after
every step accumulates gradients as large as the weights; the native code does both once.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.networks.native.recurrence import Recurrence, is_usable

InitialCore: TypeAlias = Literal["uniform", "orthogonal"]
"""How the weights of a core start; see `Core`."""

_FORGET = 1  # PyTorch's order of gates: input, forget, cell, output


class Core(nn.Module):
    """Layers of LSTMs, with or without residual connections.

    x_0 = input; x_l = LSTM_l(x_{l-1}), with `residual` x_l = x_{l-1} + LSTM_l(x_{l-1}) for l > 1 or equal sizes

    With `initial="uniform"`, weights start as PyTorch's: small, with forget gates half open, so that the last hidden
    state hardly depends on the first steps. With `orthogonal`, see `start_orthogonal`, it depends on all of them.

    Raises:
        UnknownNameError: There is no such form of initial weights.
    """

    def __init__(
        self, inputs: int, hidden: int, layers: int, residual: bool = False, initial: InitialCore = "uniform"
    ) -> None:
        super().__init__()
        if initial not in get_args(InitialCore):
            raise UnknownNameError.among("form of initial weights", initial, get_args(InitialCore))
        self.hidden_size, self.residual = hidden, residual
        # With residual connections, every layer is an LSTM of its own; otherwise one LSTM has all layers.
        sizes = [(inputs if layer == 0 else hidden) for layer in range(layers)]
        depths = [1] * layers if residual else [layers]
        self.num_layers = max(depths)  # of one LSTM
        lstms = [nn.LSTM(size, hidden, depth, batch_first=True) for size, depth in zip(sizes, depths, strict=False)]
        self.parts = nn.ModuleList(lstms)
        if initial == "orthogonal":
            for lstm in lstms:
                start_orthogonal(lstm)

    def start(self) -> RunningCore:
        """Return the core ready to run on sequences, with its present weights."""
        return RunningCore(self)


class RunningCore:
    """A `Core` for one forward pass: `outputs, state = core(inputs, state)` with inputs and outputs [M, T, *]."""

    def __init__(self, core: Core) -> None:
        self.core = core
        usable = is_usable(list(core.parameters()), num_layers=core.num_layers)
        self.parts = [_native_lstm(part) if usable else part for part in core.parts]

    def __call__(self, inputs: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """Do T steps from inputs [M, T, I]; return the last layer's hidden states [M, T, H] and the new state."""
        new_state, outputs = [], inputs
        for number, part in enumerate(self.parts):
            hidden, last = part(outputs, None if state is None else state[number])
            new_state.append(last)
            residual = self.core.residual and outputs.shape[-1] == self.core.hidden_size
            outputs = outputs + hidden if residual else hidden
        return outputs, new_state


@torch.no_grad()
def start_orthogonal(lstm: nn.LSTM) -> None:
    """Change the initial weights of an LSTM so that its hidden states keep what it has read.

    The recurrent matrices of all gates become orthogonal (Saxe et al., 2014, arXiv:1312.6120), those of the inputs
    Xavier-uniform (Glorot and Bengio, 2010), and the bias of the forget gate 1 (Jozefowicz et al., 2015).
    """
    for of_inputs, recurrent, bias_of_inputs, recurrent_bias in lstm.all_weights:
        for matrix in of_inputs.chunk(4):
            nn.init.xavier_uniform_(matrix)
        for matrix in recurrent.chunk(4):
            nn.init.orthogonal_(matrix)
        bias_of_inputs.chunk(4)[_FORGET].fill_(1)
        recurrent_bias.chunk(4)[_FORGET].zero_()


def _native_lstm(lstm: Any) -> Any:  # noqa: ANN401 - an nn.LSTM, and what is called like one
    """Return a function that does what a call of `lstm` does."""
    recurrence = Recurrence("lstm", [[tensor[None] for tensor in layer] for layer in lstm.all_weights])

    def run(inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:  # noqa: ANN401
        outputs, state = recurrence(inputs[None], state)
        return outputs[0], state

    return run
