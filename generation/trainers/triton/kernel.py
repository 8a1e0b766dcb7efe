"""The Triton kernel: one program trains one run for K updates; forward, loss, backward through time and AdamW.

Not yet run on a GPU: its numbers were tested in Triton's interpreter, its sm_90 code only compiled (`triton_compile`).

Order of the work. An update goes layer after layer, each through all steps before the next: only one layer's weights
are on chip at a time, and they stay there while the loop over the steps reads them. Going step by step through all
layers would need the weights of all of them in every step. What backward needs of the steps goes through a scratch
buffer in global memory (`KernelShape.scratch`). Backward runs twice over a layer's steps: a loop that must be in
sequence turns the stored gates into their gradients, in place; a second one, in which no step waits for another, sums
the gradients of the weights. Together they would hold both weights and all their gradients in registers.

Sizes. Tiles are powers of two of at least 16, as `tl.dot` wants them. Additional units have weights of zero, so they
put out zero and get gradients of exactly zero, and masks keep them out of memory; additional sequences are left out of
the loss. Sequences go 16 at a time through all steps, since Triton spreads a product with fewer rows than columns over
the warps by its columns; with 32 rows it would give every second warp the same work (seen in the sm_90 code, which
also spilled registers then). Every gate is a product of its own, since a tile cannot be sliced.

Memory. Between threads of a program global memory is in order only across `tl.debug_barrier`: there is one wherever a
tile is read that another thread may have written, or overwritten that another may still have to read. No loop reads
what it writes itself. There are no atomics, and no program reads what another writes, so the bits of a run do not
depend on its neighbours.

Parameters, moments and gradients are flat, in PyTorch's order (`rnn_zoos.networks.weights.flatten`), `KernelShape.row`
apart.
`s` is always the KernelShape.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rnn_zoos.generation.trainers.trainer import BETAS, EPSILON
from rnn_zoos.generation.trainers.triton.cells import cell_backward, cell_forward
from rnn_zoos.generation.trainers.triton.memory import (
    all_read,
    buffers_of,
    data_of,
    forward_weights,
    input_weights,
    matrix,
    places,
    sequence_of,
    step_before,
    store_matrix,
    store_vector,
    targets_of,
)

_REST1, _BETA2, _REST2 = tl.constexpr(1 - BETAS[0]), tl.constexpr(BETAS[1]), tl.constexpr(1 - BETAS[1])
_EPSILON = tl.constexpr(EPSILON)
_CHUNK = tl.constexpr(1024)  # parameters that AdamW moves at a time


@triton.jit
def _forward(
    layer: tl.constexpr,
    weights: tl.tensor,
    scratch: tl.tensor,
    drawn: tl.tensor,
    images: tl.tensor,
    table: tl.tensor,
    s: tl.constexpr,
) -> None:
    """Run one layer through all steps; store gates, states and cells."""
    sequences: tl.constexpr = s.sequences
    hidden_tile: tl.constexpr = s.hidden_tile
    blocks: tl.constexpr = s.blocks
    w_inputs, w_state, biases = forward_weights(layer, weights, s)
    width_tile: tl.constexpr = s.width_tiles[layer]
    gates, states, cells, below = buffers_of(layer, scratch, s)
    for chunk in range(s.chunks):
        state = tl.zeros([sequences, hidden_tile], tl.float32)
        cell = tl.zeros([sequences, hidden_tile], tl.float32)
        for t in range(s.steps):
            rows = (chunk * s.steps + t) * sequences + tl.arange(0, sequences)
            at = places(rows, s)
            if layer > 0:
                inputs = tl.load(below + at)
            else:
                inputs = data_of(rows, tl.arange(0, width_tile)[None, :], drawn, images, table, s)
            sums = ()
            for block in tl.static_range(blocks):
                of_block = tl.zeros([sequences, hidden_tile], tl.float32) + biases[block]
                if s.from_inputs[block]:
                    w = w_inputs[block] if s.holds_inputs else input_weights(layer, block, True, weights, s)
                    of_block = tl.dot(inputs, w, of_block, input_precision=s.precision)
                if s.from_state[block]:
                    of_block = tl.dot(state, w_state[block], of_block, input_precision=s.precision)
                sums += (of_block,)
            activated, state, cell = cell_forward(sums, state, cell, s)
            tl.store(states + at, state)
            if s.cell == "lstm":
                tl.store(cells + at, cell)
            if s.cell != "rnn":  # whose gate is its state
                for block in tl.static_range(blocks):
                    tl.store(gates + block * s.buffer + at, activated[block])


@triton.jit
def _readout(
    weights: tl.tensor,
    gradients: tl.tensor,
    scratch: tl.tensor,
    drawn: tl.tensor,
    targets: tl.tensor,
    s: tl.constexpr,
) -> tl.tensor:
    """Return the mean cross-entropy; store its gradient on the readout, and on the states of the top layer."""
    readout_rows: tl.constexpr = s.readout_rows
    hidden: tl.constexpr = s.hidden
    hidden_tile: tl.constexpr = s.hidden_tile
    outputs: tl.constexpr = s.outputs
    output_tile: tl.constexpr = s.output_tile
    top: tl.constexpr = s.layers - 1
    weight, bias = weights + s.layer_at[s.layers], weights + s.layer_at[s.layers] + outputs * hidden
    w = matrix(weight, hidden, 1, outputs, hidden, output_tile, hidden_tile)
    column = tl.arange(0, output_tile)[None, :]
    b = tl.load(bias + column, mask=column < outputs, other=0.0)
    _, states, _, _ = buffers_of(top, scratch, s)
    from_above = scratch + s.layers * s.layer_scratch
    losses = tl.zeros([readout_rows], tl.float32)
    d_w = tl.zeros([output_tile, hidden_tile], tl.float32)
    d_logits_sum = tl.zeros([readout_rows, output_tile], tl.float32)
    for start in range(0, s.rows, readout_rows):
        rows = start + tl.arange(0, readout_rows)
        exists = (rows < s.rows)[:, None]
        counts = (rows < s.rows) & (sequence_of(rows, s) < s.batch)
        state = tl.load(states + places(rows, s), mask=exists, other=0.0)
        logits = tl.dot(state, tl.trans(w), tl.zeros_like(d_logits_sum) + b, input_precision=s.precision)
        logits = tl.where(column < outputs, logits, float("-inf"))
        shifted = logits - tl.max(logits, axis=1)[:, None]
        exponentials = tl.exp(shifted)
        total = tl.sum(exponentials, axis=1)
        chosen = column == targets_of(rows, drawn, targets, s)[:, None]
        losses += tl.where(counts, tl.log(total) - tl.sum(tl.where(chosen, shifted, 0.0), axis=1), 0.0)
        d_logits = exponentials / total[:, None] - chosen.to(tl.float32)
        d_logits = tl.where(counts[:, None], d_logits * (1.0 / (s.batch * s.steps)), 0.0)
        d_logits_sum += d_logits
        d_w = tl.dot(tl.trans(d_logits), state, d_w, input_precision=s.precision)
        d_state = tl.dot(d_logits, w, input_precision=s.precision)
        tl.store(from_above + places(rows, s), d_state, mask=exists)
    place = s.layer_at[s.layers]
    store_matrix(gradients + place, d_w, 0, outputs, hidden)
    store_vector(gradients + place + outputs * hidden, tl.sum(d_logits_sum, axis=0), outputs)
    return tl.sum(losses, axis=0) / (s.batch * s.steps)


@triton.jit
def _backward(layer: tl.constexpr, weights: tl.tensor, scratch: tl.tensor, s: tl.constexpr) -> None:
    """Go back through all steps of one layer.

    Overwrites the stored gates by the gradients of their sums, and the gradient of this layer's output by that of the
    layer below's.
    """
    blocks: tl.constexpr = s.blocks
    hidden: tl.constexpr = s.hidden
    hidden_tile: tl.constexpr = s.hidden_tile
    from_state = weights + s.layer_at[layer] + s.gate_rows * s.widths[layer]
    w_inputs, w_state = (), ()
    for block in tl.static_range(blocks):
        first = s.source[block] * hidden * hidden
        if layer > 0 and s.holds_inputs:
            w_inputs += (input_weights(layer, block, False, weights, s),)
        w_state += (matrix(from_state + first, hidden, 1, hidden, hidden, hidden_tile, hidden_tile),)
    gates, states, cells, _ = buffers_of(layer, scratch, s)
    from_above = scratch + s.layers * s.layer_scratch
    memory = cells if s.cell == "lstm" else states
    for chunk in range(s.chunks):
        last = ((chunk + 1) * s.steps - 1) * s.sequences + tl.arange(0, s.sequences)
        after = tl.load(memory + places(last, s))
        d_state, d_cell = tl.zeros_like(after), tl.zeros_like(after)
        for back in range(s.steps):
            rows = last - back * s.sequences
            at = places(rows, s)
            before = step_before(memory, rows, s)
            of_step = ()
            for block in tl.static_range(blocks):
                # The rnn stores none: its gate is its state, which is `after`.
                of_step += (tl.load(gates + block * s.buffer + at) if s.cell != "rnn" else after,)
            d_state += tl.load(from_above + at)
            d_gates, d_state, d_cell = cell_backward(of_step, before, after, d_state, d_cell, s)
            d_below = tl.zeros_like(after)
            tl.debug_barrier()  # all threads have read the gates and the gradient from above
            for block in tl.static_range(blocks):
                tl.store(gates + block * s.buffer + at, d_gates[block])
                if s.from_state[block]:
                    d_state = tl.dot(d_gates[block], w_state[block], d_state, input_precision=s.precision)
                if layer > 0 and s.from_inputs[block]:
                    w = w_inputs[block] if s.holds_inputs else input_weights(layer, block, False, weights, s)
                    d_below = tl.dot(d_gates[block], w, d_below, input_precision=s.precision)
            if layer > 0:
                tl.store(from_above + at, d_below)
            after = before


@triton.jit
def _weight_gradients(
    layer: tl.constexpr,
    gradients: tl.tensor,
    scratch: tl.tensor,
    drawn: tl.tensor,
    images: tl.tensor,
    table: tl.tensor,
    s: tl.constexpr,
) -> None:
    """Sum the gradients of one layer's weights over all rows."""
    blocks: tl.constexpr = s.blocks
    hidden: tl.constexpr = s.hidden
    hidden_tile: tl.constexpr = s.hidden_tile
    sequences: tl.constexpr = s.sequences
    width: tl.constexpr = s.widths[layer]
    width_tile: tl.constexpr = s.width_tiles[layer]
    read_tile: tl.constexpr = s.read_tiles[layer]
    d_weights, d_sums = (), ()
    for _ in tl.static_range(blocks):
        d_weights += (tl.zeros([hidden_tile, read_tile], tl.float32),)
        d_sums += (tl.zeros([sequences, hidden_tile], tl.float32),)
    gates, _, _, _ = buffers_of(layer, scratch, s)
    for start in range(0, s.rows, sequences):
        rows = start + tl.arange(0, sequences)
        at = places(rows, s)
        read = all_read(layer, rows, scratch, drawn, images, table, s)
        next_weights, next_sums = (), ()
        for block in tl.static_range(blocks):
            d_gate = tl.load(gates + block * s.buffer + at)
            next_sums += (d_sums[block] + d_gate,)
            next_weights += (tl.dot(tl.trans(d_gate), read, d_weights[block], input_precision=s.precision),)
        d_weights, d_sums = next_weights, next_sums
    for block in tl.static_range(blocks):
        row = s.source[block] * hidden
        place = gradients + s.layer_at[layer]
        of_bias = tl.sum(d_sums[block], axis=0)
        bias = place + s.gate_rows * (width + hidden) + row
        if s.from_inputs[block]:
            store_matrix(place + row * width, d_weights[block], 0, hidden, width)
            store_vector(bias, of_bias, hidden)
        if s.from_state[block]:
            store_matrix(place + s.gate_rows * width + row * hidden, d_weights[block], width_tile, hidden, hidden)
            store_vector(bias + s.gate_rows, of_bias, hidden)


