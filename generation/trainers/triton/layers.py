"""The passes of the Triton kernel over the steps: forward, readout and loss, backward, gradients of the weights.

`kernel.py` explains their order, the barriers between them and the sizes. `s` is always the `KernelShape`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rnn_zoos.generation.trainers.triton.cells import cell_backward, cell_forward
from rnn_zoos.generation.trainers.triton.memory import (
    Data,
    buffers_of,
    load_forward_weights,
    load_input_weights,
    load_inputs,
    load_inputs_and_states,
    load_matrix,
    load_previous_step,
    load_state_weights,
    load_targets,
    offsets_of,
    sequence_of,
    store_matrix,
    store_vector,
)


@triton.jit
def layer_forward(layer: tl.constexpr, weights: tl.tensor, scratch: tl.tensor, data: Data, s: tl.constexpr) -> None:
    """Run one layer through all steps; store its gates, states and cells in the scratch buffer."""
    sequences: tl.constexpr = s.sequences
    hidden_tile: tl.constexpr = s.hidden_tile
    blocks: tl.constexpr = s.blocks
    w_inputs, w_state, biases = load_forward_weights(layer, weights, s)
    width_tile: tl.constexpr = s.width_tiles[layer]
    gates, states, cells, below = buffers_of(layer, scratch, s)
    for chunk in range(s.chunks):
        state = tl.zeros([sequences, hidden_tile], tl.float32)
        cell = tl.zeros([sequences, hidden_tile], tl.float32)
        for t in range(s.steps):
            rows = (chunk * s.steps + t) * sequences + tl.arange(0, sequences)
            at = offsets_of(rows, s)
            column = tl.arange(0, width_tile)[None, :]
            inputs = tl.load(below + at) if layer > 0 else load_inputs(rows, column, data, s)
            sums = ()
            for block in tl.static_range(blocks):
                total = tl.zeros([sequences, hidden_tile], tl.float32) + biases[block]
                if s.from_inputs[block]:
                    w = w_inputs[block] if s.holds_inputs else load_input_weights(layer, block, True, weights, s)
                    total = tl.dot(inputs, w, total, input_precision=s.precision)
                if s.from_state[block]:
                    total = tl.dot(state, w_state[block], total, input_precision=s.precision)
                sums += (total,)
            activated, state, cell = cell_forward(sums, state, cell, s)
            tl.store(states + at, state)
            if s.cell == "lstm":
                tl.store(cells + at, cell)
            if s.cell != "rnn":  # the gate of an rnn is its state
                for block in tl.static_range(blocks):
                    tl.store(gates + block * s.buffer + at, activated[block])


@triton.jit
def _cross_entropy(
    logits: tl.tensor, targets: tl.tensor, counts: tl.tensor, s: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Return the losses [rows], and the gradient of the mean loss on the logits [rows, O]; zero where not `counts`."""
    column = tl.arange(0, s.output_tile)[None, :]
    logits = tl.where(column < s.outputs, logits, float("-inf"))
    shifted = logits - tl.max(logits, axis=1)[:, None]
    exponentials = tl.exp(shifted)
    total = tl.sum(exponentials, axis=1)
    chosen = column == targets[:, None]
    losses = tl.where(counts, tl.log(total) - tl.sum(tl.where(chosen, shifted, 0.0), axis=1), 0.0)
    d_logits = exponentials / total[:, None] - chosen.to(tl.float32)
    return losses, tl.where(counts[:, None], d_logits * (1.0 / (s.batch * s.steps)), 0.0)


@triton.jit
def readout(weights: tl.tensor, gradients: tl.tensor, scratch: tl.tensor, data: Data, s: tl.constexpr) -> tl.tensor:
    """Return the mean cross-entropy; store its gradient on the readout, and on the states of the top layer."""
    readout_rows: tl.constexpr = s.readout_rows
    hidden: tl.constexpr = s.hidden
    hidden_tile: tl.constexpr = s.hidden_tile
    outputs: tl.constexpr = s.outputs
    output_tile: tl.constexpr = s.output_tile
    top: tl.constexpr = s.layers - 1
    first: tl.constexpr = s.layer_at[s.layers]
    w = load_matrix(weights + first, (hidden, 1), (outputs, hidden), (output_tile, hidden_tile))
    column = tl.arange(0, output_tile)[None, :]
    bias = tl.load(weights + first + outputs * hidden + column, mask=column < outputs, other=0.0)
    _, states, _, _ = buffers_of(top, scratch, s)
    d_output = scratch + s.layers * s.layer_scratch
    losses = tl.zeros([readout_rows], tl.float32)
    d_w = tl.zeros([output_tile, hidden_tile], tl.float32)
    d_bias = tl.zeros([readout_rows, output_tile], tl.float32)
    for start in range(0, s.rows, readout_rows):
        rows = start + tl.arange(0, readout_rows)
        exists = (rows < s.rows)[:, None]
        counts = (rows < s.rows) & (sequence_of(rows, s) < s.batch)
        state = tl.load(states + offsets_of(rows, s), mask=exists, other=0.0)
        logits = tl.dot(state, tl.trans(w), tl.zeros_like(d_bias) + bias, input_precision=s.precision)
        row_losses, d_logits = _cross_entropy(logits, load_targets(rows, data, s), counts, s)
        losses += row_losses
        d_bias += d_logits
        d_w = tl.dot(tl.trans(d_logits), state, d_w, input_precision=s.precision)
        d_state = tl.dot(d_logits, w, input_precision=s.precision)
        tl.store(d_output + offsets_of(rows, s), d_state, mask=exists)
    store_matrix(gradients + first, d_w, 0, outputs, hidden)
    store_vector(gradients + first + outputs * hidden, tl.sum(d_bias, axis=0), outputs)
    return tl.sum(losses, axis=0) / (s.batch * s.steps)


