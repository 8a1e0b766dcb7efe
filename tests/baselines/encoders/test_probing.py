"""Learned probing: forms of questions and answers, the core that reads answers, and both encoders."""

import pytest
import torch

from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
from rnn_zoos.baselines.encoders.probes.probing import PAPER_FORM, InteractiveProbing, NonInteractiveProbing
from rnn_zoos.baselines.encoders.probes.queries import (
    SHARPNESS,
    answer_size,
    ask,
    read_answers,
    straight_through_symbols,
)
from rnn_zoos.baselines.encoders.probes.stepwise import Core
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.language_strings import BOS
from rnn_zoos.networks.native.recurrence import without_native_code

M, T, INPUTS, H = 3, 5, 7, 4
LANGUAGES = Architecture("lstm", 2, 6, 8, 6)
DIGITS = Architecture("gru", 1, 16, 9, 10)
FORMS = [
    {},
    {"questions": "soft", "answers": "probabilities", "bos": False, "standardised": False},
    {**PAPER_FORM, "questions": "soft"},
]


def networks(architecture: Architecture, count: int = 4) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            name: 3 * tensor
            for name, tensor in stack_weights([RecurrentNetwork(architecture).weights() for _ in range(count)]).items()
        }


def probing(kind, architecture, **options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind(architecture, 5, sequences=2, hidden=12, **{"steps": 6, **options})


def test_symbols_are_one_hot_with_the_gradient_of_a_sharpened_softmax():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=generator, requires_grad=True)
    direction = torch.randn(2, 3, 5, generator=generator)
    symbols = straight_through_symbols(logits)
    assert torch.equal(symbols, torch.nn.functional.one_hot(logits.argmax(-1), 5).float())
    (found,) = torch.autograd.grad((symbols * direction).sum(), logits)
    (expected,) = torch.autograd.grad(((SHARPNESS * logits).softmax(-1) * direction).sum(), logits)
    assert found.abs().max() > 0.01 and torch.allclose(found, expected, atol=1e-6)