@triton.jit
def _adamw(
    weights: tl.tensor,
    first_moments: tl.tensor,
    second_moments: tl.tensor,
    gradients: tl.tensor,
    rates: tl.tensor,
    weight_decay: tl.tensor,
    s: tl.constexpr,
) -> None:
    """Move all parameters of a run by one step of AdamW; rates [3] as in `training.adamw_rates`."""
    rate, step_size, correction = tl.load(rates), tl.load(rates + 1), tl.load(rates + 2)
    for start in range(0, s.num_parameters, _CHUNK):
        at = start + tl.arange(0, _CHUNK)
        mask = at < s.num_parameters
        gradient = tl.load(gradients + at, mask=mask, other=0.0)
        first = tl.load(first_moments + at, mask=mask, other=0.0)
        second = tl.load(second_moments + at, mask=mask, other=0.0)
        weight = tl.load(weights + at, mask=mask, other=0.0)
        first += _REST1 * (gradient - first)
        second = _BETA2 * second + _REST2 * gradient * gradient
        change = step_size * first / (tl.sqrt(second) / correction + _EPSILON)
        tl.store(first_moments + at, first, mask=mask)
        tl.store(second_moments + at, second, mask=mask)
        tl.store(weights + at, weight * (1.0 - rate * weight_decay) - change, mask=mask)


