"""The family `automata`: tasks, training data and measurements against walking string by string."""

import itertools
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from rnn_zoos.errors import PresetError, UnknownNameError
from rnn_zoos.families.automata import Automata, AutomataEvaluation
from rnn_zoos.families.automaton import LENGTH, STATES, SYMBOLS, minimise, num_states_of, num_symbols_of, random_strings
from rnn_zoos.families.labels import is_fraction
from rnn_zoos.families.named_automata import NAMED, automaton_of, number_of_language
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.randomness import Purpose

FAMILY = Automata()
SIZES = AutomataEvaluation(strings=7, hard_pairs=5, traced_strings=6, rollouts=3)
PARITY = [*NAMED].index("parity")
SOME = [PARITY, 1234, 4_000_000_000]


def answers_of(task: int, string: list[int]) -> list[bool]:
    """Return the answers after every symbol by walking."""
    automaton, state, answers = automaton_of(task), 0, []
    for symbol in string:
        state = automaton.transitions[state][symbol]
        answers.append(automaton.accepting[state])
    return answers


def same_language(count: int) -> list[list[int]]:
    """Return groups of numbers among the first that draw an automaton of 3 states and 2 symbols and draw the same."""
    groups = defaultdict(list)
    for number in range(66, 66 * count, 66):
        groups[automaton_of(number)].append(number)
    return [group for group in groups.values() if len(group) > 1]


def test_numbers_from_0_to_13_are_the_named_automata_and_others_are_out_of_range():
    assert [automaton_of(number) for number in range(14)] == [*NAMED.values()]
    assert [FAMILY.task_name(number) for number in range(14)] == [*NAMED]
    for number in (-1, 2**32):
        with pytest.raises(UnknownNameError, match="0 to 2"):
            automaton_of(number)
        with pytest.raises(ValueError, match="is not from 0"):
            FAMILY.task_of({"automaton": number})


def test_each_named_automaton_has_a_run_in_140_and_all_sizes_are_equally_frequent_among_the_others():
    runs = torch.arange(2 * 140)
    tasks = FAMILY.assign_tasks(3, runs)
    assert tasks[:14].tolist() == tasks[140:154].tolist() == [*range(14)]
    drawn = torch.cat([tasks[14:140], tasks[154:]])
    assert (drawn >= 66).all() and len(set(drawn.tolist())) == len(drawn)
    for block in drawn[: 3 * 66].split(66):
        sizes = zip(num_states_of(block).tolist(), num_symbols_of(block).tolist(), strict=True)
        assert {*sizes} == {*itertools.product(STATES, SYMBOLS)}
    shuffled = torch.randperm(len(runs), generator=torch.Generator().manual_seed(0))
    assert torch.equal(FAMILY.assign_tasks(3, runs[shuffled]), tasks[shuffled])
    assert not torch.equal(FAMILY.assign_tasks(4, runs), tasks)


def test_named_automata_and_large_ones_are_out_of_distribution_under_any_number():
    ood = FAMILY.is_ood(torch.arange(66 * 20))
    large = num_states_of(torch.arange(len(ood))) >= 21
    assert ood[:14].all() and torch.equal(ood[66:], large[66:])
    for number, name in ((3234, "ones modulo 3"), (11748, "Tomita 6")):  # of 3 states, found by search
        assert automaton_of(number) == NAMED[name] and number_of_language(number) == [*NAMED].index(name)
        assert FAMILY.is_ood(torch.tensor([number])).all()
    assert FAMILY.is_ood(torch.tensor([[*NAMED].index("parity")])).all()


def test_numbers_of_the_same_automaton_are_in_the_same_split():
    groups = same_language(200)
    assert len(groups) > 5
    for group in groups:
        assert len({*FAMILY.splits(torch.tensor(group)).tolist()}) == 1
    splits = Counter(FAMILY.splits(torch.tensor([group[0] for group in groups] + [*range(100, 700)])).tolist())
    assert {*splits} == {"train", "validation", "test", "ood"} and splits["train"] > splits["test"]


def test_numbers_of_languages_are_equal_for_equal_languages_only():
    numbers = [*range(66, 66 * 150, 66), *range(67, 67 + 66 * 20, 66)]
    by_number = defaultdict(set)
    for number in numbers:
        by_number[number_of_language(number)].add(minimise(automaton_of(number)))
    assert all(len(automata) == 1 for automata in by_number.values())
    assert len(by_number) == len({automaton_of(number) for number in numbers}) < len(numbers)


@pytest.mark.parametrize("task", SOME)
def test_values_describe_the_automaton_and_give_the_task_back(task):
    values = FAMILY.task_values(task)
    assert [*values] == [*FAMILY.task_columns] and FAMILY.task_of(values) == task
    rows = [[int(state) for state in row.split()] for row in values["transitions"].split(" | ")]
    accepting = {int(state) for state in values["accepting"].split()}
    assert (len(rows), len(rows[0])) == (values["num_states"], values["num_symbols"])
    string, state = [1, 0, 1, 1, 0, 0, 1], 0
    for symbol, answer in zip(string, answers_of(task, string), strict=True):
        state = rows[state][symbol]
        assert (state in accepting) == answer
    strings = torch.randint(values["num_symbols"], (2000, LENGTH), generator=torch.Generator().manual_seed(0))
    assert automaton_of(task).answers(strings).double().mean().item() == pytest.approx(values["density"], abs=0.02)


