"""The formal languages: strings and their judgement, tasks and splits, batches, sampling, labels."""

import itertools
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.formal_languages import FormalLanguages, LanguageEvaluation
from rnn_zoos.families.language_strings import (
    BOS,
    EOS,
    LENGTH,
    NUM_TASKS,
    as_text,
    judge,
    one_hot_inputs,
    sample_strings,
    task_number,
    task_offsets,
    training_strings,
)
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights

FAMILY = FormalLanguages()
ALL_TASKS = torch.arange(NUM_TASKS)


def members(offsets: tuple[int, int, int], longest: int) -> set[str]:
    """All strings of the language up to a length, by its definition."""
    words = set()
    for n in range(longest + 1):
        counts = [n + m for m in (0, *offsets)]
        if min(counts) >= 0 and sum(counts) <= longest:
            words.add("".join(letter * count for letter, count in zip("abcd", counts, strict=True)))
    return words


def sequence(text: str) -> Tensor:
    """Return BOS, the symbols of the text (`^` is BOS, `$` is EOS), and EOS as padding."""
    symbols = [BOS, *("abcd^$".index(letter) for letter in text)]
    return torch.tensor(symbols + [EOS] * (LENGTH - len(symbols)), dtype=torch.uint8)


@pytest.mark.parametrize("offsets", [(0, 0, 0), (-3, 2, -1), (2, -3, 1)])
def test_judge_accepts_exactly_the_strings_of_the_language(offsets):
    texts = ["".join(letters) for size in range(7) for letters in itertools.product("abcd", repeat=size)]
    verdict = judge(torch.stack([sequence(text) for text in texts]), offsets)
    assert {text for text, accepted in zip(texts, verdict.accepted, strict=True) if accepted} == members(offsets, 6)
    expected = {"".join(sorted(text)) for text in members(offsets, 6)}
    counted = {text for text, right in zip(texts, verdict.right_counts, strict=True) if right}
    assert counted == {text for text in texts if "".join(sorted(text)) in expected}


@pytest.mark.parametrize("task", range(NUM_TASKS))
def test_training_strings_are_in_the_language_and_their_mutants_are_not(task):
    offsets = task_offsets(task)
    strings = training_strings(offsets)
    texts = [as_text(string) for string in strings]
    whole = [text for text in texts if not text.endswith("...")]
    assert set(whole) <= members(offsets, LENGTH)
    assert len(strings) == 10 - max(0, -min(offsets))
    assert judge(strings, offsets).accepted.tolist() == [text in whole for text in texts]
    long = max(whole, key=len)
    ended = sequence(long)
    for mutant in (
        sequence(long[1:]),
        sequence(long + "d"),
        sequence("a" + long),
        sequence("d" + long[:-1]),
        torch.where(ended == EOS, BOS, ended),  # no EOS
        sequence("^" + long),
    ):
        assert not judge(mutant[None], offsets).accepted.item()
    swapped = sequence(long[-1] + long[1:-1] + long[0])
    assert judge(swapped[None], offsets).right_counts.item() and not judge(swapped[None], offsets).accepted.item()


def test_symbols_after_the_first_eos_are_ignored():
    assert judge(sequence("abcd$ba^")[None], (0, 0, 0)).accepted.item()
    verdict = judge(sequence("ab^cd")[None], (0, 0, 0))
    assert verdict.right_counts.item() and verdict.finished.item() and not verdict.accepted.item()


def test_only_the_longest_strings_of_four_languages_are_truncated():
    truncated = [
        task_offsets(t)
        for t in range(NUM_TASKS)
        if not judge(training_strings(task_offsets(t)), task_offsets(t)).finished.all()
    ]
    assert truncated == [(1, 2, 2), (2, 1, 2), (2, 2, 1), (2, 2, 2)]


def test_task_numbers_and_offsets_are_inverse():
    assert {task_offsets(t) for t in range(NUM_TASKS)} == set(itertools.product(range(-3, 3), repeat=3))
    assert [task_number(task_offsets(t)) for t in range(NUM_TASKS)] == list(range(NUM_TASKS))
    with pytest.raises(UnknownNameError):
        task_offsets(NUM_TASKS)


def test_tasks_are_assigned_evenly_and_independently_of_the_other_runs():
    tasks = FAMILY.assign_tasks(1, torch.arange(1000))
    assert set(Counter(tasks.tolist()).values()) == {4, 5}
    assert torch.equal(FAMILY.assign_tasks(1, torch.arange(300)), tasks[:300])
    assert FAMILY.assign_tasks(1, torch.tensor([999, 3])).tolist() == [tasks[999], tasks[3]]
    assert not torch.equal(FAMILY.assign_tasks(2, torch.arange(216)), tasks[:216])


def test_splits_never_change():
    splits = FAMILY.splits(ALL_TASKS)
    assert Counter(splits.tolist()) == {"train": 153, "validation": 19, "test": 19, "ood": 25}
    ood = {task_offsets(t) for t in range(NUM_TASKS) if splits[t] == "ood"}
    assert ood == {m for m in itertools.product(range(-3, 3), repeat=3) if sum(map(abs, m)) <= 2}
    assert FAMILY.splits(torch.tensor([200, 7])).tolist() == [splits[200], splits[7]]
    test_tasks = [FAMILY.task_name(t) for t in range(NUM_TASKS) if splits[t] == "test"]
    assert test_tasks[:3] == ["b-3 c-3 d-2", "b-3 c+0 d+2", "b-2 c+1 d-1"]  # published zoos depend on this


