"""Sending batches from DataLoader workers to the main process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes; every tensor of a block starts at a multiple


@dataclass(frozen=True)
class _Slot:
    """Where a tensor lies in a block."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.start + self.dtype.itemsize * prod(self.shape)

    def view(self, block: Tensor) -> Tensor:
        return block[self.start : self.end].view(self.dtype).view(self.shape)


class PackedBatch:
    """A batch whose tensors lie in one block of shared memory. The process that unpickles it gets the batch itself.

    Sent one by one, each tensor takes shared memory, a file descriptor and a message of its own.

    Args:
        batch: dict, nested to any depth, of tensors on the CPU and of other values, which are pickled.
    """

    def __init__(self, batch: Mapping[str, Any]) -> None:
        tensors: list[tuple[_Slot, Tensor]] = []

        def place(tensor: Tensor) -> _Slot | Tensor:
            if tensor.requires_grad or tensor.device.type != "cpu":
                return tensor
            start = -(-tensors[-1][0].end // _ALIGNMENT) * _ALIGNMENT if tensors else 0
            tensors.append((_Slot(start, tensor.dtype, tuple(tensor.shape)), tensor))
            return tensors[-1][0]

        self._batch = _replace(batch, Tensor, place)
        size = tensors[-1][0].end if tensors else 0
        # As torch's own collation does: `share_memory_` would fill the block twice.
        shared = torch.UntypedStorage._new_shared(max(size, 1))
        self._block = torch.empty(0, dtype=torch.uint8).set_(shared)
        for slot, tensor in tensors:
            slot.view(self._block).copy_(tensor)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (self._block, self._batch)


def _unpack(block: Tensor, batch: dict[str, Any]) -> Any:  # noqa: ANN401 - a dict
    return _replace(batch, _Slot, lambda slot: slot.view(block))


def _replace(value: Any, kind: type, by: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - the values of a batch
    """Return a nested dict with its values of one type replaced."""
    if isinstance(value, Mapping):
        return {key: _replace(inner, kind, by) for key, inner in value.items()}
    return by(value) if isinstance(value, kind) else value
