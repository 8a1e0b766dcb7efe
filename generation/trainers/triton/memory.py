"""How the Triton kernel reads and writes memory: weights, data, and the scratch buffer of a run.

A row of a buffer of hidden states is one sequence at one step; rows are in the order [chunk of sequences, step,
sequence]. `s` is always the KernelShape; what it rounds up is masked here.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rnn_zoos.families.sequential_mnist import MEAN, STD

_MEAN, _STD = tl.constexpr(MEAN), tl.constexpr(STD)


@triton.jit
def matrix(
    start: tl.tensor,
    row_stride: tl.constexpr,
    column_stride: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
    row_tile: tl.constexpr,
    column_tile: tl.constexpr,
) -> tl.tensor:
    """Load a matrix [rows, columns] into a tile, zeros beyond."""
    row, column = tl.arange(0, row_tile)[:, None], tl.arange(0, column_tile)[None, :]
    mask = (row < rows) & (column < columns)
    return tl.load(start + row * row_stride + column * column_stride, mask=mask, other=0.0)


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
    place = tl.arange(0, values.shape[0])
    tl.store(start + place, values, mask=place < count)


@triton.jit
def places(rows: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the places [rows, H] of some rows in a buffer of hidden states."""
    return rows[:, None] * s.hidden_tile + tl.arange(0, s.hidden_tile)[None, :]


@triton.jit
def _step_of(rows: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the steps t that rows belong to."""
    return rows // s.sequences % s.steps


@triton.jit
def sequence_of(rows: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the sequences that rows belong to; from `s.batch` on there are none."""
    return rows // (s.sequences * s.steps) * s.sequences + rows % s.sequences


@triton.jit
def step_before(buffer: tl.tensor, rows: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Load rows [rows, H] of the step before from a buffer of hidden states; zeros before the first step."""
    mask = (_step_of(rows, s) > 0)[:, None]
    return tl.load(buffer + places(rows - s.sequences, s), mask=mask, other=0.0)


@triton.jit
def data_of(
    rows: tl.tensor, column: tl.tensor, drawn: tl.tensor, images: tl.tensor, table: tl.tensor, s: tl.constexpr
) -> tl.tensor:
    """Return the data [rows, columns]; column [1, columns] numbers the inputs, zeros where there is no such input."""
    t, sequence = _step_of(rows, s)[:, None], sequence_of(rows, s)[:, None]
    known = sequence < s.batch
    inside = known & (column < s.inputs)
    if s.mode == "symbols":
        symbols = tl.load(drawn + sequence * (s.steps + 1) + t, mask=known, other=0)
        return ((symbols.to(tl.int32) == column) & inside).to(tl.float32)
    elif s.mode == "images":  # step 0 is BOS, zeros
        inside = inside & (t > 0)
        image = tl.load(drawn + sequence, mask=known, other=0)
        pixel = tl.load(table + (t - 1) * s.inputs + column, mask=inside, other=0)
        brightness = tl.load(images + image * s.image_size + pixel, mask=inside, other=0).to(tl.float32)
        return tl.where(inside, (brightness / 255.0 - _MEAN) / _STD, 0.0)
    else:
        return tl.load(drawn + (sequence * s.steps + t) * s.inputs + column, mask=inside, other=0.0)


@triton.jit
def targets_of(rows: tl.tensor, drawn: tl.tensor, targets: tl.tensor, s: tl.constexpr) -> tl.tensor:
    """Return the classes [rows] to predict."""
    t, sequence = _step_of(rows, s), sequence_of(rows, s)
    known = sequence < s.batch
    if s.mode == "symbols":
        return tl.load(drawn + sequence * (s.steps + 1) + t + 1, mask=known, other=0).to(tl.int32)
    elif s.mode == "images":
        image = tl.load(drawn + sequence, mask=known, other=0)
        return tl.load(targets + image, mask=known, other=0)
    else:
        return tl.load(targets + sequence * s.steps + t, mask=known, other=0)


@triton.jit
def buffers_of(
    layer: tl.constexpr, scratch: tl.tensor, s: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return where in the scratch buffer a layer's gates, states and cells are, and the states of the layer below."""
    gates = scratch + layer * s.layer_scratch
    states = gates + s.blocks * s.buffer
    cells = states + s.buffer  # of an lstm
    return gates, states, cells, states - s.layer_scratch


@triton.jit
def all_read(
    layer: tl.constexpr,
    rows: tl.tensor,
    scratch: tl.tensor,
    drawn: tl.tensor,
    images: tl.tensor,
    table: tl.tensor,
    s: tl.constexpr,
) -> tl.tensor:
    """Return all that a layer reads at some rows, side by side: inputs, then its states of the step before."""
    width_tile: tl.constexpr = s.width_tiles[layer]
    _, states, _, below = buffers_of(layer, scratch, s)
    column = tl.arange(0, s.read_tiles[layer])[None, :]
    unit = column - width_tile
    mask = (unit >= 0) & (unit < s.hidden) & (_step_of(rows, s) > 0)[:, None]
    state = tl.load(states + (rows - s.sequences)[:, None] * s.hidden_tile + unit, mask=mask, other=0.0)
    if layer > 0:
        inputs = tl.load(below + rows[:, None] * s.hidden_tile + column, mask=unit < 0, other=0.0)
    else:
        inputs = data_of(rows, column, drawn, images, table, s)
    return tl.where(unit < 0, inputs, state)


@triton.jit
def input_weights(
    layer: tl.constexpr, block: tl.constexpr, turned: tl.constexpr, weights: tl.tensor, s: tl.constexpr
) -> tl.tensor:
    """Load a block of the weights of a layer's inputs: [H, I], or turned [I, H]."""
    hidden: tl.constexpr = s.hidden
    hidden_tile: tl.constexpr = s.hidden_tile
    width: tl.constexpr = s.widths[layer]
    width_tile: tl.constexpr = s.width_tiles[layer]
    first = weights + s.layer_at[layer] + s.source[block] * hidden * width
    if turned:
        return matrix(first, 1, width, width, hidden, width_tile, hidden_tile)
    else:
        return matrix(first, width, 1, hidden, width, hidden_tile, width_tile)


@triton.jit
def forward_weights(layer: tl.constexpr, weights: tl.tensor, s: tl.constexpr) -> tuple[tl.tuple, tl.tuple, tl.tuple]:
    """Load what forward needs of a layer, per block: weights turned to [I, H] and [H, H], the sum of biases [1, H]."""
    blocks: tl.constexpr = s.blocks
    hidden: tl.constexpr = s.hidden
    hidden_tile: tl.constexpr = s.hidden_tile
    width: tl.constexpr = s.widths[layer]
    from_state = weights + s.layer_at[layer] + s.gate_rows * width
    bias = from_state + s.gate_rows * hidden
    w_inputs, w_state, biases = (), (), ()
    unit = tl.arange(0, hidden_tile)
    for block in tl.static_range(blocks):
        row = s.source[block] * hidden
        if s.holds_inputs:
            w_inputs += (input_weights(layer, block, True, weights, s),)
        first = from_state + row * hidden  # turned, too
        w_state += (matrix(first, 1, hidden, hidden, hidden, hidden_tile, hidden_tile),)
        inside = unit < hidden
        total = tl.zeros([hidden_tile], tl.float32)
        if s.from_inputs[block]:
            total += tl.load(bias + row + unit, mask=inside, other=0.0)
        if s.from_state[block]:
            total += tl.load(bias + s.gate_rows + row + unit, mask=inside, other=0.0)
        biases += (total[None, :],)
    return w_inputs, w_state, biases
