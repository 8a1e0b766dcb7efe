"""What measuring stacks of networks has in common: how much is computed at once, so that memory is bounded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.randomness import Purpose, random_bits

STACK_BYTES = 2**32
"""Bytes that the sequences take which a stack of networks reads at once, on the device. A constant, because the number
of sequences can change the rounding. With fewer, a GPU waits for the next launch most of the time."""
_WEIGHT_BYTES = 2**28  # of the weights of a stack
_NETWORKS = 256  # at most: more fill no GPU better, with the sequences that each of them reads
_WORDS = 2**23  # random words drawn at once; drawing takes about ten times their 8 bytes


def networks_at_once(architecture: Architecture) -> int:
    """Return how many networks to measure as one stack."""
    return max(1, min(_NETWORKS, _WEIGHT_BYTES // (4 * architecture.num_parameters)))


def sequences_at_once(architecture: Architecture, networks: int, steps: int) -> int:
    """Return how many sequences of T steps each of M networks can read at once within `STACK_BYTES`.

    Per step, a layer takes pre-activations from its inputs and from its state, two states and temporary tensors.
    """
    gates = GATES[architecture.cell] * architecture.hidden_size
    numbers = 2 * (architecture.input_size + gates + architecture.hidden_size + architecture.output_size)
    return max(1, STACK_BYTES // (4 * networks * steps * numbers))


def device_of(stack: NetworkStack) -> torch.device:
    """Return the device of a stack's weights."""
    return next(iter(stack.weights.values())).device


def random_words(
    seed: int, runs: Sequence[int], steps: Sequence[int], purpose: Purpose, count: int, device: torch.device
) -> Tensor:
    """Return the words int64 [M, count] of M snapshots: those of each run at the counter that is its step."""
    words = torch.empty(len(runs), count, dtype=torch.int64, device=device)
    for step in sorted(set(steps)):
        places = torch.tensor([place for place, other in enumerate(steps) if other == step])
        for chunk in places.split(max(1, _WORDS // count)):
            of_step = [runs[place] for place in chunk.tolist()]
            words[chunk.to(device)] = random_bits(seed, of_step, purpose, [step], count, device)[:, 0]
    return words
