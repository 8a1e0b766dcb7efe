"""Random numbers with an address instead of a history.

Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) turns a counter and a key into
four random words. The key is the zoo's seed, the counter is (block, counter, run, purpose): any number of any run can
be drawn at any time on any device, in any order, with the same bits. Words are int64 tensors holding 0..2**32-1, since
torch has no full set of unsigned operations.
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
    """What a stream is for: draws for one purpose never shift those for another."""

    TASK = 0
    INIT = 1
    DATA = 2
    EVALUATION = 3
    ROLLOUTS = 4
    FIXED_HASH = 5


def philox(counter: Tensor, key: int) -> Tensor:
    """Philox 4x32-10: counter [..., 4] of 32-bit words, key of 64 bits -> random words [..., 4]."""
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key & _WORD, (key >> 32) & _WORD
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return torch.stack([c0, c1, c2, c3], dim=-1)


def _multiply(words: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """High and low word of a 32 x 32 bit product: int64 wraps, but its 64 bits are the right ones."""
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
    """Draw `count` words for each of M runs and K counters (an update, a step): [M, K, count] in 0..2**32-1."""
    blocks = torch.arange((count + 3) // 4, device=device)
    run = torch.as_tensor(runs, dtype=torch.int64, device=device)[:, None, None]
    number = torch.as_tensor(counters, dtype=torch.int64, device=device)[None, :, None]
    words = torch.broadcast_tensors(blocks, number, run, torch.full_like(blocks, int(purpose)))
    return philox(torch.stack(words, dim=-1), seed).flatten(-2)[..., :count]


def to_uniform(bits: Tensor) -> Tensor:
    """Turn words into float32 in [0, 1): the upper 24 bits, so that every value is exact."""
    return (bits >> 8).to(torch.float32) * 2.0**-24


def to_integers(bits: Tensor, limit: int | Tensor) -> Tensor:
    """Turn words into 0..limit-1 (limits up to 2**31) by multiply and shift; the bias is at most limit / 2**32."""
    return (bits * limit) >> 32


def permutation(bits: Tensor) -> Tensor:
    """Turn words [..., N] into permutations of 0..N-1: the stable order of the words."""
    return torch.argsort(bits, dim=-1, stable=True)


def fixed_hash(values: Tensor, salt: int) -> Tensor:
    """Hash whole numbers 0..2**32-1 to words that never change: no seed enters. Another `salt`, another hash."""
    words = torch.stack(
        [values.long(), *(torch.full_like(values.long(), w) for w in (salt, 0, Purpose.FIXED_HASH))], -1
    )
    return philox(words, 0)[..., 0]
