"""How the Triton kernel reads and writes memory: weights, data, and the scratch buffer of a run.

A row of a buffer of hidden states is one sequence at one step; rows are in the order [chunk of sequences, step,
sequence]. `s` is always the `KernelShape`; elements beyond the sizes of the network are masked here.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from rnn_zoos.families.digit_inputs import MEAN, STD

_MEAN, _STD = tl.constexpr(MEAN), tl.constexpr(STD)


class Data(NamedTuple):
    """Pointers to the data of a run for one update; `kernel.train_runs` lists what they point to in each mode."""

    drawn: tl.tensor
    targets: tl.tensor
    images: tl.tensor
    table: tl.tensor


# --- Tiles ------------------------------------------------------------------------------------------------------------


@triton.jit
def load_matrix(start: tl.tensor, strides: tl.constexpr, size: tl.constexpr, tile: tl.constexpr) -> tl.tensor:
    """Load a matrix into a tile, zeros beyond it; strides, size and tile are (rows, columns)."""
    row, column = tl.arange(0, tile[0])[:, None], tl.arange(0, tile[1])[None, :]
    mask = (row < size[0]) & (column < size[1])
    return tl.load(start + row * strides[0] + column * strides[1], mask=mask, other=0.0)


@triton.jit
def store_matrix(
    start: tl.tensor, values: tl.tensor, first: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr
) -> None:
    """Store some columns of a tile, from column `first` on, as a matrix [rows, columns]."""
    row, column = tl.arange(0, values.shape[0])[:, None], tl.arange(0, values.shape[1])[None, :] - first
    tl.store(start + row * columns + column, values, mask=(row < rows) & (column >= 0) & (column < columns))


@triton.jit
def store_vector(start: tl.tensor, values: tl.tensor, count: tl.constexpr) -> None:
    """Store the first `count` values."""
    index = tl.arange(0, values.shape[0])
    tl.store(start + index, values, mask=index < count)


# --- Rows of the buffers of hidden states -----------------------------------------------------------------------------


@triton.jit
def offsets_of(rows: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the offsets [rows, H] of some rows in a buffer of hidden states."""
    return rows[:, None] * s.hidden_tile + tl.arange(0, s.hidden_tile)[None, :]


