"""Counter-based random numbers: each value depends only on seed, run, purpose and counter.

Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) maps a counter and a key to four
random words. The key is the seed of the zoo, the counter is (block, counter, run, purpose). Any number of any run can
be drawn at any time, on any device and in any order, with the same bits. Words are int64 tensors with values
0..2**32-1, since torch lacks many operations for unsigned integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Purpose(IntEnum):
    """What a stream of random numbers is used for; draws for one purpose never affect those for another."""

    TASK = 0
    INIT = 1
    DATA = 2
    EVALUATION = 3
    ROLLOUTS = 4
    FIXED_HASH = 5
    AUTOMATON = 6
    FURTHER_LABELS = 7
    HYPERPARAMETERS = 8


def philox(counter: Tensor, key: int) -> Tensor:
    """Return the random words [..., 4] of Philox 4x32-10 for a counter [..., 4] of 32-bit words and a 64-bit key."""
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key & _WORD, (key >> 32) & _WORD
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return torch.stack([c0, c1, c2, c3], dim=-1)


def _multiply(words: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return the high and low word of a 32 x 32 bit product: int64 overflows, but its 64 bits are correct."""
    product = words * factor
    return (product >> 32) & _WORD, product & _WORD


def random_bits(
    seed: int,
    runs: Sequence[int] | Tensor,
    purpose: Purpose,
    counters: Sequence[int] | Tensor,
    count: int,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw random words.

    Args:
        seed: Seed of the zoo.
        runs: Numbers of M runs.
        purpose: The stream to draw from.
        counters: K positions in the stream, for example numbers of updates.
        count: Words per run and counter.
        device: Where to compute; the words are the same on every device.

    Returns:
        Words 0..2**32-1, int64 [M, K, count]. A larger `count` appends words to those of a smaller one.
    """
    blocks = torch.arange((count + 3) // 4, device=device)
    run = torch.as_tensor(runs, dtype=torch.int64, device=device)[:, None, None]
    number = torch.as_tensor(counters, dtype=torch.int64, device=device)[None, :, None]
    words = torch.broadcast_tensors(blocks, number, run, torch.full_like(blocks, int(purpose)))
    return philox(torch.stack(words, dim=-1), seed).flatten(-2)[..., :count]


def to_uniform(bits: Tensor) -> Tensor:
    """Convert words to float32 in [0, 1), by their upper 24 bits, which float32 represents exactly."""
    return (bits >> 8).to(torch.float32) * 2.0**-24


def to_integers(bits: Tensor, limit: int | Tensor) -> Tensor:
    """Convert words to 0..limit-1 by multiply and shift; limits up to 2**31, bias at most limit / 2**32."""
    return (bits * limit) >> 32


def permutation(bits: Tensor) -> Tensor:
    """Return permutations of 0..N-1 from words [..., N]: the stable sorting order of the words."""
    return torch.argsort(bits, dim=-1, stable=True)


def fixed_hash(values: Tensor, salt: int) -> Tensor:
    """Hash whole numbers 0..2**32-1 to words. The hash depends on `salt` alone, not on a seed, and never changes."""
    words = torch.stack(
        [values.long(), *(torch.full_like(values.long(), w) for w in (salt, 0, Purpose.FIXED_HASH))], -1
    )
    return philox(words, 0)[..., 0]
