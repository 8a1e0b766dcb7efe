"""One network as a torch module with the parameter names of the zoo, and the initial weights of a run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.notebook import network_html
from rnn_zoos.networks.weights import check_weights, unflatten
from rnn_zoos.randomness import Purpose, random_bits, to_uniform

TORCH_MODULES: Mapping[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = MappingProxyType(
    {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
)


class RecurrentNetwork(nn.Module):
    """One network: torch.nn.LSTM, GRU or RNN (tanh), then torch.nn.Linear at every step.

    The recurrent part is the attribute named after the cell (such as `network.lstm`), the readout is `network.linear`,
    so that `state_dict` has the names of the zoo.

    Args:
        architecture: Architecture of the network.
        weights: Named weights [*shape], which are copied; by default the weights are torch's random initialisation.

    Attributes:
        architecture: Architecture of the network.
        linear: The readout.

    Raises:
        FormatError: The weights do not fit the architecture, or are stacked.

    Example:
        >>> import torch
        >>> from rnn_zoos import Architecture, RecurrentNetwork
        >>> network = RecurrentNetwork(Architecture("gru", 2, input_size=6, hidden_size=32, output_size=6))
        >>> network(torch.zeros(5, 41, 6)).shape
        torch.Size([5, 41, 6])
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        recurrent = TORCH_MODULES[architecture.cell](
            architecture.input_size, architecture.hidden_size, architecture.num_layers, batch_first=True
        )
        self.add_module(architecture.cell, recurrent)
        self.linear = nn.Linear(architecture.hidden_size, architecture.output_size)
        if weights is not None:
            if leading := check_weights(architecture, weights):
                raise FormatError(
                    f"The weights have the leading axes {leading}; expected those of one network. Use NetworkStack, or "
                    "one of `unstack_weights`."
                )
            self.load_state_dict(dict(weights))

    def forward(self, inputs: Tensor, state: Tensor | tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Run the network; call the network itself, as with every torch module.

        Args:
            inputs: [B, T, I].
            state: Initial state as the torch module takes it: (h, c) for an LSTM, else h, each [L, B, H]. By default
                zeros.

        Returns:
            Outputs [B, T, O].

        Example:
            >>> import torch
            >>> from rnn_zoos import Architecture, RecurrentNetwork
            >>> network = RecurrentNetwork(Architecture("rnn", 1, input_size=6, hidden_size=32, output_size=6))
            >>> outputs = network(torch.zeros(5, 41, 6), torch.zeros(1, 5, 32))
        """
        hidden, _ = self.get_submodule(self.architecture.cell)(inputs, state)
        outputs: Tensor = self.linear(hidden)
        return outputs

    def weights(self) -> dict[str, Tensor]:
        """Copy the weights.

        Returns:
            Name -> a detached copy [*shape] of every parameter, in the order of `Architecture.parameter_shapes`.

        Example:
            >>> from rnn_zoos import Architecture, RecurrentNetwork, flatten
            >>> network = RecurrentNetwork(Architecture("rnn", 1, input_size=6, hidden_size=32, output_size=6))
            >>> flat = flatten(network.architecture, network.weights())
        """
        return {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}

    def _repr_html_(self) -> str:
        return network_html(self)


def initial_weights(architecture: Architecture, seed: int, run: int, scale: float = 1.0) -> dict[str, Tensor]:
    """Return the named weights of a run before its first update; seed, run and scale decide them.

    The distribution is PyTorch's default times `scale`: every parameter, including the readout, is uniform in
    [-1/sqrt(H), 1/sqrt(H)) * scale.
    """
    bits = random_bits(seed, [run], Purpose.INIT, [0], architecture.num_parameters)
    bound = architecture.hidden_size**-0.5
    return unflatten(architecture, (2 * to_uniform(bits[0, 0]) - 1) * bound * scale)
