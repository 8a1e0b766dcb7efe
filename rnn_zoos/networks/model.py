"""One network as a torch module, with the parameter names of the zoo."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.weights import check_weights, unflatten
from rnn_zoos.randomness import Purpose, random_bits, to_uniform

LAYERS: Mapping[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = MappingProxyType(
    {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
)


class RecurrentNetwork(nn.Module):
    """torch.nn.LSTM, GRU or RNN (tanh), then torch.nn.Linear at every step.

    The recurrent part is the attribute named after the cell (`network.lstm`), the readout is `network.linear`, so that
    `state_dict` has the zoo's names. Given `weights` are copied into it.
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        recurrent = LAYERS[architecture.cell](
            architecture.input_size, architecture.hidden_size, architecture.num_layers, batch_first=True
        )
        self.add_module(architecture.cell, recurrent)
        self.linear = nn.Linear(architecture.hidden_size, architecture.output_size)
        if weights is not None:
            check_weights(architecture, weights)
            self.load_state_dict(dict(weights))

    def forward(self, inputs: Tensor, state: Tensor | tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Map inputs [B, T, I] to outputs [B, T, O]; `state` is that of the recurrent module, zeros if not given."""
        hidden, _ = self.get_submodule(self.architecture.cell)(inputs, state)
        outputs: Tensor = self.linear(hidden)
        return outputs

    def weights(self) -> dict[str, Tensor]:
        """Return a detached copy of the named weights."""
        return {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}


def initial_weights(architecture: Architecture, seed: int, run: int) -> dict[str, Tensor]:
    """Return the named weights of a run before its first update.

    PyTorch's default: every parameter, the readout's included, is uniform in [-1/sqrt(H), 1/sqrt(H)). Drawn from the
    run's own stream, so the network depends on (seed, run) alone.
    """
    bits = random_bits(seed, [run], Purpose.INIT, [0], architecture.num_parameters)
    bound = architecture.hidden_size**-0.5
    return unflatten(architecture, (2 * to_uniform(bits[0, 0]) - 1) * bound)
