"""The LSTM that reads answers in probing: on whole sequences, or a step at a time, natively where possible.

`nn.LSTM` is the reference implementation. Called for single steps, it packs its weights again in every call, and after
every step accumulates gradients as large as the weights; the native code does both once.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rnn_zoos.networks.native.recurrence import Recurrence, is_usable


class Core(nn.Module):
    """Layers of LSTMs, with or without residual connections.

    x_0 = input; x_l = LSTM_l(x_{l-1}), with `residual` x_l = x_{l-1} + LSTM_l(x_{l-1}) for l > 1 or equal sizes
    """

    def __init__(self, inputs: int, hidden: int, layers: int, residual: bool = False) -> None:
        super().__init__()
        self.hidden_size, self.residual = hidden, residual
        # With residual connections, every layer is an LSTM of its own; otherwise one LSTM has all layers.
        sizes = [(inputs if layer == 0 else hidden) for layer in range(layers)]
        depths = [1] * layers if residual else [layers]
        self.num_layers = max(depths)  # of one LSTM
        lstms = [nn.LSTM(size, hidden, depth, batch_first=True) for size, depth in zip(sizes, depths, strict=False)]
        self.parts = nn.ModuleList(lstms)

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


def _native_lstm(lstm: Any) -> Any:  # noqa: ANN401 - an nn.LSTM, and what is called like one
    """Return a function that does what a call of `lstm` does."""
    recurrence = Recurrence("lstm", [[tensor[None] for tensor in layer] for layer in lstm.all_weights])

    def run(inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:  # noqa: ANN401
        outputs, state = recurrence(inputs[None], state)
        return outputs[0], state

    return run
