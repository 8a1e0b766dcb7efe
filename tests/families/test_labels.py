"""Further labels of a family are measured with those of `evaluate`, or alone, with equal bits."""

from dataclasses import replace

import pytest
import torch
from old_zoos import LabelledLanguages

from rnn_zoos.families.automata import Automata
from rnn_zoos.families.columns import Column
from rnn_zoos.families.formal_languages import FormalLanguages, LanguageEvaluation
from rnn_zoos.families.labels import Label, Snapshot, is_fraction, measure, measure_labels
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork

FAMILY = LabelledLanguages()


@pytest.fixture
def snapshot():
    network = RecurrentNetwork(Architecture("gru", 1, 6, 5, 6))
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter) / (number + 1))
    return Snapshot(network, seed=3, run=4, task=101, step=7, evaluation=LanguageEvaluation(strings=17, rollouts=2))


def test_a_further_label_comes_after_those_of_evaluate_and_changes_none(snapshot):
    measured = measure(FAMILY, snapshot)
    plain = measure(FormalLanguages(), snapshot)
    assert list(measured.labels) == list(FAMILY.measured_labels) == [*FormalLanguages().measured_labels, "square_sum"]
    assert {**measured.labels, **plain.labels} == measured.labels
    assert all(torch.equal(measured.rollouts[name], plain.rollouts[name]) for name in plain.rollouts)
    assert list(FAMILY.columns)[-6:-3] == ["hessian_trace", "square_sum", "steps_to_50"]


@pytest.mark.parametrize("names", [["loss"], ["square_sum"], ["square_sum", "accuracy"], ["loss", "finished"], []])
def test_labels_alone_have_the_bits_that_they_have_together(names, snapshot):
    measured = measure(FAMILY, snapshot).labels
    assert measure_labels(FAMILY, snapshot, names) == {name: measured[name] for name in names}
    assert list(measure_labels(FAMILY, snapshot, names)) == names


def test_labels_of_one_function_are_measured_by_one_call(snapshot, monkeypatch):
    calls = []
    several = Label(
        Column("float32", ""), lambda family, of: calls.append(of) or {"first": 1.0, "second": 2.0, "third": 3.0}
    )
    labels = {"first": several, "square_sum": LabelledLanguages.further_labels["square_sum"], "second": several}
    monkeypatch.setattr(LabelledLanguages, "further_labels", labels)
    assert measure(FAMILY, snapshot).labels["second"] == 2.0 and len(calls) == 1
    assert measure_labels(FAMILY, snapshot, ["second", "first"]) == {"second": 2.0, "first": 1.0} and len(calls) == 2


def test_evaluate_is_not_run_for_further_labels_alone(snapshot, monkeypatch):
    monkeypatch.setattr(LabelledLanguages, "evaluate", None)
    assert measure_labels(FAMILY, snapshot, ["square_sum"]).keys() == {"square_sum"}


def test_fractions_are_those_that_the_family_or_the_entry_of_a_label_names(monkeypatch):
    assert is_fraction(FAMILY, "finished") and not is_fraction(Automata(), "finished")
    assert is_fraction(FAMILY, "count_accuracy") and not is_fraction(FAMILY, "loss")
    assert not is_fraction(FAMILY, "square_sum") and not is_fraction(FAMILY, "unknown")
    label = replace(LabelledLanguages.further_labels["square_sum"], fraction=True)
    monkeypatch.setattr(LabelledLanguages, "further_labels", {"square_sum": label})
    assert is_fraction(FAMILY, "square_sum")
