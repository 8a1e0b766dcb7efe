"""What the Triton kernel is compiled for: the sizes of a network and its batches, and where they lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

from rnn_zoos.errors import BackendError
from rnn_zoos.networks.architecture import GATES, Architecture

SYMBOLS, IMAGES, DENSE = "symbols", "images", "dense"
"""What `drawn` of the kernel holds, see `triton_kernel.train_runs`."""

PRECISIONS = ("tf32x3", "ieee")
"""Of the matrix products: tensor cores with nearly the error of float32, or float32. The first is the default."""

LARGEST = 64
"""Sequences, inputs, hidden units and outputs that the kernel can do: their tiles must fit into registers."""
_SMALLEST = 16  # what a matrix product of Triton takes
_ALIGNED = 16  # floats: rows of the state begin where wide loads can

_SOURCE = {"lstm": (0, 1, 2, 3), "gru": (0, 1, 2, 2), "rnn": (0,)}


def tile(size: int) -> int:
    """Return the power of two, 16 or more, that a size is rounded up to on chip."""
    return max(_SMALLEST, 1 << (size - 1).bit_length())


@dataclass(frozen=True)
class KernelShape:
    """The compile-time argument of the kernel; `mode` is SYMBOLS, IMAGES or DENSE, `precision` tf32x3 or ieee.

    `image_size` is the number of stored pixels of an image (IMAGES; else 0).

    A unit has `blocks` columns of gates: lstm i, f, g, o; gru r, z, n, m; rnn one. Of a GRU's candidate, n comes from
    the inputs and m from the state, and the reset gate r multiplies m alone; so n and m are two blocks, though both
    come from the third gate of PyTorch's weights.
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
        """Return the shape of an architecture's kernel. Raises BackendError if its tiles do not fit on chip."""
        a = architecture
        sizes = {"hidden_size": a.hidden_size, "inputs": a.input_size, "outputs": a.output_size}
        for name, size in sizes.items():
            if size > LARGEST:
                raise BackendError(
                    f"Backend 'triton' can do {name} up to {LARGEST}, since the tiles of a layer must fit into the "
                    f"registers of one program; asked for {size}. Use a smaller {name}, or --backend stacked."
                )
        return cls(
            a.cell,
            a.num_layers,
            a.input_size,
            a.hidden_size,
            a.output_size,
            batch,
            steps,
            mode,
            precision,
            image_size,
        )

    @property
    def blocks(self) -> int:
        """Blocks of gates, each H wide."""
        return len(_SOURCE[self.cell])

    @property
    def source(self) -> tuple[int, ...]:
        """Which gate of PyTorch's weights a block comes from."""
        return _SOURCE[self.cell]

    @property
    def from_inputs(self) -> tuple[bool, ...]:
        """Whether a block reads the layer's inputs: all but m of a GRU."""
        return tuple(not (self.cell == "gru" and block == 3) for block in range(self.blocks))

    @property
    def from_state(self) -> tuple[bool, ...]:
        """Whether a block reads the layer's state: all but n of a GRU."""
        return tuple(not (self.cell == "gru" and block == 2) for block in range(self.blocks))

    @property
    def sequences(self) -> int:
        """Sequences that are done at a time."""
        return _SMALLEST

    @property
    def chunks(self) -> int:
        """How often that is, per batch."""
        return -(-self.batch // self.sequences)

    @property
    def rows(self) -> int:
        """Rows of a buffer of hidden states: [chunks, T, sequences]."""
        return self.chunks * self.steps * self.sequences

    @property
    def readout_rows(self) -> int:
        """Rows that the readout does at a time."""
        return 64

    @property
    def read_tiles(self) -> tuple[int, ...]:
        """Columns on chip of all that a layer reads, inputs and states side by side."""
        return tuple(tile(width + self.hidden_tile) for width in self.width_tiles)

    @property
    def hidden_tile(self) -> int:
        """Hidden units on chip."""
        return tile(self.hidden)

    @property
    def input_tile(self) -> int:
        """Inputs on chip."""
        return tile(self.inputs)

    @property
    def output_tile(self) -> int:
        """Outputs on chip."""
        return tile(self.outputs)

    @property
    def num_warps(self) -> int:
        """Warps of a program."""
        return 4 if self.hidden_tile <= 32 else 8

    @property
    def drawn_size(self) -> int:
        """Elements of what is drawn for one update of a run, see `triton_kernel.train_runs`."""
        of_a_sequence = {SYMBOLS: self.steps + 1, IMAGES: 1, DENSE: self.steps * self.inputs}
        return self.batch * of_a_sequence[self.mode]

    @property
    def holds_inputs(self) -> bool:
        """Whether the weights of a layer's inputs stay on chip for all steps, or are read again in each.

        With more units they would need more shared memory than there is; those of the state always stay.
        """
        return self.hidden_tile <= 32

    @property
    def gate_rows(self) -> int:
        """Rows of PyTorch's weights of a layer, G*H."""
        return GATES[self.cell] * self.hidden

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs of every layer."""
        return (self.inputs,) + (self.hidden,) * (self.layers - 1)

    @property
    def width_tiles(self) -> tuple[int, ...]:
        """Inputs of every layer on chip."""
        return tuple(tile(width) for width in self.widths)

    @property
    def layer_at(self) -> tuple[int, ...]:
        """Where the parameters of every layer begin in the flat weights; one more place: the readout."""
        places = [0]
        for width in self.widths:
            places.append(places[-1] + self.gate_rows * (width + self.hidden + 2))
        return tuple(places)

    @property
    def num_parameters(self) -> int:
        """P, the length of the flat weights."""
        return self.layer_at[-1] + self.outputs * (self.hidden + 1)

    @property
    def row(self) -> int:
        """Floats between two runs in the state [M, row]: P, rounded up."""
        return -(-self.num_parameters // _ALIGNED) * _ALIGNED

    @property
    def buffer(self) -> int:
        """Floats of the hidden states of all sequences at all steps."""
        return self.rows * self.hidden_tile

    @property
    def layer_scratch(self) -> int:
        """Floats of the scratch buffer of one layer of a run: its gates, its hidden states, an LSTM's cells."""
        return self.buffer * (self.blocks + 1 + (self.cell == "lstm"))

    @property
    def scratch(self) -> int:
        """Floats of the scratch buffer of a run: all layers, then the gradient of the output of the layer in work.

        Paper sizes (LSTM, 2 layers, 32 units, 32 sequences): formal-languages 545,792 floats, 2.1 MiB;
        sequential-mnist 665,600 floats, 2.5 MiB.
        """
        return self.layers * self.layer_scratch + self.buffer

    def options(self, num_warps: int | None = None) -> dict[str, int]:
        """Return the compiler's options; `num_warps` replaces the best that is known (`triton_compile`).

        No pipelining of loads: it would read ahead of the barriers. With tf32x3 and 4 warps at most 168 registers a
        thread, so that three programs fit on a multiprocessor; what is spilled then is read outside the loops over the
        steps. Products in ieee would spill inside them.
        """
        warps = num_warps or self.num_warps
        return {"num_warps": warps, "num_stages": 1} | (
            {"maxnreg": 168} if warps <= 4 and self.precision != "ieee" else {}
        )