@triton.jit
def layer_backward(layer: tl.constexpr, weights: tl.tensor, scratch: tl.tensor, s: tl.constexpr) -> None:
    """Go back through all steps of one layer: replace its gates with the gradients of their sums in the scratch
    buffer, and the gradient of its output with that of the output of the layer below.
    """
    blocks: tl.constexpr = s.blocks
    w_inputs, w_state = (), ()
    for block in tl.static_range(blocks):
        if layer > 0 and s.holds_inputs:
            w_inputs += (load_input_weights(layer, block, False, weights, s),)
        w_state += (load_state_weights(layer, block, False, weights, s),)
    gates, states, cells, _ = buffers_of(layer, scratch, s)
    d_output = scratch + s.layers * s.layer_scratch
    memory = cells if s.cell == "lstm" else states
    for chunk in range(s.chunks):
        last = ((chunk + 1) * s.steps - 1) * s.sequences + tl.arange(0, s.sequences)
        after = tl.load(memory + offsets_of(last, s))
        d_state, d_cell = tl.zeros_like(after), tl.zeros_like(after)
        for back in range(s.steps):
            rows = last - back * s.sequences
            at = offsets_of(rows, s)
            before = load_previous_step(memory, rows, s)
            activated = ()
            for block in tl.static_range(blocks):
                # An rnn stores no gate: its gate is its state, which is `after`.
                activated += (tl.load(gates + block * s.buffer + at) if s.cell != "rnn" else after,)
            d_state += tl.load(d_output + at)
            d_gates, d_state, d_cell = cell_backward(activated, before, after, d_state, d_cell, s)
            d_below = tl.zeros_like(after)
            tl.debug_barrier()  # all threads have read the gates and the gradient from above
            for block in tl.static_range(blocks):
                tl.store(gates + block * s.buffer + at, d_gates[block])
                if s.from_state[block]:
                    d_state = tl.dot(d_gates[block], w_state[block], d_state, input_precision=s.precision)
                if layer > 0 and s.from_inputs[block]:
                    w = w_inputs[block] if s.holds_inputs else load_input_weights(layer, block, False, weights, s)
                    d_below = tl.dot(d_gates[block], w, d_below, input_precision=s.precision)
            if layer > 0:
                tl.store(d_output + at, d_below)
            after = before


@triton.jit
def weight_gradients(
    layer: tl.constexpr, gradients: tl.tensor, scratch: tl.tensor, data: Data, s: tl.constexpr
) -> None:
    """Sum the gradients of one layer's weights over all rows, `s.blocks_summed` blocks of gates at a time."""
    blocks: tl.constexpr = s.blocks
    blocks_summed: tl.constexpr = s.blocks_summed
    for first in tl.static_range(0, blocks, blocks_summed):
        _gradients_of_blocks(first, layer, gradients, scratch, data, s)


@triton.jit
def _gradients_of_blocks(
    first: tl.constexpr, layer: tl.constexpr, gradients: tl.tensor, scratch: tl.tensor, data: Data, s: tl.constexpr
) -> None:
    """Sum the gradients of the weights of `s.blocks_summed` blocks, from block `first` on, over all rows."""
    blocks: tl.constexpr = s.blocks_summed
    hidden_tile: tl.constexpr = s.hidden_tile
    sequences: tl.constexpr = s.sequences
    read_tile: tl.constexpr = s.read_tiles[layer]
    d_weights, d_sums = (), ()
    for _ in tl.static_range(blocks):
        d_weights += (tl.zeros([hidden_tile, read_tile], tl.float32),)
        d_sums += (tl.zeros([sequences, hidden_tile], tl.float32),)
    gates, _, _, _ = buffers_of(layer, scratch, s)
    for start in range(0, s.rows, sequences):
        rows = start + tl.arange(0, sequences)
        at = offsets_of(rows, s)
        read = load_inputs_and_states(layer, rows, scratch, data, s)
        next_weights, next_sums = (), ()
        for block in tl.static_range(blocks):
            d_gate = tl.load(gates + (first + block) * s.buffer + at)
            next_sums += (d_sums[block] + d_gate,)
            next_weights += (tl.dot(tl.trans(d_gate), read, d_weights[block], input_precision=s.precision),)
        d_weights, d_sums = next_weights, next_sums
    for block in tl.static_range(blocks):
        _store_gradients(first + block, layer, gradients, d_weights[block], d_sums[block], s)


@triton.jit
def _store_gradients(
    block: tl.constexpr,
    layer: tl.constexpr,
    gradients: tl.tensor,
    d_weights: tl.tensor,
    d_sums: tl.tensor,
    s: tl.constexpr,
) -> None:
    """Store the gradients of a block's weights, those of inputs and states side by side, and of its biases."""
    hidden: tl.constexpr = s.hidden
    width: tl.constexpr = s.widths[layer]
    width_tile: tl.constexpr = s.width_tiles[layer]
    row = s.source[block] * hidden
    first = gradients + s.layer_at[layer]
    d_bias = tl.sum(d_sums, axis=0)
    bias = first + s.gate_rows * (width + hidden) + row
    if s.from_inputs[block]:
        store_matrix(first + row * width, d_weights, 0, hidden, width)
        store_vector(bias, d_bias, hidden)
    if s.from_state[block]:
        store_matrix(first + s.gate_rows * width + row * hidden, d_weights, width_tile, hidden, hidden)
        store_vector(bias + s.gate_rows, d_bias, hidden)
