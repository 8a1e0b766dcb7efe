"""The checkpoint of a training by emulation: one safetensors file, from which the training continues bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rnn_zoos.baselines.emulation.tensor_file import read_tensor_file, write_tensor_file
from rnn_zoos.errors import FormatError, PlanMismatchError

_CURRENT, _BEST, _OPTIMIZER = "now.", "best.", "optimizer."
_ENTRIES = ("identity", "update", "best", "history", "seconds")  # of the metadata


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after an update.

    Attributes:
        identity: What the training is: encoder, sizes, seed, zoo, biases, settings.
        update: Number of updates done.
        best_loss: Lowest validation loss so far.
        history: Losses of all evaluations so far.
        seconds: Duration of the training so far.
        current: State dict of encoder and emulator.
        best: State dict of the evaluation with the lowest validation loss.
        moments: AdamW's state: number of the parameter -> name -> tensor.
    """

    identity: Mapping[str, Any]
    update: int
    best_loss: float
    history: list[dict[str, float]]
    seconds: float
    current: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    moments: Mapping[int, Mapping[str, Tensor]]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: tensors by prefixed names, everything else as JSON metadata."""
    tensors = {f"{_CURRENT}{name}": tensor for name, tensor in checkpoint.current.items()}
    tensors |= {f"{_BEST}{name}": tensor for name, tensor in checkpoint.best.items()}
    for number, state in checkpoint.moments.items():
        tensors |= {f"{_OPTIMIZER}{number}.{name}": tensor for name, tensor in state.items()}
    metadata = {
        "identity": checkpoint.identity,
        "update": checkpoint.update,
        "best": checkpoint.best_loss,
        "history": checkpoint.history,
        "seconds": checkpoint.seconds,
    }
    write_tensor_file(path, tensors, {"run": json.dumps(metadata)})


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> Checkpoint:
    """Read the checkpoint of the training with this identity.

    Raises FormatError if the file is damaged or cannot be read, PlanMismatchError if it is of another training.
    """
    what, remedy = "a checkpoint", "Delete it to start again."
    tensors, texts = read_tensor_file(path, what, remedy)
    try:
        metadata = json.loads(texts["run"])
        stored, update, best, history, seconds = (metadata[key] for key in _ENTRIES)
        wanted = json.loads(json.dumps(identity))
        differing = [key for key in {**wanted, **stored} if stored.get(key) != wanted.get(key)]
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise FormatError(f"{path} is not {what} ({error}). {remedy}") from error
    if differing:
        raise PlanMismatchError(
            f"{path} was made with another {', '.join(differing)}. Use another folder, or the same settings."
        )
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _without_prefix(tensors, _OPTIMIZER).items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = tensor
    return Checkpoint(
        identity,
        update,
        best,
        history,
        seconds,
        _without_prefix(tensors, _CURRENT),
        _without_prefix(tensors, _BEST),
        moments,
    )


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
