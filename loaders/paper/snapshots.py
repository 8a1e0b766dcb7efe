"""Reading the snapshots of one run from the paper's files: weights, rollouts, and the labels computed from them.

Stored rollouts are verified against the weights, and language strings that lost their BOS are repaired and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.families.digit_inputs import MEAN, STD, tile_inputs
from rnn_zoos.families.family import to_half
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.language_strings import (
    BOS,
    EOS,
    NUM_SYMBOLS,
    judge,
    one_hot_inputs,
    task_offsets,
    training_loss,
    verdict_labels,
)
from rnn_zoos.families.rotation import NUM_TILES, SIDE, from_tiles, rotation_table
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.paper.layout import NUM_STRINGS, REMEDY, WEIGHT_DECAY, Part, SourceRun
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.weights import unflatten

_DEFAULT_WEIGHT_DECAY = 1e-4  # what the paper's code uses for languages
_OUTPUT_TOLERANCE = 0.1  # median |stored - computed output|: above rounding (float16, TF32), below other weights
_MAX_LABEL = float(np.finfo(np.float32).max)
_INPUT_TOLERANCE = 2e-3  # from the input of an integer grey level: a bit above half the largest float16 spacing


@dataclass(frozen=True)
class ImportedSnapshot:
    """One snapshot: its labels, and its weights and rollouts by name, without a row axis."""

    labels: Mapping[str, float]
    weights: Mapping[str, Array]
    rollouts: Mapping[str, Array]


_Reader = Callable[[Part, int, int, RecurrentNetwork], tuple[dict[str, float], dict[str, Tensor], int]]


def read_run(part: Part, run: SourceRun, task: int) -> tuple[list[ImportedSnapshot], int]:
    """Return the snapshots of a run before the first non-finite one, and the number of repaired sequences.

    Raises:
        FormatError: if a value is impossible, or the last network does not reproduce its stored outputs.
    """
    kept: list[ImportedSnapshot] = []
    repaired = 0
    read: _Reader = _language_snapshot if part.zoo == FormalLanguages.name else _digit_snapshot
    for row in range(run.first, run.first + len(run.steps)):
        flat = torch.from_numpy(part.arrays["parameters"][row].copy())
        if not flat.isfinite().all() or np.isnan(part.arrays["logits"][row]).any():
            break
        weights = unflatten(part.architecture, flat)
        network = RecurrentNetwork(part.architecture, weights).eval()
        labels, rollouts, num_repaired = read(part, row, task, network)
        if not all(abs(label) <= _MAX_LABEL for label in labels.values()):
            break
        arrays = {name: tensor.numpy() for name, tensor in rollouts.items()}
        kept.append(ImportedSnapshot(labels, {name: tensor.numpy() for name, tensor in weights.items()}, arrays))
        repaired += num_repaired
    if kept:
        _check_outputs(part, run.first + len(kept) - 1, network, rollouts)
    return kept, repaired


def _language_snapshot(
    part: Part, row: int, task: int, network: RecurrentNetwork
) -> tuple[dict[str, float], dict[str, Tensor], int]:
    """Return labels and rollouts of a language network, and the number of repaired sequences.

    Accuracy, count accuracy and finished are measured on the stored strings; the loss is computed from the weights. The
    files do not hold the weight decay: it is taken from args.json, or is the constant of the paper's code.

    The paper's code stores strings after its evaluation has overwritten the BOS of every string without EOS by EOS.
    The repair restores BOS, which is what the network had read.
    """
    sequences, location = part.arrays["sequences"][row], f"{part.directory / 'sequences'}.npy: row {row}"
    if sequences.min() < 0 or sequences.max() >= NUM_SYMBOLS:
        raise FormatError(f"{location} holds symbols {sequences.min()} to {sequences.max()}; expected 0 to 5. {REMEDY}")
    lost_bos = (sequences[:, 0] == EOS) & (sequences[:, 1:] != EOS).all(axis=1)
    if not (lost_bos | (sequences[:, 0] == BOS)).all():
        raise FormatError(f"{location} holds a sequence that does not begin with BOS ({BOS}). {REMEDY}")
    repaired = torch.from_numpy(sequences.astype(np.uint8))
    repaired[:, 0] = BOS
    log_probs = torch.from_numpy(part.arrays["logits"][row].copy())
    if (log_probs > 0).any():
        raise FormatError(f"{part.directory}/logits.npy: row {row} is above 0; expected log-probabilities. {REMEDY}")
    offsets = task_offsets(task)
    labels = {
        "weight_decay": language_weight_decay(part),
        **verdict_labels(judge(repaired, offsets)),
        "loss": training_loss(network, offsets),
        "original_accuracy": int(part.arrays["num_step_correct"][row, 2]) / NUM_STRINGS,
    }
    return labels, {"sequences": repaired, "log_probs": to_half(log_probs)}, int(lost_bos.sum())


def _digit_snapshot(
    part: Part, row: int, task: int, network: RecurrentNetwork
) -> tuple[dict[str, float], dict[str, Tensor], int]:
    """Return labels and rollouts of a digit network, and 0: no sequence needs repair.

    The labels are those of the source, since the digits that they were measured on are not in the files. Every pixel
    is recovered exactly from the inputs; the class of a digit and its number in MNIST are not stored.
    """
    stored = torch.from_numpy(part.arrays["sequences"][row].copy()).float()
    grey = ((stored[:, 1:] * STD + MEAN) * 255).nan_to_num(-1).round().clamp(0, 255)
    seen = from_tiles(grey).to(torch.uint8)
    rebuilt = tile_inputs(torch.nn.functional.pad(seen, (0, 1)), rotation_table(0))
    if not (rebuilt - stored).abs().max() <= _INPUT_TOLERANCE:
        raise FormatError(
            f"{part.directory}/sequences.npy: row {row} holds inputs that are not a tile of zeros and {NUM_TILES} "
            f"tiles of pixels (x/255 - {MEAN})/{STD}, x from 0 to 255. {REMEDY}"
        )
    accuracy, train_loss, eval_loss, weight_decay = part.arrays["accuracy_losses"][row].tolist()
    labels = {
        "weight_decay": weight_decay,
        "accuracy": accuracy,
        "eval_loss": eval_loss,
        "train_loss": train_loss,
        "generalization_gap": eval_loss - train_loss,
    }
    logits = to_half(torch.from_numpy(part.arrays["logits"][row].copy()))
    return labels, {"seen": seen.view(-1, SIDE, SIDE), "logits": logits}, 0


def language_weight_decay(part: Part) -> float:
    """Return the weight decay of a part of formal-languages. Raises FormatError unless args.json has a valid number."""
    value = part.arguments.get(WEIGHT_DECAY, _DEFAULT_WEIGHT_DECAY)
    if not isinstance(value, (int, float)) or not 0 <= value <= _MAX_LABEL:
        raise FormatError(
            f"{part.directory}/args.json: {WEIGHT_DECAY} is {value!r}; expected one number of at least 0 for all runs, "
            "because the files do not hold it per run."
        )
    return float(value)


@torch.no_grad()
def _check_outputs(part: Part, row: int, network: RecurrentNetwork, rollouts: Mapping[str, Tensor]) -> None:
    """Raise FormatError unless the network reproduces its stored outputs; otherwise the parameters were misread."""
    if part.zoo == FormalLanguages.name:
        outputs = network(one_hot_inputs(rollouts["sequences"])).log_softmax(dim=-1)
        stored = rollouts["log_probs"]
    else:
        pixels = torch.nn.functional.pad(rollouts["seen"].flatten(1), (0, 1))
        outputs, stored = network(tile_inputs(pixels, rotation_table(0))), rollouts["logits"]
    difference = float((outputs - stored.float()).abs().median())
    if not difference <= _OUTPUT_TOLERANCE:
        raise FormatError(
            f"{part.directory}/logits.npy: row {row} differs by {difference:.3g} (median) from the outputs of a "
            f"network with the weights of parameters.npy; expected at most {_OUTPUT_TOLERANCE}. The files belong to "
            "different zoos, or the network has another architecture."
        )
