"""The Triton kernel: one program trains one run for K updates: forward, loss, backward through time and AdamW.

Its gradients and trained weights were compared on an H100; everywhere else it is tested in Triton's interpreter.

Order of the work. An update processes one layer after the other, each through all steps before the next. So only one
layer's weights are on chip at a time, and they stay there while the loop over the steps reads them. Going step by step
through all layers would need the weights of all layers at every step. What the backward pass needs of the steps goes
through a scratch buffer in global memory (`KernelShape.scratch`). The backward pass of a layer has two loops over the
steps. The first is sequential and turns the stored gates into their gradients, in place. In the second, no step waits
for another; it sums the gradients of the weights. A single loop would hold both the weights and all their gradients in
registers.

Sizes. Tiles are powers of two of at least 16, as `tl.dot` requires. Additional units have zero weights, so they output
zero and get gradients of exactly zero, and masks keep them out of memory. Additional sequences are left out of the
loss. Sequences go through all steps 16 at a time, because Triton distributes a product with fewer rows than columns
over the warps by its columns. With 32 rows, every second warp would do the same work (seen in the sm_90 code, which
also spilled registers then). Every gate is a product of its own, because a tile cannot be sliced.

Memory. Between the threads of a program, global memory is ordered only across `tl.debug_barrier`. There is a barrier
wherever a tile is read that another thread may have written, or overwritten that another may still have to read. No
loop reads what it writes itself. There are no atomics, and no program reads what another writes, so the bits of a run
do not depend on the other runs.

Parameters, moments and gradients of a run are flat, in PyTorch's order (`rnn_zoos.networks.weights.flatten`); those of
the next run begin `KernelShape.row` floats later. `s` is always the `KernelShape`.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from rnn_zoos.generation.trainers.trainer import BETAS, EPSILON
from rnn_zoos.generation.trainers.triton.layers import layer_backward, layer_forward, readout, weight_gradients
from rnn_zoos.generation.trainers.triton.memory import Data

# Weights of the old moment and of the new gradient, for the first and the second moment.
_NEW1, _OLD2, _NEW2 = tl.constexpr(1 - BETAS[0]), tl.constexpr(BETAS[1]), tl.constexpr(1 - BETAS[1])
_EPSILON = tl.constexpr(EPSILON)
_CHUNK = tl.constexpr(1024)  # parameters that AdamW processes at a time


class Parameters(NamedTuple):
    """Pointers to the parameters of a run, their moments and their gradients, [P] each."""

    weights: tl.tensor
    first_moments: tl.tensor
    second_moments: tl.tensor
    gradients: tl.tensor


@triton.jit
def _adamw(p: Parameters, rates: tl.tensor, weight_decay: tl.tensor, s: tl.constexpr) -> None:
    """Do one step of AdamW on all parameters of a run; rates [3] as in `trainer.adamw_rates`."""
    rate, step_size, correction = tl.load(rates), tl.load(rates + 1), tl.load(rates + 2)
    for start in range(0, s.num_parameters, _CHUNK):
        at = start + tl.arange(0, _CHUNK)
        mask = at < s.num_parameters
        gradient = tl.load(p.gradients + at, mask=mask, other=0.0)
        first = tl.load(p.first_moments + at, mask=mask, other=0.0)
        second = tl.load(p.second_moments + at, mask=mask, other=0.0)
        weight = tl.load(p.weights + at, mask=mask, other=0.0)
        first += _NEW1 * (gradient - first)
        second = _OLD2 * second + _NEW2 * gradient * gradient
        change = step_size * first / (tl.sqrt(second) / correction + _EPSILON)
        tl.store(p.first_moments + at, first, mask=mask)
        tl.store(p.second_moments + at, second, mask=mask)
        tl.store(p.weights + at, weight * (1.0 - rate * weight_decay) - change, mask=mask)


@triton.jit
def _loss_and_gradients(p: Parameters, scratch: tl.tensor, data: Data, s: tl.constexpr) -> tl.tensor:
    """Return the loss of one run on one batch, and store its gradient on every parameter."""
    layers: tl.constexpr = s.layers
    for layer in tl.static_range(layers):
        layer_forward(layer, p.weights, scratch, data, s)
        tl.debug_barrier()  # the next layer, or the readout, reads the states
    loss = readout(p.weights, p.gradients, scratch, data, s)
    for layer in tl.static_range(layers - 1, -1, -1):
        tl.debug_barrier()  # the gradient of the layer's output is complete
        layer_backward(layer, p.weights, scratch, s)
        tl.debug_barrier()  # the gradients of the gates are complete
        weight_gradients(layer, p.gradients, scratch, data, s)
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
    """Train run `program_id(0)` for some updates. Runs that have diverged do not change.

    The parameters of a kernel are not grouped, unlike those of the functions above: `compile.py` describes each pointer
    to the compiler by its name, and `do_not_specialize` names single integers. Callers use keywords.

    Args:
        parameters, first_moments, second_moments: float32 [M, row].
        gradients: float32 [M, row]; afterwards, those of the run's last update. Earlier contents are ignored.
        losses: float32 [M], of the last update.
        diverged_at: int64 [M], see `groups.RunGroup`.
        scratch: float32 [M, KernelShape.scratch]; earlier contents are ignored.
        weight_decay: float32 [M].
        rates: float32 [M, ahead, 3], see `trainer.adamw_rates`.
        drawn, targets, images, tables: The data, see below.
        first_update: The number of the first update to do, counted from 0.
        updates: How many updates to do.
        ahead: For how many updates `drawn` (and `targets` in mode dense) and `rates` hold data.
        skip: How many of these come before `first_update`.
        s: The `KernelShape`.

    mode     drawn                         targets                 images           tables
    symbols  uint8 [M, ahead, B, T+offset] -                       -                -
    images   int32 [M, ahead, B] (images)  int32 [N] (per image)   uint8 [N, size]  int32 [M, (T-1) * I] (pixels)
    dense    float32 [M, ahead, B, T, I]   int32 [M, ahead, B, T]  -                -
    """
    run = tl.program_id(0).to(tl.int64)
    batch = run * ahead + skip  # index among all drawn batches
    drawn += batch * s.drawn_size
    if s.mode == "images":
        tables += run * (s.steps - 1) * s.inputs
    elif s.mode == "dense":
        targets += batch * (s.batch * s.steps)
    rates += batch * 3
    parameters += run * s.row
    first_moments += run * s.row
    second_moments += run * s.row
    gradients += run * s.row
    scratch += run * s.scratch
    decay = tl.load(weight_decay + run)
    healthy = tl.load(diverged_at + run) > first_update
    update = 0
    while healthy & (update < updates):
        p = Parameters(parameters, first_moments, second_moments, gradients)
        loss = _loss_and_gradients(p, scratch, Data(drawn, targets, images, tables), s)
        tl.store(losses + run, loss)
        update += 1
        healthy = tl.abs(loss) < float("inf")  # false for NaN too
        if healthy:
            _adamw(p, rates, decay, s)
        else:
            tl.store(diverged_at + run, (first_update + update).to(tl.int64))
        tl.debug_barrier()  # the next forward reads the weights
        drawn += s.drawn_size
        rates += 3
        if s.mode == "dense":
            targets += s.batch * s.steps
