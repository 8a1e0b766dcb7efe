"""The shape of a network: a frozen description that names every parameter, in order."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import MappingProxyType

from rnn_zoos.errors import FormatError, UnknownNameError

GATES = MappingProxyType({"lstm": 4, "gru": 3, "rnn": 1})
"""Number of gates G of each cell, in PyTorch's order: lstm i, f, g, o; gru r, z, n; rnn (tanh) one candidate."""


@dataclass(frozen=True)
class Architecture:
    """A recurrent network of `num_layers` layers with a linear readout at every step.

    `cell` is one of `GATES`; the parameters carry PyTorch's names (`lstm.weight_ih_l0`, ..., `linear.bias`) and shapes.
    Raises UnknownNameError for a cell that is not known and FormatError for a size below 1.
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

    def layer_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of one recurrent layer (counted from 0): weight_ih, weight_hh, bias_ih, bias_hh."""
        rows = GATES[self.cell] * self.hidden_size
        inputs = self.input_size if layer == 0 else self.hidden_size
        return {
            f"{self.cell}.weight_ih_l{layer}": (rows, inputs),
            f"{self.cell}.weight_hh_l{layer}": (rows, self.hidden_size),
            f"{self.cell}.bias_ih_l{layer}": (rows,),
            f"{self.cell}.bias_hh_l{layer}": (rows,),
        }

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter, in the order of the flat vector (that of `state_dict`)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            shapes |= self.layer_shapes(layer)
        return shapes | {"linear.weight": (self.output_size, self.hidden_size), "linear.bias": (self.output_size,)}

    @property
    def num_parameters(self) -> int:
        """P, the length of the flat weight vector."""
        return sum(prod(shape) for shape in self.parameter_shapes.values())
