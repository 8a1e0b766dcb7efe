"""Denormal numbers count as zero where networks are trained and measured, and nowhere else."""

from dataclasses import replace

import pytest
from test_loop import plan

from rnn_zoos.denormals import are_zero, denormals_as_zero
from rnn_zoos.families import labels
from rnn_zoos.families.labels import measure, measure_labels
from rnn_zoos.generation.trainers.backends import make_trainer
from rnn_zoos.generation.writing.shards import snapshot_of


def test_denormals_are_zero_inside_the_block_only():
    with denormals_as_zero():
        with pytest.raises(KeyError), denormals_as_zero():
            raise KeyError
        assert are_zero()
    assert not are_zero()


@pytest.mark.parametrize("backend", ["loop", "native", "stacked"])
def test_training_takes_denormal_weights_for_zero(backend, tiny_preset):
    """Otherwise, an update at rate 0 would leave them as they are."""
    made = plan("automata", tiny_preset(), snapshots=(0, 1))
    runs = [replace(run, initial_scale=1e-39, rate_scale=0.0, weight_decay=0.0) for run, _ in made.runs()][:2]
    for run in make_trainer(backend).train(made.family, made.settings, runs, lambda updates: None):
        for name, (_, updated) in run.weights.items():
            assert not updated.numpy().any(), name
        assert not are_zero()


def test_labels_are_measured_with_denormals_as_zero(tiny_preset, monkeypatch):
    made, seen = plan("automata", tiny_preset()), []
    evaluate = labels.evaluate
    monkeypatch.setattr(labels, "evaluate", lambda *given: seen.append(are_zero()) or evaluate(*given))
    run, _ = next(made.runs())
    (trained,) = make_trainer("loop").train(made.family, made.settings, [run], lambda updates: None)
    snapshot = snapshot_of(made, run, 0, {name: tensor[0] for name, tensor in trained.weights.items()})
    assert measure(made.family, snapshot).labels.items() >= measure_labels(made.family, snapshot, ["loss"]).items()
    assert seen == [True, True] and not are_zero()