def test_batches_are_uniform_over_the_training_strings_and_depend_only_on_run_and_update():
    task = task_number((-1, 0, 2))
    sampler = FAMILY.sampler(3, [8, 9], [task, task_number((-3, 2, 2))], batch_size=5)
    drawn, other = sampler.draw(0, 400)
    assert drawn.shape == (400, 5, LENGTH) and drawn.dtype == torch.uint8
    counts = Counter(as_text(string) for string in drawn.flatten(0, 1))
    assert set(counts) == {as_text(string) for string in training_strings((-1, 0, 2))}
    assert max(abs(count - 2000 / 9) for count in counts.values()) < 5 * math.sqrt(2000 / 9)
    assert torch.equal(sampler.draw(37, 3)[0], drawn[37:40])
    assert {as_text(string) for string in other.flatten(0, 1)} == {
        as_text(string) for string in training_strings((-3, 2, 2))
    }
    assert torch.equal(FAMILY.sampler(3, [9], [task_number((-3, 2, 2))], 5).draw(0, 400)[0], other)
    inputs, targets = sampler.batch(torch.stack([drawn[11], other[11]]))
    for symbols, run_inputs, run_targets in zip((drawn[11], other[11]), inputs, targets, strict=True):
        assert run_inputs.shape == (5, 41, 6) and torch.equal(run_inputs.argmax(-1), symbols[:, :-1].long())
        assert torch.equal(run_targets, symbols[:, 1:].long()) and torch.equal(run_inputs.sum(-1), torch.ones(5, 41))


def network(run: int = 0, cell: str = "lstm") -> RecurrentNetwork:
    shape = FAMILY.architecture(cell, 2, 7)
    return RecurrentNetwork(shape, initial_weights(shape, 0, run))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_sampled_strings_follow_the_probabilities_of_the_network(cell):
    uniforms = torch.rand(300, LENGTH - 1, generator=torch.Generator().manual_seed(0))
    sequences, log_probs = sample_strings(network(cell=cell), uniforms)
    assert sequences.shape == (300, LENGTH) and (sequences[:, 0] == BOS).all()
    with torch.no_grad():
        expected = network(cell=cell)(one_hot_inputs(sequences)).log_softmax(-1)
    torch.testing.assert_close(log_probs, expected, rtol=1e-5, atol=1e-5)
    chosen = sequences[:, 1:].long()
    upper = expected.double().exp().cumsum(-1)
    lower = torch.cat([torch.zeros_like(upper[..., :1]), upper[..., :-1]], dim=-1)
    at = chosen[..., None]
    assert (uniforms <= upper.gather(-1, at)[..., 0] + 1e-5).all()
    assert (uniforms >= lower.gather(-1, at)[..., 0] - 1e-5).all()


def test_labels_match_their_definitions():
    task = task_number((0, 1, -1))
    measured = FAMILY.evaluate(network(), 0, 4, task, 200, LanguageEvaluation(strings=50, rollouts=3))
    assert {name: tuple(t.shape) for name, t in measured.rollouts.items()} == {
        name: shape for name, (_, shape) in FAMILY.rollout_shapes(LanguageEvaluation(strings=50, rollouts=3)).items()
    }
    strings = training_strings((0, 1, -1))
    with torch.no_grad():
        losses = [F.cross_entropy(network()(one_hot_inputs(s[None]))[0], s[1:].long()).item() for s in strings]
    assert measured.labels["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert list(measured.labels) == list(FAMILY.label_columns)
    again = FAMILY.evaluate(network(), 0, 4, task, 200, LanguageEvaluation(strings=50, rollouts=2))
    assert again.labels == measured.labels
    assert torch.equal(again.rollouts["sequences"], measured.rollouts["sequences"][:2])
    other = FAMILY.evaluate(network(), 0, 4, task, 500, LanguageEvaluation(strings=50, rollouts=3))
    assert not torch.equal(other.rollouts["sequences"], measured.rollouts["sequences"])


def test_a_perfect_network_has_accuracy_one(monkeypatch):
    strings = training_strings((-2, 1, 0))
    monkeypatch.setattr(
        "rnn_zoos.families.formal_languages.sample_strings",
        lambda network, uniforms: (strings[(uniforms[:, 0] * len(strings)).long()], torch.zeros(len(uniforms), 41, 6)),
    )
    measured = FAMILY.evaluate(network(), 0, 0, task_number((-2, 1, 0)), 0, LanguageEvaluation(strings=40, rollouts=1))
    assert [measured.labels[name] for name in ("accuracy", "count_accuracy", "finished")] == [1, 1, 1]
    shifted = FAMILY.evaluate(network(), 0, 0, task_number((-2, 1, 1)), 0, LanguageEvaluation(strings=40, rollouts=1))
    assert [shifted.labels[name] for name in ("accuracy", "count_accuracy", "finished")] == [0, 0, 1]