def test_questions_and_answers_have_the_forms_that_they_are_named_after():
    logits = torch.tensor([[0.0, 3.0, -30.0]])
    assert torch.equal(ask(logits, "raw"), logits) and torch.equal(ask(logits, "sigmoid"), logits.sigmoid())
    assert torch.equal(ask(logits, "soft"), logits.softmax(-1))
    log, both = read_answers(logits, "log"), read_answers(logits, "both")
    assert log[0, 2] == -1 and torch.allclose(log[0, :2], logits.log_softmax(-1)[0, :2] / 4 + 1), "clamped at -8"
    assert torch.allclose(both, torch.cat([logits.softmax(-1), log], dim=-1))
    assert (answer_size(DIGITS, "both"), answer_size(DIGITS, "log")) == (20, 10)
    for form in (ask, read_answers):
        with pytest.raises(UnknownNameError, match="loud"):
            form(logits, "loud")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_a_core_by_steps_equals_torch_on_whole_sequences(layers, residual, dtype):
    """Outputs and all gradients; float64 runs in torch, float32 natively."""
    with torch.random.fork_rng():
        torch.manual_seed(layers)
        core = Core(INPUTS, H, layers, residual).to(dtype)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(M, T, INPUTS, generator=generator, dtype=dtype, requires_grad=True)
    direction = torch.randn(M, T, H, generator=generator, dtype=dtype)

    def by_steps() -> torch.Tensor:
        running, state, outputs = core.start(), None, []
        for step in inputs.unbind(1):
            output, state = running(step[:, None], state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    expected = inputs
    for number, part in enumerate(core.parts):
        hidden, _ = part(expected)
        expected = expected + hidden if residual and number > 0 else hidden
    parameters = [inputs, *core.parameters()]
    references = torch.autograd.grad((expected * direction).sum(), parameters)
    for found in (by_steps(), core.start()(inputs)[0]):
        assert torch.allclose(found, expected, atol=1e-5)
        gradients = torch.autograd.grad((found * direction).sum(), parameters)
        for gradient, reference in zip(gradients, references, strict=True):
            assert gradient.shape == reference.shape and torch.allclose(gradient, reference, atol=1e-5)


def test_an_orthogonal_core_starts_with_orthogonal_matrices_and_open_forget_gates():
    hidden, inputs = 5, 7
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = Core(inputs, hidden, 2, initial="orthogonal")
    for size, layer in zip((inputs, hidden), core.parts[0].all_weights, strict=True):
        of_inputs, recurrent, *biases = (each.detach().unflatten(0, (4, hidden)) for each in layer)
        for gate in recurrent:
            assert torch.allclose(gate @ gate.T, torch.eye(hidden), atol=1e-5)
        limit = (6 / (hidden + size)) ** 0.5  # Xavier's, of the matrix of one gate
        assert (of_inputs.abs().amax((1, 2)) <= limit).all() and (of_inputs.abs().amax((1, 2)) > 0.8 * limit).all()
        total = sum(biases)
        assert (total[1] == 1).all() and total[[0, 2, 3]].abs().max() < 1, "the second gate is the forget gate"


def test_the_last_state_of_an_orthogonal_core_depends_on_the_first_step():
    """The gradient to the first of 22 inputs, compared with that to the last."""
    shares = {}
    for initial in ("uniform", "orthogonal"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            core, steps = Core(INPUTS, 32, 2, initial=initial), torch.randn(M, 22, INPUTS)
        steps.requires_grad_()
        (gradient,) = torch.autograd.grad(core.start()(steps)[0][:, -1].square().sum(), steps)
        norms = gradient.norm(dim=(0, 2))
        shares[initial] = norms[0] / norms[-1]
    assert shares["uniform"] < 1e-3 < 0.01 < shares["orthogonal"], shares


@pytest.mark.parametrize("options", FORMS)
def test_native_and_batched_products_give_equal_embeddings_and_gradients(options):
    """Comparable as long as the same symbols are asked: their slope is that of the softmax."""
    for kind in (InteractiveProbing, NonInteractiveProbing):
        weights, encoder = networks(LANGUAGES), probing(kind, LANGUAGES, **options)
        encoder.fit_inputs(weights)

        def gradients(encoder=encoder, weights=weights) -> list[torch.Tensor]:
            embeddings = encoder(weights, NetworkStack(LANGUAGES, weights))
            loss = (embeddings * torch.arange(20).view(4, 5)).sum()
            return [embeddings, *torch.autograd.grad(loss, list(encoder.parameters()))]

        found = gradients()
        with without_native_code():
            expected = gradients()
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=2e-4 * float(other.detach().abs().max()))


@pytest.mark.parametrize("kind", [InteractiveProbing, NonInteractiveProbing])
def test_embeddings_start_standardised_on_training_networks(kind):
    weights, encoder = networks(LANGUAGES, 40), probing(kind, LANGUAGES)
    encoder.fit_inputs(weights)
    embeddings = encoder.embed(weights, NetworkStack(LANGUAGES, weights))
    assert torch.allclose(embeddings.mean(0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(embeddings.std(0, correction=0), torch.ones(5), atol=1e-3)


def test_questions_are_symbols_for_languages_and_any_numbers_for_other_inputs():
    for arch, symbols in ((LANGUAGES, True), (DIGITS, False)):
        encoder, weights = probing(InteractiveProbing, arch), networks(arch)
        encoder.fit_inputs(weights)
        with torch.no_grad():
            encoder.ask.weight.mul_(20)
            probes, _ = encoder.interrogate(NetworkStack(arch, weights))
        assert probes.shape == (4, 2, 6, arch.input_size)
        assert bool(((probes == 0) | (probes == 1)).all()) == symbols
        assert torch.equal(probes[0, :, 0], probes[1, :, 0]), "the first ones are the same for all networks"
        assert encoder.num_queries == 12 == probing(NonInteractiveProbing, arch).num_queries
        if symbols:
            assert bool((probes[:, :, 0, BOS] == 1).all())
    assert InteractiveProbing(DIGITS).steps == 50 and InteractiveProbing(LANGUAGES).steps == 22


def test_a_later_question_follows_from_the_answers_so_far():
    """Networks that differ only in the bias of the readout are asked the same first question, then different ones."""
    weights, encoder = networks(LANGUAGES, 1), probing(InteractiveProbing, LANGUAGES, questions="soft")
    encoder.fit_inputs(networks(LANGUAGES, 9))
    pair = {name: tensor.repeat(2, *[1] * (tensor.dim() - 1)) for name, tensor in weights.items()}
    pair["linear.bias"][1, 2] += 2
    probes, _ = encoder.interrogate(NetworkStack(LANGUAGES, pair))
    apart = (probes[0] - probes[1]).abs().amax(dim=(0, 2))
    assert apart[0] == 0 and (apart[1:] > 1e-4).all()
