"""Linear maps and means of the matrices of `equivariant`: features [M, C, A, B] of the units of one layer or of two.

These are its largest tensors by far, larger than the cache. Autograd's elementary operations go over them dozens of
times, for every broadcast and for the gradient of every use. `map_relu_mean` does everything for a few networks at a
time, so that only its arguments and results leave the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_PART = 2**17  # entries of the matrices that are handled at once: 512 kB


@dataclass(frozen=True)
class Means:
    """Means of matrices [M, C, A, B].

    Attributes:
        rows: Means of rows, [M, C, A].
        columns: Means of columns, [M, C, B].
        diagonal: The diagonals of squares, [M, C, A]; None for pairs.
    """

    rows: Tensor
    columns: Tensor
    diagonal: Tensor | None

    @classmethod
    def of(cls, matrices: Tensor, diagonal: bool) -> Means:
        """Compute the means of matrices [M, C, A, B]; `diagonal` says whether they are squares."""
        return cls(matrices.mean(dim=3), matrices.mean(dim=2), matrices.diagonal(dim1=2, dim2=3) if diagonal else None)


@dataclass(frozen=True)
class MatrixMap:
    """The map W x + p + q of pairs, or W x + V x' + p + q + diag(d) of squares, where x' is the transposed matrix.

    Attributes:
        straight: W, [C', C].
        rows: p, [M, C', A], added to all entries of a row.
        columns: q, [M, C', B], added to all entries of a column.
        transposed: V, [C', C]; None for pairs.
        diagonal: d, [M, C', A], added to the diagonal; None for pairs.
    """

    straight: Tensor
    rows: Tensor
    columns: Tensor
    transposed: Tensor | None = None
    diagonal: Tensor | None = None

    def __call__(self, matrices: Tensor) -> Tensor:
        """Return the matrices [M, C', A, B] of matrices [M, C, A, B]."""
        result = torch.einsum("dc,mcab->mdab", self.straight, matrices)
        result = result + self.rows.unsqueeze(3) + self.columns.unsqueeze(2)
        if self.transposed is None or self.diagonal is None:
            return result
        return result + torch.einsum("dc,mcba->mdab", self.transposed, matrices) + torch.diag_embed(self.diagonal)


def map_relu_mean(matrices: Tensor, by: MatrixMap) -> tuple[Tensor, Means]:
    """Return ReLU(by(matrices)) and its means; `MatrixMap` and `Means.of` are the reference implementation."""
    weight = by.straight if by.transposed is None else torch.cat([by.straight, by.transposed], dim=1)
    mapped, rows, columns, diagonal = _MapReLUMean.apply(matrices, weight, by.rows, by.columns, by.diagonal)  # type: ignore[no-untyped-call]
    return mapped, Means(rows, columns, diagonal)


class _MapReLUMean(torch.autograd.Function):
    """`map_relu_mean`, with W and V side by side, [C', 2 C], for squares."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        matrices: Tensor,
        weight: Tensor,
        rows: Tensor,
        columns: Tensor,
        diagonal: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        result = matrices.new_empty(*rows.shape, columns.shape[2])
        row_means, column_means = torch.empty_like(rows), torch.empty_like(columns)
        for part in _parts(result):
            of_part = result[part]
            read = _with_transposed(matrices[part], diagonal is not None).flatten(2)
            torch.bmm(weight.expand(len(of_part), -1, -1), read, out=of_part.flatten(2))
            of_part.add_(rows[part].unsqueeze(3)).add_(columns[part].unsqueeze(2))
            if diagonal is not None:
                of_part.diagonal(dim1=2, dim2=3).add_(diagonal[part])
            of_part.relu_()
            torch.mean(of_part, dim=3, out=row_means[part])
            torch.mean(of_part, dim=2, out=column_means[part])
        ctx.save_for_backward(matrices, weight, result)
        ctx.square = diagonal is not None
        of_diagonal = None if diagonal is None else result.diagonal(dim1=2, dim2=3).clone()
        return result, row_means, column_means, of_diagonal

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        of_result: Tensor | None,
        of_rows: Tensor | None,
        of_columns: Tensor | None,
        of_diagonal: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        matrices, weight, result = ctx.saved_tensors
        rows, columns = result.new_empty(result.shape[:3]), result[:, :, 0].clone()
        on_diagonal = torch.empty_like(rows) if ctx.square else None
        of_matrices = torch.empty_like(matrices) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight)
        of_rows = torch.zeros_like(rows) if of_rows is None else of_rows / result.shape[3]
        of_columns = torch.zeros_like(columns) if of_columns is None else of_columns / result.shape[2]
        for part in _parts(result):
            gradient = of_rows[part].unsqueeze(3) + of_columns[part].unsqueeze(2)
            if of_diagonal is not None:
                gradient.diagonal(dim1=2, dim2=3).add_(of_diagonal[part])
            if of_result is not None:
                gradient.add_(of_result[part])
            gradient = torch.ops.aten.threshold_backward(gradient, result[part], 0)  # `where` takes 20 times as long
            torch.sum(gradient, dim=3, out=rows[part])
            torch.sum(gradient, dim=2, out=columns[part])
            if on_diagonal is not None:
                on_diagonal[part] = gradient.diagonal(dim1=2, dim2=3)
            flat = gradient.flatten(2)
            read = _with_transposed(matrices[part], ctx.square).flatten(2)
            of_weight += torch.bmm(flat, read.transpose(1, 2)).sum(dim=0)
            if of_matrices is not None:
                of_read = torch.bmm(weight.T.expand(len(flat), -1, -1), flat).unflatten(2, result.shape[2:])
                if ctx.square:
                    straight, transposed = of_read.chunk(2, dim=1)
                    torch.add(straight, transposed.transpose(2, 3), out=of_matrices[part])
                else:
                    of_matrices[part] = of_read
        return of_matrices, of_weight, rows, columns, on_diagonal


def _with_transposed(matrices: Tensor, square: bool) -> Tensor:
    """Return squares and their transposes as channels, [M, 2 C, A, A], or pairs as they are."""
    return torch.cat([matrices, matrices.transpose(2, 3)], dim=1) if square else matrices


def _parts(matrices: Tensor) -> list[slice]:
    """Return slices of the networks whose matrices fit into a core's cache together."""
    size = max(1, _PART // max(1, matrices[0].numel()))
    return [slice(start, start + size) for start in range(0, len(matrices), size)]
