"""The compile-time argument of the Triton kernel: sizes of networks and batches, and their layout in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rnn_zoos.errors import BackendError
from rnn_zoos.networks.architecture import GATES, Architecture

SYMBOLS, IMAGES, DENSE = "symbols", "images", "dense"
"""The modes: what the kernel's argument `drawn` holds, see `kernel.train_runs`."""

PRECISIONS = ("tf32x3", "ieee")
"""Precisions of the matrix products: tensor cores with nearly the error of float32 (the default), or float32."""

LARGEST_HIDDEN: Mapping[str, int] = {"tf32x3": 64, "ieee": 32}
"""Hidden units that the kernel supports at most, by precision: more would spill beyond the bound of `compile.py`."""
LARGEST = 64
"""Inputs and outputs that the kernel supports at most, for the same reason."""
_SMALLEST = 16  # size of a tile that a matrix product of Triton accepts
_ALIGNED = 16  # floats: the parameters of every run begin at addresses that allow wide loads

_SOURCE = {"lstm": (0, 1, 2, 3), "gru": (0, 1, 2, 2), "rnn": (0,)}


def tile(size: int) -> int:
    """Return the power of two, at least 16, that a size is rounded up to on chip."""
    return max(_SMALLEST, 1 << (size - 1).bit_length())


def unsupported(architecture: Architecture, precision: str = PRECISIONS[0]) -> str | None:
    """Return why the kernel does not support an architecture, as the end of a sentence; None if it does."""
    a = architecture
    if a.cell not in _SOURCE:
        return f"supports the cells {', '.join(_SOURCE)}; got {a.cell}"
    largest = {"hidden_size": LARGEST_HIDDEN[precision], "inputs": LARGEST, "outputs": LARGEST}
    for (name, limit), size in zip(largest.items(), (a.hidden_size, a.input_size, a.output_size), strict=True):
        if size > limit:
            return (
                f"supports {name} up to {limit} with precision {precision}, because more would spill too many "
                f"registers; got {size}"
            )
    return None


@cache
def source_hash(folder: Path = Path(__file__).parent) -> str:
    """Return the sha256 of the Python files of a folder, by default those of the kernel."""
    files = sorted(folder.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


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
        target_offset: In mode SYMBOLS, how far the target of a step is behind its symbol (`SymbolSampler`).
        fingerprint: Hash of everything that the kernel can read from the shape, and of the source of its modules.
            Triton's caches know a compiled kernel by the fields of its shape. Without this one, a kernel from before a
            change of what properties compute would run on buffers of the new layout.
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
    target_offset: int = 1
    fingerprint: str = field(init=False, default="")

    def __post_init__(self) -> None:
        text = f"{self.geometry()} {source_hash()}"
        object.__setattr__(self, "fingerprint", hashlib.sha256(text.encode()).hexdigest())

    def geometry(self) -> dict[str, Any]:
        """Return the values of all properties, by name."""
        names = sorted(name for name, member in vars(type(self)).items() if isinstance(member, property))
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of(
        cls, architecture: Architecture, batch: int, steps: int, mode: str, precision: str, **data_sizes: int
    ) -> KernelShape:
        """Return the shape of an architecture's kernel; `data_sizes` are `image_size` and `target_offset`.

        Raises:
            BackendError: The tiles would be too large.
        """
        if (problem := unsupported(architecture, precision)) is not None:
            raise BackendError(f"Backend 'triton' {problem}. Use a smaller size, or --backend stacked.")
        a = architecture
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
            **data_sizes,
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
        """Rows that the readout processes at a time: with more, it would spill registers for many units or outputs."""
        return max(_SMALLEST, min(1024 // self.output_tile, 2048 // self.hidden_tile))

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
    def blocks_summed(self) -> int:
        """Blocks whose weight gradients are summed together, a divisor of `blocks`; each pass reads the inputs again.

        So many that a thread holds at most 64 sums: with more, registers would be spilled in the loop over the rows.
        """
        sums = self.hidden_tile * max(self.read_tiles) // (32 * self.num_warps)
        return min(self.blocks, max(1, 64 // sums))

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
        per_sequence = {SYMBOLS: self.steps + self.target_offset, IMAGES: 1, DENSE: self.steps * self.inputs}
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
