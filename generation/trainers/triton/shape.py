"""The compile-time argument of the Triton kernel: sizes of networks and batches, and their layout in memory."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_zoos.errors import BackendError
from rnn_zoos.networks.architecture import GATES, Architecture

SYMBOLS, IMAGES, DENSE = "symbols", "images", "dense"
"""The modes: what the kernel's argument `drawn` holds, see `kernel.train_runs`."""

PRECISIONS = ("tf32x3", "ieee")
"""Precisions of the matrix products: tensor cores with nearly the error of float32 (the default), or float32."""

LARGEST = 64
"""Inputs, hidden units and outputs that the kernel supports at most, so that their tiles fit into registers."""
_SMALLEST = 16  # size of a tile that a matrix product of Triton accepts
_ALIGNED = 16  # floats: the parameters of every run begin at addresses that allow wide loads

_SOURCE = {"lstm": (0, 1, 2, 3), "gru": (0, 1, 2, 2), "rnn": (0,)}


def tile(size: int) -> int:
    """Return the power of two, at least 16, that a size is rounded up to on chip."""
    return max(_SMALLEST, 1 << (size - 1).bit_length())


@dataclass(frozen=True)
class KernelShape:
    """The sizes that the kernel is compiled for, and everything derived from them.

    Every gate is a block of H columns: lstm i, f, g, o; gru r, z, n, m; rnn one. The candidate of a GRU has two blocks,
    n from the inputs and m from the state, because the reset gate r multiplies m alone; both come from the third gate
    of PyTorch's weights.

    Attributes:
        cell, layers, inputs, hidden, outputs: The architecture.
        batch: B, sequences per update.
        steps: T.
        mode: SYMBOLS, IMAGES or DENSE.
        precision: One of `PRECISIONS`.
        image_size: Stored pixels of an image in mode IMAGES, else not used.
    """

    cell: str
    layers: int
    inputs: int
    hidden: int
    outputs: int
    batch: int
    steps: int
    mode: str
    precision: str
    image_size: int = 0

    @classmethod
    def of(
        cls, architecture: Architecture, batch: int, steps: int, mode: str, precision: str, image_size: int = 0
    ) -> KernelShape:
        """Return the shape of an architecture's kernel. Raises BackendError if its tiles are too large."""
        a = architecture
        sizes = {"hidden_size": a.hidden_size, "inputs": a.input_size, "outputs": a.output_size}
        for name, size in sizes.items():
            if size > LARGEST:
                raise BackendError(
                    f"Backend 'triton' supports {name} up to {LARGEST}, because the tiles of a layer must fit into the "
                    f"registers of one program; got {size}. Use a smaller {name}, or --backend stacked."
                )
        return cls(
            cell=a.cell,
            layers=a.num_layers,
            inputs=a.input_size,
            hidden=a.hidden_size,
            outputs=a.output_size,
            batch=batch,
            steps=steps,
            mode=mode,
            precision=precision,
            image_size=image_size,
        )

    # --- Blocks of gates ----------------------------------------------------------------------------------------------

    @property
    def blocks(self) -> int:
        """Number of blocks of gates, each H wide."""
        return len(_SOURCE[self.cell])

    @property
    def source(self) -> tuple[int, ...]:
        """The gate of PyTorch's weights that each block comes from."""
        return _SOURCE[self.cell]

    @property
    def from_inputs(self) -> tuple[bool, ...]:
        """Whether each block reads the layer's inputs: all but m of a GRU."""
        return tuple(not (self.cell == "gru" and block == 3) for block in range(self.blocks))

    @property
    def from_state(self) -> tuple[bool, ...]:
        """Whether each block reads the layer's state: all but n of a GRU."""
        return tuple(not (self.cell == "gru" and block == 2) for block in range(self.blocks))

    @property
    def gate_rows(self) -> int:
        """Length of PyTorch's biases of a layer, G*H."""
        return GATES[self.cell] * self.hidden

    # --- Rows and tiles -----------------------------------------------------------------------------------------------

    @property
    def sequences(self) -> int:
        """Sequences that go through the steps together."""
        return _SMALLEST

    @property
    def chunks(self) -> int:
        """Groups of `sequences` per batch."""
        return -(-self.batch // self.sequences)

    @property
    def rows(self) -> int:
        """Rows of a buffer of hidden states: [chunks, T, sequences]."""
        return self.chunks * self.steps * self.sequences

    @property
    def readout_rows(self) -> int:
        """Rows that the readout processes at a time."""
        return 64

    @property
    def read_tiles(self) -> tuple[int, ...]:
        """Tile of all that each layer reads, inputs and states side by side."""
        return tuple(tile(width + self.hidden_tile) for width in self.width_tiles)

    @property
    def hidden_tile(self) -> int:
        """Tile of the hidden units."""
        return tile(self.hidden)

    @property
    def output_tile(self) -> int:
        """Tile of the outputs."""
        return tile(self.outputs)

    @property
    def holds_inputs(self) -> bool:
        """Whether the weights of a layer's inputs stay on chip for all steps, or are read again at every step.

        For more units they would need more shared memory than is available. The weights of the state always stay.
        """
        return self.hidden_tile <= 32

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of inputs of every layer."""
        return (self.inputs,) + (self.hidden,) * (self.layers - 1)

    @property
    def width_tiles(self) -> tuple[int, ...]:
        """Tile of the inputs of every layer."""
        return tuple(tile(width) for width in self.widths)

    # --- Layout in memory ---------------------------------------------------------------------------------------------

    @property
    def drawn_size(self) -> int:
        """Elements of `drawn` per update of a run, see `kernel.train_runs`."""
        per_sequence = {SYMBOLS: self.steps + 1, IMAGES: 1, DENSE: self.steps * self.inputs}
        return self.batch * per_sequence[self.mode]

    @property
    def layer_at(self) -> tuple[int, ...]:
        """Where the parameters of every layer begin in the flat weights, and last where those of the readout do."""
        starts = [0]
        for width in self.widths:
            starts.append(starts[-1] + self.gate_rows * (width + self.hidden + 2))
        return tuple(starts)

    @property
    def num_parameters(self) -> int:
        """P, the length of the flat weights."""
        return self.layer_at[-1] + self.outputs * (self.hidden + 1)

    @property
    def row(self) -> int:
        """Floats from one run to the next in parameters and moments [M, row]: P, rounded up."""
        return -(-self.num_parameters // _ALIGNED) * _ALIGNED

    @property
    def buffer(self) -> int:
        """Floats of the hidden states of all sequences at all steps of one layer."""
        return self.rows * self.hidden_tile

    @property
    def layer_scratch(self) -> int:
        """Floats of the scratch buffer of one layer of a run: its gates, its hidden states, an LSTM's cells."""
        return self.buffer * (self.blocks + 1 + (self.cell == "lstm"))

    @property
    def scratch(self) -> int:
        """Floats of the scratch buffer of a run: all layers, then the gradient of the output of one layer.

        Paper sizes (LSTM, 2 layers, 32 units, 32 sequences): formal-languages 545,792 floats, 2.1 MiB;
        sequential-mnist 665,600 floats, 2.5 MiB.
        """
        return self.layers * self.layer_scratch + self.buffer

    # --- Compiler -----------------------------------------------------------------------------------------------------

    @property
    def num_warps(self) -> int:
        """Warps of a program."""
        return 4 if self.hidden_tile <= 32 else 8

    def options(self, num_warps: int | None = None) -> dict[str, int]:
        """Return the options of the compiler; `num_warps` replaces the best known value (found with `compile.py`).

        Loads are not pipelined: that would read ahead of the barriers. With tf32x3 and 4 warps, a thread gets at most
        168 registers, so that three programs fit on a multiprocessor; what is spilled then is read outside the loops
        over the steps. With ieee, the products would spill inside them.
        """
        warps = num_warps or self.num_warps
        return {"num_warps": warps, "num_stages": 1} | (
            {"maxnreg": 168} if warps <= 4 and self.precision != "ieee" else {}
        )
