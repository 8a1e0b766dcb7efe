"""What `neural_graph` computes along the edges of one kind: sums of messages in both directions, and new edges.

The edges of a kind are matrices of C channels between two sets of nodes, rows A and columns B, as [N, A, C, B]: with
the channels in the middle, a sum over rows and one over columns is each one matrix product per network.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Update: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""What changes edges: U [C, C], and vectors of the rows [N, A, C] and of the columns [N, B, C]."""


def edge_step(edges: Tensor, rows: Tensor, columns: Tensor, update: Update | None) -> tuple[Tensor, Tensor, Tensor]:
    """Multiply edges by vectors of the nodes at either end, sum over these nodes, and update the edges.

    `edge_step_reference` is the reference implementation.

    Args:
        edges: e, [N, A, C, B].
        rows: x, [N, A, R].
        columns: y, [N, B, R].
        update: (U, p, q), or None to leave the edges as they are.

    Returns:
        sum over b of e[a, c, b] y[b, r], as [N, A, R C]; sum over a of e[a, c, b] x[a, r], as [N, B, R C];
        e + ReLU(U e + p + q), as [N, A, C, B].
    """
    mix, of_rows, of_columns = update or (None, None, None)
    if of_rows is not None and of_columns is not None:
        of_rows, of_columns = of_rows.unsqueeze(3), of_columns.transpose(1, 2).unsqueeze(1).contiguous()
    results = _EdgeStep.apply(edges, rows, columns, mix, of_rows, of_columns)  # type: ignore[no-untyped-call]
    to_rows, to_columns, updated = cast(tuple[Tensor, Tensor, Tensor | None], results)
    number, height, channels, width = edges.shape
    to_rows = to_rows.view(number, rows.shape[2], height, channels).permute(0, 2, 1, 3).flatten(2)
    to_columns = to_columns.view(number, rows.shape[2] * channels, width).transpose(1, 2)
    return to_rows, to_columns, edges if updated is None else updated


def edge_step_reference(
    edges: Tensor, rows: Tensor, columns: Tensor, update: Update | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `edge_step` by elementary operations."""
    to_rows = torch.einsum("nacb,nbr->narc", edges, columns).flatten(2)
    to_columns = torch.einsum("nacb,nar->nbrc", edges, rows).flatten(2)
    if update is not None:
        mix, of_rows, of_columns = update
        changes = torch.einsum("dc,nacb->nadb", mix, edges) + of_rows.unsqueeze(3)
        edges = edges + (changes + of_columns.transpose(1, 2).unsqueeze(1)).relu()
    return to_rows, to_columns, edges


class _EdgeStep(torch.autograd.Function):
    """`edge_step`, with sums as [N, R, A C] and [N, R, C B], p as [N, A, C, 1] and q as [N, 1, C, B].

    The edges are by far the largest tensors; their gradient is summed in place, in the layout of the edges. The nodes
    are the left factors of the products with edges, so that results have few rows and many columns: the transposed
    products take two to six times as long, because BLAS vectorises over columns.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        edges: Tensor,
        rows: Tensor,
        columns: Tensor,
        mix: Tensor | None,
        of_rows: Tensor | None,
        of_columns: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        long, wide = _long(edges), _wide(edges)
        to_rows = torch.bmm(columns.transpose(1, 2), long.transpose(1, 2))
        to_columns = torch.bmm(rows.transpose(1, 2), wide)
        if mix is None:
            ctx.save_for_backward(edges, rows, columns)
            return to_rows, to_columns, None
        flat = edges.flatten(0, 1)
        change = torch.bmm(mix.expand(len(flat), -1, -1), flat).view_as(edges)
        change = change.add_(of_rows).add_(of_columns).relu_()  # type: ignore[arg-type]
        ctx.save_for_backward(edges, rows, columns, mix, change)
        return to_rows, to_columns, edges + change

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        to_rows: Tensor,
        to_columns: Tensor,
        updated: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        edges, rows, columns, *of_update = ctx.saved_tensors
        gradient, of_mix, of_change = _update_gradients(edges, updated, *of_update)
        _long(gradient).baddbmm_(to_rows.transpose(1, 2), columns.transpose(1, 2))
        _wide(gradient).baddbmm_(rows, to_columns)
        of_rows = torch.bmm(to_columns, _wide(edges).transpose(1, 2)).transpose(1, 2)
        of_columns = torch.bmm(to_rows, _long(edges)).transpose(1, 2)
        if of_change is None:
            return gradient, of_rows, of_columns, None, None, None
        sums = of_change.sum(dim=3, keepdim=True), of_change.sum(dim=1, keepdim=True)
        return gradient, of_rows, of_columns, of_mix, *sums


def _update_gradients(
    edges: Tensor, updated: Tensor | None, mix: Tensor | None = None, change: Tensor | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of the edges (a new tensor), of U, and of U e + p + q, through the updated edges."""
    if updated is None or mix is None or change is None:
        return torch.zeros_like(edges), None, None
    # torch.where takes 20 times as long
    of_change: Tensor = torch.ops.aten.threshold_backward(updated, change, 0)
    flat, flat_change = edges.flatten(0, 1), of_change.flatten(0, 1)
    of_mix = torch.bmm(flat_change, flat.transpose(1, 2)).sum(dim=0)
    gradient = torch.baddbmm(updated.flatten(0, 1), mix.T.expand(len(flat), -1, -1), flat_change)
    return gradient.view_as(edges), of_mix, of_change


def _long(edges: Tensor) -> Tensor:
    """Return a view [N, A C, B] of edges [N, A, C, B]."""
    number, height, channels, width = edges.shape
    return edges.view(number, height * channels, width)


def _wide(edges: Tensor) -> Tensor:
    """Return a view [N, A, C B] of edges [N, A, C, B]."""
    number, height, channels, width = edges.shape
    return edges.view(number, height, channels * width)
