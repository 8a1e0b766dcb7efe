"""The emulator: what it reads, at which steps; clones that write strings; native code against torch."""

import math

import pytest
import torch

from rnn_zoos.baselines.emulation.emulator import Emulator
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.errors import PresetError, UnknownNameError
from rnn_zoos.families.language_strings import BOS, NUM_SYMBOLS
from rnn_zoos.networks.native.recurrence import without_native_code


def emulator_of(conditioning: str, **sizes: int) -> Emulator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Emulator(4, 5, 3, conditioning=conditioning, **{"hidden": 8, "layers": 2, **sizes})


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, generator=generator), torch.randn(2, 3, 6, 4, generator=generator)


@pytest.mark.parametrize("conditioning", ["every", "first"])
def test_it_is_an_lstm_that_reads_the_embedding_first_and_then_inputs_with_or_without_it(conditioning):
    """Compared with its definition in plain torch."""
    emulator, (embeddings, inputs) = emulator_of(conditioning), batch()
    told = emulator.condition(embeddings)[:, None, None].expand(-1, 3, -1, -1)
    later = emulator.into(inputs[:, :, 1:]) + (told if conditioning == "every" else 0)
    hidden, _ = emulator.core(torch.cat([told, later], dim=2).flatten(0, 1))
    expected = emulator.out(hidden).log_softmax(-1).unflatten(0, (2, 3))
    assert torch.allclose(emulator(embeddings, inputs), expected, atol=1e-6)


def test_unknown_conditioning_and_schedules_are_refused():
    with pytest.raises(UnknownNameError, match="Unknown conditioning 'evry'.*every"):
        emulator_of("evry")
    with pytest.raises(UnknownNameError, match="Unknown schedule 'cyclic'.*one-cycle"):
        EmulationSettings(updates=2, evaluate_every=1, schedule="cyclic")
    with pytest.raises(UnknownNameError, match="Unknown conditioning 'never'.*every"):
        EmulationSettings(updates=2, evaluate_every=1, conditioning="never")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": 2.5}, "networks is 2.5; expected a whole number of at least 1"),
        ({"updates": math.inf}, "updates is inf; expected a whole number of at least 1"),
        ({"training_runs": -3}, "training_runs is -3; expected a whole number of at least 0"),
        ({"evaluated_sequences": 0}, "evaluated_sequences is 0; expected a whole number of at least 1"),
        ({"clip": 0.0}, "clip is 0.0; expected a number above 0"),
    ],
)
def test_numbers_that_no_training_can_have_are_refused(changes, message):
    with pytest.raises(PresetError, match=message):
        EmulationSettings(**{"updates": 2, "evaluate_every": 1, **changes})


@pytest.mark.parametrize("conditioning", ["every", "first"])
@pytest.mark.parametrize("layers", [1, 3])
def test_native_code_gives_the_outputs_and_gradients_of_torch(conditioning, layers):
    emulator, (embeddings, inputs) = emulator_of(conditioning, layers=layers, hidden=19), batch()
    embeddings.requires_grad_()
    direction = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(2))

    def results() -> list[torch.Tensor]:
        outputs = emulator(embeddings, inputs)
        return [outputs, *torch.autograd.grad((outputs * direction).sum(), [embeddings, *emulator.parameters()])]

    found = results()
    with without_native_code():
        expected = results()
    for one, other in zip(found, expected, strict=True):
        assert one.detach().abs().max() > 1e-3 and torch.allclose(one, other, atol=1e-5, rtol=1e-4)


def test_the_emulator_reads_the_embedding_and_not_the_first_input():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        emulator = Emulator(4, 5, 3, hidden=8, layers=2)
    generator = torch.Generator().manual_seed(1)
    embeddings, inputs = torch.randn(2, 3, generator=generator), torch.randn(2, 3, 6, 4, generator=generator)
    out = emulator(embeddings, inputs)
    assert out.shape == (2, 3, 6, 5) and torch.allclose(out.exp().sum(-1), torch.ones(2, 3, 6))
    other = inputs.clone()
    other[:, :, 0] = 7
    assert torch.equal(emulator(embeddings, other), out)
    other[:, 1, 3] = 7
    changed = emulator(embeddings, other)
    assert torch.equal(changed[:, 1, :3], out[:, 1, :3]) and not torch.allclose(changed[:, 1, 3:], out[:, 1, 3:])
    assert torch.equal(changed[:, [0, 2]], out[:, [0, 2]])
    assert not torch.allclose(emulator(embeddings.flip(0), inputs)[0], out[0])


def test_strings_of_clones_are_sampled_from_the_emulators_distribution():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        emulator = Emulator(NUM_SYMBOLS, NUM_SYMBOLS, 3, hidden=8, layers=2)
    generator = torch.Generator().manual_seed(2)
    embeddings, uniforms = torch.randn(2, 3, generator=generator), torch.rand(2, 4, 9, generator=generator)
    written = emulator.sample_strings(embeddings, uniforms, BOS)
    assert written.shape == (2, 4, 10) and (written[..., 0] == BOS).all()
    inputs = torch.eye(NUM_SYMBOLS)[written[..., :-1].long()]
    cumulated = emulator(embeddings, inputs).exp().cumsum(-1)
    expected = (cumulated <= uniforms[..., None]).sum(-1).clamp(max=NUM_SYMBOLS - 1)
    assert torch.equal(expected, written[..., 1:].long())
