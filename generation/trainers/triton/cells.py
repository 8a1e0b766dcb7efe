"""The recurrent cells of the Triton kernel: one step forward from the sums of the gates, and its gradients.

`layers.py` uses them; `s` is always the `KernelShape`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def sigmoid(x: tl.tensor) -> tl.tensor:
    """Return the logistic function. The argument of exp is never positive, so nothing overflows. NaN stays NaN."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x < 0, small, 1.0) / (1.0 + small)


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """Return the hyperbolic tangent with a relative error of about 1e-6. NaN stays NaN.

    Near zero it is a Taylor polynomial, because 1 - exp(-2|x|) would cancel.
    """
    small = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - small) / (1.0 + small)
    square = tl.minimum(x * x, 0.04)
    near = 1.0 + square * (-1.0 / 3 + square * (2.0 / 15 + square * (-17.0 / 315 + square * (62.0 / 2835))))
    return tl.where(x * x < 0.04, x * near, tl.where(x < 0, -far, far))


@triton.jit
def cell_forward(
    sums: tl.tuple, state: tl.tensor, cell: tl.tensor, s: tl.constexpr
) -> tuple[tl.tuple, tl.tensor, tl.tensor]:
    """Return the activated gates, the next state and the next cell, [B, H] each, from the sums of the gates."""
    if s.cell == "lstm":
        i, f, g, o = sigmoid(sums[0]), sigmoid(sums[1]), tanh(sums[2]), sigmoid(sums[3])
        cell = f * cell + i * g
        return (i, f, g, o), o * tanh(cell), cell
    elif s.cell == "gru":
        r, z = sigmoid(sums[0]), sigmoid(sums[1])
        n = tanh(sums[2] + r * sums[3])
        return (r, z, n, sums[3]), (1.0 - z) * n + z * state, cell
    else:
        state = tanh(sums[0])
        return (state,), state, cell


@triton.jit
def cell_backward(
    gates: tl.tuple,
    before: tl.tensor,
    after: tl.tensor,
    d_state: tl.tensor,
    d_cell: tl.tensor,
    s: tl.constexpr,
) -> tuple[tl.tuple, tl.tensor, tl.tensor]:
    """Return the gradients of the sums of the gates, of the state and of the cell before the step; all [B, H].

    The gradient of the state does not include what reaches it through the products with the weights.

    Args:
        gates: The activated gates.
        before, after: The cell (lstm) or the state (gru, rnn) before and after the step.
        d_state, d_cell: Gradients of the state and the cell after the step.
        s: The `KernelShape`.
    """
    if s.cell == "lstm":
        i, f, g, o = gates
        tanh_cell = tanh(after)
        d_cell += d_state * o * (1.0 - tanh_cell * tanh_cell)
        d_gates = (
            d_cell * g * i * (1.0 - i),
            d_cell * before * f * (1.0 - f),
            d_cell * i * (1.0 - g * g),
            d_state * tanh_cell * o * (1.0 - o),
        )
        return d_gates, tl.zeros_like(d_state), d_cell * f
    elif s.cell == "gru":
        r, z, n, m = gates
        d_n = d_state * (1.0 - z) * (1.0 - n * n)
        d_gates = (d_n * m * r * (1.0 - r), d_state * (before - n) * z * (1.0 - z), d_n, d_n * r)
        return d_gates, d_state * z, d_cell
    else:
        return (d_state * (1.0 - after * after),), tl.zeros_like(d_state), d_cell
