"""Tensor files written without safetensors are what safetensors reads, and the other way round; damage is an error."""

import pytest
import safetensors.torch
import torch

from rnn_zoos.baselines.emulation.tensor_file import read_tensor_file, write_tensor_file
from rnn_zoos.errors import FormatError

TENSORS = {
    "step": torch.tensor(3.0),
    "weights": torch.arange(15.0).view(3, 5).T,
    "halves": torch.ones(7, dtype=torch.float16),
    "mask": torch.tensor([True, False, True]),
    "numbers": torch.tensor([[1, -2]]),
    "bytes": torch.tensor([255], dtype=torch.uint8),
    "empty": torch.empty(0, 4),
    "brain": torch.tensor([0.5, -3.0, 7.0], dtype=torch.bfloat16),
    "short": torch.tensor([-300], dtype=torch.int16),
    "tiny": torch.tensor([-3, 5], dtype=torch.int8),
    "exact": torch.tensor([0.1], dtype=torch.float64),
}


def test_safetensors_reads_the_file_and_its_files_are_read(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_tensor_file(ours, TENSORS, {"run": '{"a": 1}'})
    loaded = safetensors.torch.load_file(ours)
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
    assert all(loaded[name].dtype == tensor.dtype for name, tensor in TENSORS.items())
    contiguous = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    safetensors.torch.save_file(contiguous, theirs, metadata={"run": '{"a": 1}'})
    tensors, texts = read_tensor_file(theirs, "a checkpoint", "Delete it.")
    assert texts == {"run": '{"a": 1}'}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path):
    path = tmp_path / "file"
    write_tensor_file(path, TENSORS, {"run": "1"})
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(FormatError, match=r"file is not a checkpoint \(.*Delete it"):
            read_tensor_file(path, "a checkpoint", "Delete it.")


def test_a_tensor_of_another_dtype_is_refused_by_its_name(tmp_path):
    with pytest.raises(FormatError, match=r"tensor phase has dtype torch.complex64; expected one of .*torch.bfloat16"):
        write_tensor_file(tmp_path / "file", {"phase": torch.ones(2, dtype=torch.complex64)}, {})
    assert not (tmp_path / "file").exists()
