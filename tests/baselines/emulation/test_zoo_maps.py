"""Numbers of maps that need no encoder: the answers and the weights of the very rows they stand for."""

import dataclasses

import numpy as np
import pytest
import torch

from rnn_zoos.baselines.emulation import zoo_maps as zoo_maps_module
from rnn_zoos.baselines.emulation.zoo_maps import zoo_maps
from rnn_zoos.baselines.encoders.outliers import LINEAR
from rnn_zoos.baselines.encoders.probes.self_rollout import SelfRollout
from rnn_zoos.baselines.encoders.weights.statistics import padded_statistics
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.loaders.zoo import open_zoo


@pytest.mark.parametrize("name", ["formal-languages", "sequential-mnist", "automata"])
def test_rows_are_in_the_order_of_the_index(name, zoo):
    opened = open_zoo(zoo(name))
    done = []
    answers, statistics = zoo_maps(opened, done.append)
    index = opened.index()
    assert len(answers.values) == len(statistics.values) == len(index) and done[-1] == 1
    assert np.isfinite(answers.values).all() and np.isfinite(statistics.values).all()
    assert answers.values.shape[1] <= 2100
    stack = opened.stack(index)
    raw = padded_statistics(stack.architecture, stack.weights).numpy()
    spread = raw.std(axis=0)
    varies = spread > 1e-4
    expected = (raw - raw.mean(axis=0))[:, varies] / spread[varies]
    np.testing.assert_allclose(statistics.values[:, varies], expected, atol=1e-3)
    assert not statistics.values[:, spread < 1e-8].any()
    alone = zoo_maps_of_row(opened, index, 5)
    np.testing.assert_allclose(answers.values[5], alone, atol=1e-4)
    assert np.abs(answers.values[4] - alone).max() > 1e-3  # another network answers otherwise


def test_networks_whose_weights_exploded_do_not_hide_the_differences_between_all_others(zoo, monkeypatch):
    opened = open_zoo(zoo("automata"))
    before = zoo_maps(opened)[1].values
    statistics = zoo_maps_module.padded_statistics

    def exploded(architecture, weights):
        values = statistics(architecture, weights)
        values[3] = 1e25
        return values

    monkeypatch.setattr(zoo_maps_module, "padded_statistics", exploded)
    after = zoo_maps(opened)[1].values
    others = np.arange(len(before)) != 3
    assert LINEAR < np.abs(after[3]).max() <= 2 * LINEAR
    spread = before[others].std(axis=0)
    expected = (before[others] - before[others].mean(axis=0))[:, spread > 1e-4] / spread[spread > 1e-4]
    np.testing.assert_allclose(after[others][:, spread > 1e-4], expected, atol=1e-3)


def zoo_maps_of_row(opened, index, row):
    """Return the answers of one network of a zoo, found alone."""
    if SelfRollout.supports(opened.manifest.architecture):
        return SelfRollout(opened.manifest.architecture).arrange(opened.stack(index.slice(row, 1)))[0].detach().numpy()
    from rnn_zoos.baselines.emulation.zoo_maps import _questions

    ask = _questions(opened)
    assert ask is not None
    with torch.no_grad():
        return ask(opened.stack(index.slice(row, 1)))[0].numpy()


def test_networks_that_do_not_write_are_not_asked_to(zoo, monkeypatch):
    """Their inputs are numbers, although they have as many inputs as outputs."""
    opened = open_zoo(zoo("formal-languages"))
    written = zoo_maps_module._questions(opened)
    numbers = dataclasses.replace(FormalLanguages.benchmark, input_kind="numbers")
    monkeypatch.setattr(FormalLanguages, "benchmark", numbers)
    asked = zoo_maps_module._questions(opened)
    stack = opened.stack(opened.index("test")[:2])
    assert written(stack).shape == SelfRollout(stack.architecture).arrange(stack).shape != asked(stack).shape


def test_without_rollouts_only_weights_are_mapped(zoo):
    opened = open_zoo(zoo("automata"))
    opened.manifest = dataclasses.replace(opened.manifest, rollouts={})
    assert [features.name for features in zoo_maps(opened)] == ["statistics"]