@triton.jit
def loss_and_gradients(
    weights: tl.tensor,
    gradients: tl.tensor,
    scratch: tl.tensor,
    drawn: tl.tensor,
    targets: tl.tensor,
    images: tl.tensor,
    table: tl.tensor,
    s: tl.constexpr,
) -> tl.tensor:
    """Return the loss of one run on one batch, and store its gradient on every parameter."""
    layers: tl.constexpr = s.layers
    for layer in tl.static_range(layers):
        _forward(layer, weights, scratch, drawn, images, table, s)
        tl.debug_barrier()  # the next layer, or the readout, reads the states
    loss = _readout(weights, gradients, scratch, drawn, targets, s)
    for layer in tl.static_range(layers - 1, -1, -1):
        tl.debug_barrier()  # the gradient from above is complete
        _backward(layer, weights, scratch, s)
        tl.debug_barrier()  # the gradients of the gates are complete
        _weight_gradients(layer, gradients, scratch, drawn, images, table, s)
    tl.debug_barrier()  # AdamW reads the gradients
    return loss


@triton.jit(do_not_specialize=["first_update", "updates", "ahead", "skip"])
def train_runs(
    parameters: tl.tensor,
    first_moments: tl.tensor,
    second_moments: tl.tensor,
    gradients: tl.tensor,
    losses: tl.tensor,
    diverged_at: tl.tensor,
    scratch: tl.tensor,
    weight_decay: tl.tensor,
    rates: tl.tensor,
    drawn: tl.tensor,
    targets: tl.tensor,
    images: tl.tensor,
    tables: tl.tensor,
    first_update: tl.tensor,
    updates: tl.tensor,
    ahead: tl.tensor,
    skip: tl.tensor,
    s: tl.constexpr,
) -> None:
    """Train run `program_id(0)` for some updates, of which `first_update` (counted from 0) is the first.

    parameters, first_moments, second_moments, gradients: float32 [M, row]; gradients need hold nothing before, and
    hold those of the run's last update after. losses: float32 [M], of the last update. diverged_at: int64 [M], see
    `groups.RunGroup`; runs that have diverged are left alone. scratch: float32 [M, KernelShape.scratch], of any
    content. weight_decay: float32 [M]. rates: float32 [ahead, 3], see `training.adamw_rates`. Of what is drawn for
    `ahead` updates (and of the rates) the first `skip` are passed over:

    mode     drawn                           targets                  images           tables
    symbols  uint8 [M, ahead, B, T+1]        -                        -                -
    images   int32 [M, ahead, B] (numbers)   int32 [N] (of images)    uint8 [N, size]  int32 [M, (T-1) * I] (pixels)
    dense    float32 [M, ahead, B, T, I]     int32 [M, ahead, B, T]   -                -
    """
    run = tl.program_id(0).to(tl.int64)
    batch = run * ahead + skip  # of all batches that were drawn
    drawn += batch * s.drawn_size
    if s.mode == "images":
        tables += run * (s.steps - 1) * s.inputs
    elif s.mode == "dense":
        targets += batch * (s.batch * s.steps)
    rates += skip * 3
    parameters += run * s.row
    first_moments += run * s.row
    second_moments += run * s.row
    gradients += run * s.row
    scratch += run * s.scratch
    decay = tl.load(weight_decay + run)
    healthy = tl.load(diverged_at + run) > first_update
    update = 0
    while healthy & (update < updates):
        loss = loss_and_gradients(parameters, gradients, scratch, drawn, targets, images, tables, s)
        tl.store(losses + run, loss)
        update += 1
        healthy = tl.abs(loss) < float("inf")  # false for NaN too
        if healthy:
            _adamw(parameters, first_moments, second_moments, gradients, rates, decay, s)
        else:
            tl.store(diverged_at + run, (first_update + update).to(tl.int64))
        tl.debug_barrier()  # the next forward reads the weights
        drawn += s.drawn_size
        rates += 3
        if s.mode == "dense":
            targets += s.batch * s.steps