def test_training_data_are_uniform_strings_with_the_answers_of_each_runs_automaton():
    sampler = FAMILY.sampler(5, [3, 8, 1], SOME, 11)
    drawn = sampler.draw(4, 6)
    assert drawn.shape == (3, 6, 11, 2 * LENGTH) and drawn.dtype == torch.uint8
    for m, task in enumerate(SOME):
        strings, answers = drawn[m].flatten(0, 1).split(LENGTH, dim=-1)
        counts = torch.bincount(strings.flatten().long()) / strings.numel()
        symbols = automaton_of(task).num_symbols
        assert len(counts) == symbols and torch.allclose(counts, torch.tensor(1 / symbols), atol=0.03)
        for string, of_string in zip(strings[:9].tolist(), answers[:9].tolist(), strict=True):
            assert of_string == answers_of(task, string)
    inputs, targets = sampler.batch(drawn[:, 2])
    assert inputs.shape == (3, 11, LENGTH, 4) and targets.dtype == torch.int64
    assert torch.equal(inputs.argmax(-1), drawn[:, 2, :, :LENGTH].long()) and (inputs.sum(-1) == 1).all()
    assert torch.equal(targets, drawn[:, 2, :, LENGTH:].long())


def test_draws_depend_on_seed_run_and_update_alone():
    def draw(seed: int, run: int, first: int, count: int) -> torch.Tensor:
        return FAMILY.sampler(seed, [9, run], [PARITY, 1234], 5).draw(first, count)[1]

    expected = draw(0, 3, 7, 1)
    assert torch.equal(draw(0, 3, 5, 4)[2], expected[0])
    assert torch.equal(FAMILY.sampler(0, [3], [1234], 5).draw(7, 1)[0], expected)
    for other in (draw(1, 3, 7, 1), draw(0, 4, 7, 1), draw(0, 3, 8, 1)):
        assert not torch.equal(other, expected)


@pytest.mark.parametrize("task", SOME)
def test_labels_and_rollouts_are_those_of_running_string_by_string(task, monkeypatch):
    architecture = FAMILY.architecture("gru", 2, 9)
    weights = {name: 2 * tensor for name, tensor in initial_weights(architecture, 0, 0).items()}
    network = RecurrentNetwork(architecture, weights)
    monkeypatch.setattr("rnn_zoos.families.automata._STRINGS_AT_ONCE", 3)
    measured = FAMILY.evaluate(network, 1, 2, task, 50, SIZES)
    assert [*measured.labels] == [*FAMILY.label_columns]

    def logits(string: torch.Tensor) -> torch.Tensor:
        return run_network(architecture, weights, one_hot(string.long(), 4)[None].float())[0][0]

    strings = random_strings(automaton_of(task), 1, 2, Purpose.EVALUATION, 50, (7, 160))
    answers = torch.tensor([answers_of(task, string.tolist()) for string in strings])
    outputs = torch.stack([logits(string) for string in strings])
    right = (outputs.argmax(-1) == 1) == answers
    expected = {
        "accuracy": right[:, :40].double().mean(),
        "accuracy_80": right[:, 40:80].double().mean(),
        "accuracy_160": right[:, 80:].double().mean(),
        "loss": cross_entropy(outputs[:, :40].reshape(-1, 2), answers[:, :40].reshape(-1).long()),
    }
    assert measured.labels == pytest.approx({name: value.item() for name, value in expected.items()}, abs=1e-6)
    shapes = {name: tuple(tensor.shape) for name, tensor in measured.rollouts.items()}
    assert shapes == {name: shape for name, (_, shape) in FAMILY.rollout_shapes(SIZES).items()}
    for string, log_probs in zip(measured.rollouts["sequences"], measured.rollouts["log_probs"], strict=True):
        assert torch.allclose(log_probs.float(), logits(string).log_softmax(-1), atol=2e-3)
    later = FAMILY.evaluate(network, 1, 2, task, 51, SIZES)
    assert later.labels != measured.labels and torch.equal(later.rollouts["sequences"], measured.rollouts["sequences"])


def test_one_traced_string_is_too_few():
    with pytest.raises(PresetError, match="traced_strings is 1; expected 2 or more"):
        FAMILY.check_evaluation(replace(SIZES, traced_strings=1))


def test_all_labels_that_are_fractions_count_as_such():
    fractions = {name for name in FAMILY.labels if is_fraction(FAMILY, name)}
    assert fractions == FAMILY.fraction_denominators(SIZES).keys()


def test_impossible_rollouts_are_found():
    good = {"sequences": np.zeros((2, 3, 40), np.uint8), "log_probs": np.full((2, 3, 40, 2), -0.7, np.float16)}
    assert [*FAMILY.check_rollouts(good)] == []
    bad = {"sequences": good["sequences"] + 4, "log_probs": -good["log_probs"]}
    assert [*FAMILY.check_rollouts(bad)] == ["sequences contain unknown symbols", "log_probs are above zero"]
