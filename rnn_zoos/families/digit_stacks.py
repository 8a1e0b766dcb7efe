"""Measuring many networks of the zoo `sequential-mnist` at once, on any device.

`SequentialMnist.evaluate` is the reference implementation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.digit_inputs import tile_inputs
from rnn_zoos.families.family import Measurement, to_half
from rnn_zoos.families.rotation import NUM_TILES
from rnn_zoos.families.sequential_mnist import DigitEvaluation, SequentialMnist
from rnn_zoos.families.stacks import device_of, sequences_at_once
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.randomness import Purpose, permutation, random_bits


@torch.no_grad()
def evaluate_digits(
    family: SequentialMnist,
    stack: NetworkStack,
    seed: int,
    runs: Sequence[int],
    tasks: Sequence[int],
    evaluation: DigitEvaluation,
) -> list[Measurement]:
    """Return what `SequentialMnist.evaluate_stack` returns."""
    digits, measured = family.digits, DigitStack(family, stack, [family.table(task) for task in tasks])
    eval_loss, accuracy = measured.on(digits.validation[: evaluation.held_out_digits])
    train_loss, _ = measured.on(digits.fixed_train[: evaluation.fit_digits])
    _, test_accuracy = measured.on(digits.test[: evaluation.test_digits])
    distinct = {run: place for place, run in enumerate(dict.fromkeys(runs))}
    words = random_bits(seed, list(distinct), Purpose.ROLLOUTS, [0], len(digits.train), device_of(stack))
    chosen = permutation(words[:, 0])[:, : evaluation.rollouts].cpu()
    shown = digits.train[chosen[[distinct[run] for run in runs]]]  # [M, rollouts]
    logits = to_half(measured.logits(shown)).cpu()
    return [
        Measurement(
            {
                "accuracy": accuracy[number],
                "test_accuracy": test_accuracy[number],
                "eval_loss": eval_loss[number],
                "train_loss": train_loss[number],
                "generalization_gap": eval_loss[number] - train_loss[number],
            },
            {
                "images": digits.numbers[shown[number]].int(),
                "labels": digits.labels[shown[number]].to(torch.uint8),
                "logits": logits[number],
            },
        )
        for number in range(stack.num_networks)
    ]


class DigitStack:
    """A stack with what it reads: the digits, and a rotation table for each network, on its device."""

    def __init__(self, family: SequentialMnist, stack: NetworkStack, tables: Sequence[Tensor]) -> None:
        device = device_of(stack)
        self.stack = stack
        self.images, self.labels = family.digits.images.to(device), family.digits.labels.to(device)
        self.tables = torch.stack(list(tables)).to(device)
        self.at_once = sequences_at_once(stack.architecture, stack.num_networks, NUM_TILES + 1)

    def on(self, positions: Tensor) -> tuple[list[float], list[float]]:
        """Return loss and accuracy of each network on digits, as `measure_digits` does for one network."""
        networks, count = self.stack.num_networks, len(positions)
        loss = torch.zeros(networks, dtype=torch.float64, device=self.images.device)
        correct = torch.zeros(networks, dtype=torch.int64, device=self.images.device)
        for chunk in positions.to(self.images.device).split(self.at_once):
            logits, labels = self._run(self.images[chunk].expand(networks, -1, -1)), self.labels[chunk]
            targets = labels[:, None].expand(logits.shape[:3]).flatten()
            losses = F.cross_entropy(logits.flatten(0, 2), targets, reduction="none")
            loss += losses.view(networks, -1).sum(dim=1)
            correct += (logits[:, :, -1].argmax(dim=-1) == labels).sum(dim=1)
        return (loss / (count * (NUM_TILES + 1))).tolist(), (correct / count).tolist()

    def logits(self, positions: Tensor) -> Tensor:
        """Return the logits [M, B, 50, 10] of each network on digits of its own, given by positions [M, B]."""
        some = positions.to(self.images.device).split(self.at_once, dim=1)
        return torch.cat([self._run(self.images[part]) for part in some], dim=1)

    def last_logits(self, positions: Tensor) -> Tensor:
        """Return the logits [M, B, 10] of each network after the last tile, on the same digits [B]."""
        networks = self.stack.num_networks
        chunks = positions.to(self.images.device).split(self.at_once)
        return torch.cat([self._run(self.images[chunk].expand(networks, -1, -1))[:, :, -1] for chunk in chunks], dim=1)

    def _run(self, images: Tensor) -> Tensor:
        """Return the logits [M, B, 50, 10] of images [M, B, 785]."""
        logits, _ = self.stack(tile_inputs(images, self.tables))
        return logits
