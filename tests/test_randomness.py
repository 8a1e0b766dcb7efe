"""Random numbers match the published Philox, depend on their address alone and cover their range."""

import pytest
import torch

from rnn_zoos.randomness import Purpose, fixed_hash, permutation, philox, random_bits, to_integers, to_uniform


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the test vectors that the authors of Philox publish with Random123
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 0xFFFFFFFFFFFFFFFF, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_matches_the_published_test_vectors(counter, key, expected):
    assert philox(torch.tensor(counter), key).tolist() == expected


def test_draws_depend_on_their_address_alone():
    together = random_bits(3, [5, 2, 9], Purpose.DATA, [7, 0, 100], 11)
    assert together.shape == (3, 3, 11)
    assert torch.equal(together[1, 2], random_bits(3, [2], Purpose.DATA, [100], 11)[0, 0])
    assert torch.equal(together[0, 0, :6], random_bits(3, [5], Purpose.DATA, [7], 6)[0, 0])


def test_draws_differ_when_any_part_of_the_address_differs():
    draws = [
        random_bits(seed, [run], purpose, [counter], 8)[0, 0].tolist()
        for seed in (0, 1, 2**32)
        for run in (0, 1)
        for purpose in (Purpose.TASK, Purpose.DATA)
        for counter in (0, 1)
    ]
    assert len({tuple(draw) for draw in draws}) == 24


def test_uniforms_and_integers_cover_their_whole_range():
    bits = random_bits(0, [0], Purpose.DATA, [0], 100_000)[0, 0]
    uniform = to_uniform(bits)
    assert uniform.dtype == torch.float32
    assert 0 <= uniform.min() < 1e-4 and 1 - 1e-4 < uniform.max() < 1
    assert (
        torch.bincount(to_integers(bits, 7), minlength=7).float().div(100_000).allclose(torch.tensor(1 / 7), atol=0.01)
    )
    assert to_uniform(torch.tensor([2**32 - 1])).item() < 1
    assert to_integers(torch.tensor([2**32 - 1]), 360_000_000).item() == 359_999_999


def test_permutations_are_valid_and_differ_between_runs():
    shuffled = permutation(random_bits(0, [0, 1], Purpose.TASK, [0], 50)[:, 0])
    assert shuffled.sort(dim=-1).values.tolist() == [list(range(50))] * 2
    assert not torch.equal(shuffled[0], shuffled[1])


def test_fixed_hash_never_changes():
    """The splits of published zoos depend on these numbers."""
    assert fixed_hash(torch.arange(3), 291).tolist() == [2391333085, 708177462, 2187026341]
    assert fixed_hash(torch.tensor([1]), 291).item() != fixed_hash(torch.tensor([1]), 292).item()
