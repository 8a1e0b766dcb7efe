"""Files of named tensors in the safetensors layout, written and read with torch and numpy alone.

Checkpoints and encoders are also written on machines with a GPU that have nothing else installed. Any reader of
safetensors reads the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import write_atomically

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "I64": torch.int64, "I32": torch.int32}
_DTYPES |= {"BF16": torch.bfloat16, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ALIGNED = 8  # bytes: where the data begin


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts atomically. Raises FormatError for a dtype that is unknown here, StorageError."""
    arrays = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    for name, tensor in arrays.items():
        if tensor.dtype not in _NAMES:
            known = ", ".join(str(dtype) for dtype in _NAMES)
            raise FormatError(f"{path}: tensor {name} has dtype {tensor.dtype}; expected one of {known}.")
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    begin = 0
    # As safetensors does: the widest first, so that every tensor is aligned.
    for name in sorted(arrays, key=lambda name: (-arrays[name].element_size(), name)):
        tensor = arrays[name]
        end = begin + tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    data = [arrays[name].reshape(-1).view(torch.uint8).numpy().tobytes() for name in header if name != "__metadata__"]
    write_atomically(path, b"".join([len(text).to_bytes(8, "little"), text, *data]))


def read_tensor_file(path: Path, what: str, remedy: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file, on the CPU, and its texts.

    Raises FormatError if it cannot be read, or is damaged: then it is not `what`, and `remedy` says what to do.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error}. Fix its permissions, or the disk.") from error
    start = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:start])
        metadata = header.pop("__metadata__")
        data = memoryview(content)[start:]
        tensors = {name: _tensor(data, **entry) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{path} is not {what} ({error}). {remedy}") from error
    return tensors, metadata


def _tensor(data: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    """Return a copy of one tensor. Raises ValueError if it is not complete."""
    begin, end = data_offsets  # bits flipped in the header may make it anything
    kind = _DTYPES[dtype]
    if not 0 <= begin <= end <= len(data) or end - begin != prod(shape) * kind.itemsize:
        raise ValueError(f"bytes {begin} to {end} of {len(data)} for {dtype} {shape}")
    if begin == end:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(data[begin:end]), dtype=kind).reshape(shape)
