"""The architecture of a network: its sizes, and the names and shapes of its parameters in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Protocol

from rnn_zoos.errors import FormatError, UnknownNameError

GATES = MappingProxyType({"lstm": 4, "gru": 3, "rnn": 1})
"""Number of gates G of each cell, in PyTorch's order: lstm i, f, g, o; gru r, z, n; rnn (tanh) one candidate."""


class Shaped(Protocol):
    """A tensor or an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class Architecture:
    """A recurrent network with a linear readout at every step.

    Parameters have PyTorch's names (`lstm.weight_ih_l0`, ..., `linear.bias`) and shapes.

    Args:
        cell: `lstm`, `gru` or `rnn` (with tanh).
        num_layers: L, recurrent layers.
        input_size: I, numbers read per step.
        hidden_size: H, hidden units per layer.
        output_size: O, outputs per step.

    Raises:
        UnknownNameError: `cell` is not a known cell.
        FormatError: A size is not a whole number of at least 1.

    Example:
        >>> from rnn_zoos import Architecture
        >>> architecture = Architecture("lstm", num_layers=2, input_size=6, hidden_size=32, output_size=6)
        >>> architecture.num_parameters
        13766
        >>> architecture.parameter_shapes["lstm.weight_ih_l0"]
        (128, 6)
    """

    cell: str
    num_layers: int
    input_size: int
    hidden_size: int
    output_size: int

    def __post_init__(self) -> None:
        if self.cell not in GATES:
            raise UnknownNameError.among("cell", self.cell, GATES)
        for name in ("num_layers", "input_size", "hidden_size", "output_size"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise FormatError(f"{name} is {size!r}; expected a whole number of at least 1.")

    @classmethod
    def of(cls, weights: Mapping[str, Shaped]) -> Architecture:
        """Return the architecture of the networks with these weights.

        Args:
            weights: Parameter name -> tensor or array, [*shape] for one network or [M, *shape] for M.

        Returns:
            The architecture.

        Raises:
            FormatError: The names or shapes are not those of a recurrent network with a linear readout.

        Example:
            >>> from rnn_zoos import Architecture, RecurrentNetwork
            >>> architecture = Architecture("gru", 2, input_size=6, hidden_size=32, output_size=6)
            >>> Architecture.of(RecurrentNetwork(architecture).weights()) == architecture
            True
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        cells = {name.partition(".")[0] for name in shapes} & GATES.keys()
        try:
            (cell,) = cells
            *leading, output_size, hidden_size = shapes["linear.weight"]
            layers = sum(name.startswith(f"{cell}.weight_hh_l") for name in shapes)
            found = cls(cell, layers, shapes[f"{cell}.weight_ih_l0"][-1], hidden_size, output_size)
        except (KeyError, ValueError, IndexError) as error:
            raise FormatError(f"These are not the weights of a recurrent network: {shapes}.") from error
        expected = {name: (*leading, *shape) for name, shape in found.parameter_shapes.items()}
        if shapes != expected:
            raise FormatError(f"The weights have the shapes {shapes}; expected {expected} for {found}.")
        return found

    def layer_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the parameters of one recurrent layer.

        Args:
            layer: Number of the layer, from 0.

        Returns:
            Name -> shape of weight_ih [GH, I or H], weight_hh [GH, H], bias_ih [GH] and bias_hh [GH], in this order.

        Example:
            >>> from rnn_zoos import Architecture
            >>> list(Architecture("gru", 2, 6, 32, 6).layer_shapes(1))
            ['gru.weight_ih_l1', 'gru.weight_hh_l1', 'gru.bias_ih_l1', 'gru.bias_hh_l1']
        """
        gate_units = GATES[self.cell] * self.hidden_size
        inputs = self.input_size if layer == 0 else self.hidden_size
        return {
            f"{self.cell}.weight_ih_l{layer}": (gate_units, inputs),
            f"{self.cell}.weight_hh_l{layer}": (gate_units, self.hidden_size),
            f"{self.cell}.bias_ih_l{layer}": (gate_units,),
            f"{self.cell}.bias_hh_l{layer}": (gate_units,),
        }

    @property
    def name(self) -> str:
        """Cell, layers and hidden units, such as lstm-2x32. Networks of one zoo differ in nothing else."""
        return f"{self.cell}-{self.num_layers}x{self.hidden_size}"

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter, in the order of the flat weight vector (that of `state_dict`)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            shapes |= self.layer_shapes(layer)
        return shapes | {"linear.weight": (self.output_size, self.hidden_size), "linear.bias": (self.output_size,)}

    @property
    def num_parameters(self) -> int:
        """P, the length of the flat weight vector."""
        return sum(prod(shape) for shape in self.parameter_shapes.values())