@triton.jit
def _step_of(rows: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the steps t that rows belong to."""
    return rows // s.sequences % s.steps


@triton.jit
def sequence_of(rows: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the sequences that rows belong to; those from `s.batch` on are padding."""
    return rows // (s.sequences * s.steps) * s.sequences + rows % s.sequences


@triton.jit
def load_previous_step(buffer: tl.tensor, rows: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Load the rows [rows, H] one step earlier from a buffer of hidden states; zeros before the first step."""
    mask = (_step_of(rows, s) > 0)[:, None]
    return tl.load(buffer + offsets_of(rows - s.sequences, s), mask=mask, other=0.0)


# --- Data -------------------------------------------------------------------------------------------------------------


@triton.jit
def load_inputs(rows: tl.tensor, column: tl.tensor, data: Data, s: tl.constexpr) -> tl.tensor:
    """Load the inputs [rows, columns] of the network; column [1, columns] are their indices, zeros from I on."""
    t, sequence = _step_of(rows, s)[:, None], sequence_of(rows, s)[:, None]
    exists = sequence < s.batch
    inside = exists & (column < s.inputs)
    if s.mode == "symbols":
        symbols = tl.load(data.drawn + sequence * (s.steps + s.target_offset) + t, mask=exists, other=0)
        return ((symbols.to(tl.int32) == column) & inside).to(tl.float32)
    elif s.mode == "images":  # step 0 is BOS, zeros
        inside = inside & (t > 0)
        image = tl.load(data.drawn + sequence, mask=exists, other=0)
        pixel = tl.load(data.table + (t - 1) * s.inputs + column, mask=inside, other=0)
        brightness = tl.load(data.images + image * s.image_size + pixel, mask=inside, other=0).to(tl.float32)
        return tl.where(inside, (brightness / 255.0 - _MEAN) / _STD, 0.0)
    else:
        return tl.load(data.drawn + (sequence * s.steps + t) * s.inputs + column, mask=inside, other=0.0)


@triton.jit
def load_targets(rows: tl.tensor, data: Data, s: tl.constexpr) -> tl.tensor:
    """Load the target classes [rows]."""
    t, sequence = _step_of(rows, s), sequence_of(rows, s)
    exists = sequence < s.batch
    if s.mode == "symbols":
        read = data.drawn + sequence * (s.steps + s.target_offset) + t
        return tl.load(read + s.target_offset, mask=exists, other=0).to(tl.int32)
    elif s.mode == "images":
        image = tl.load(data.drawn + sequence, mask=exists, other=0)
        return tl.load(data.targets + image, mask=exists, other=0)
    else:
        return tl.load(data.targets + sequence * s.steps + t, mask=exists, other=0)


# --- Scratch buffer ---------------------------------------------------------------------------------------------------


@triton.jit
def buffers_of(
    layer: tl.constexpr, scratch: tl.tensor, s: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return pointers to a layer's gates, states and cells, and to the states of the layer below."""
    gates = scratch + layer * s.layer_scratch
    states = gates + s.blocks * s.buffer
    cells = states + s.buffer  # of an lstm
    return gates, states, cells, states - s.layer_scratch


@triton.jit
def load_inputs_and_states(
    layer: tl.constexpr, rows: tl.tensor, scratch: tl.tensor, data: Data, s: tl.constexpr
) -> tl.tensor:
    """Load all that a layer reads at some rows, side by side: its inputs, then its states of the previous step."""
    width_tile: tl.constexpr = s.width_tiles[layer]
    _, states, _, below = buffers_of(layer, scratch, s)
    column = tl.arange(0, s.read_tiles[layer])[None, :]
    unit = column - width_tile
    mask = (unit >= 0) & (unit < s.hidden) & (_step_of(rows, s) > 0)[:, None]
    state = tl.load(states + (rows - s.sequences)[:, None] * s.hidden_tile + unit, mask=mask, other=0.0)
    if layer > 0:
        inputs = tl.load(below + rows[:, None] * s.hidden_tile + column, mask=unit < 0, other=0.0)
    else:
        inputs = load_inputs(rows, column, data, s)
    return tl.where(unit < 0, inputs, state)


# --- Weights of a layer -----------------------------------------------------------------------------------------------


@triton.jit
def load_input_weights(
    layer: tl.constexpr, block: tl.constexpr, transposed: tl.constexpr, weights: tl.tensor, s: tl.constexpr
) -> tl.tensor:
    """Load a block of the weights of a layer's inputs: [H, I], or transposed [I, H]."""
    hidden: tl.constexpr = s.hidden
    hidden_tile: tl.constexpr = s.hidden_tile
    width: tl.constexpr = s.widths[layer]
    width_tile: tl.constexpr = s.width_tiles[layer]
    first = weights + s.layer_at[layer] + s.source[block] * hidden * width
    if transposed:
        return load_matrix(first, (1, width), (width, hidden), (width_tile, hidden_tile))
    else:
        return load_matrix(first, (width, 1), (hidden, width), (hidden_tile, width_tile))


@triton.jit
def load_state_weights(
    layer: tl.constexpr, block: tl.constexpr, transposed: tl.constexpr, weights: tl.tensor, s: tl.constexpr
) -> tl.tensor:
    """Load a block of the weights of a layer's state: [H out, H in], or transposed."""
    hidden: tl.constexpr = s.hidden
    tile: tl.constexpr = s.hidden_tile
    from_state = weights + s.layer_at[layer] + s.gate_rows * s.widths[layer]
    first = from_state + s.source[block] * hidden * hidden
    if transposed:
        return load_matrix(first, (1, hidden), (hidden, hidden), (tile, tile))
    else:
        return load_matrix(first, (hidden, 1), (hidden, hidden), (tile, tile))


@triton.jit
def load_bias(layer: tl.constexpr, block: tl.constexpr, weights: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Load the sum [1, H] of the biases that a block has."""
    hidden: tl.constexpr = s.hidden
    hidden_tile: tl.constexpr = s.hidden_tile
    unit = tl.arange(0, hidden_tile)
    inside = unit < hidden
    bias = weights + s.layer_at[layer] + s.gate_rows * (s.widths[layer] + hidden) + s.source[block] * hidden
    total = tl.zeros([hidden_tile], tl.float32)
    if s.from_inputs[block]:
        total += tl.load(bias + unit, mask=inside, other=0.0)
    if s.from_state[block]:
        total += tl.load(bias + s.gate_rows + unit, mask=inside, other=0.0)
    return total[None, :]


@triton.jit
def load_forward_weights(
    layer: tl.constexpr, weights: tl.tensor, s: tl.constexpr
) -> tuple[tl.tuple, tl.tuple, tl.tuple]:
    """Load a layer for the forward pass, per block: weights transposed to [I, H] and [H, H], sums of biases [1, H]."""
    blocks: tl.constexpr = s.blocks
    w_inputs, w_state, biases = (), (), ()
    for block in tl.static_range(blocks):
        if s.holds_inputs:
            w_inputs += (load_input_weights(layer, block, True, weights, s),)
        w_state += (load_state_weights(layer, block, True, weights, s),)
        biases += (load_bias(layer, block, weights, s),)
    return w_inputs, w_state, biases
