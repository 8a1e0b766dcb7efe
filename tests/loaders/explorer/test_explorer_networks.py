"""The explorer's networks compute what torch computes: every cell, awkward sizes, large weights, all families."""

import pytest
import torch
from conftest import ALL_ZOOS, CELLS
from explorer import javascript

from rnn_zoos.families.automaton import SYMBOLS
from rnn_zoos.families.digit_inputs import tile_inputs
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.language_strings import one_hot_inputs, training_strings
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.rotation import rotation_table
from rnn_zoos.families.sampler import one_hot
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import network_step, run_network, zero_state
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights

H, V, T = 7, 5, 41
RUN = """
    const made = new network.Network(input.architecture, floats(input.weights));
    made.step(new Float32Array(input.architecture.input_size).fill(3)); // a run must not begin where another one ended
    const { logits, hidden } = made.run(new Float32Array(input.inputs), input.steps);
    const size = input.architecture.output_size;
    const rows = Array.from({ length: input.steps }, (_, t) => logits.subarray(t * size, (t + 1) * size));
    return { logits, hidden, logProbs: rows.map(network.logSoftmax), probabilities: rows.map(network.softmax) };
"""


def run_in_javascript(architecture, weights, inputs):
    """Run one network over inputs [T, I]: log-probabilities [T, O], and the hidden states of each layer [T, H]."""
    data = {"architecture": architecture, "weights": weights, "inputs": inputs, "steps": len(inputs)}
    found = javascript(RUN, data)
    log_probs = torch.tensor(found["logProbs"], dtype=torch.float32)
    logits = torch.tensor(found["logits"], dtype=torch.float32).view(log_probs.shape)
    assert torch.allclose(log_probs, logits.log_softmax(-1), rtol=1e-6, atol=1e-6)
    assert torch.allclose(torch.tensor(found["probabilities"]).float(), logits.softmax(-1), rtol=1e-5, atol=1e-6)
    return log_probs, [torch.tensor(states).view(len(inputs), -1) for states in found["hidden"]]


def exact(architecture, weights, inputs):
    """Return the same in double precision, by the reference implementation."""
    weights = {name: tensor.double() for name, tensor in weights.items()}
    state, outputs, hidden = zero_state(architecture, 1, like=inputs.double()), [], []
    for step_inputs in inputs.double():
        logits, state = network_step(architecture, weights, step_inputs[None], state)
        outputs.append(logits[0].log_softmax(-1))
        hidden.append([layer[0][0] for layer in state])
    return torch.stack(outputs), [torch.stack(states) for states in zip(*hidden, strict=True)]


@torch.no_grad()
def of_torch(architecture, weights, inputs):
    """Return log-probabilities [T, O] of torch's own modules, in single precision."""
    return RecurrentNetwork(architecture, weights)(inputs[None])[0].log_softmax(-1)


def some_inputs(size, scale=1.0):
    return scale * torch.randn(T, size, generator=torch.Generator().manual_seed(size))


def largest_difference(a, b):
    return float((a.double() - b.double()).abs().max())


@pytest.mark.parametrize("layers", (1, 2, 3))
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_hidden_states_equal_those_of_torch(cell, layers):
    architecture = Architecture(cell, layers, V, H, 3)
    weights, inputs = initial_weights(architecture, 3, layers, scale=2.0), some_inputs(V)
    log_probs, hidden = run_in_javascript(architecture, weights, inputs)
    expected, expected_hidden = exact(architecture, weights, inputs)
    assert largest_difference(log_probs, expected) < 1e-6
    assert largest_difference(log_probs, of_torch(architecture, weights, inputs)) < 1e-5
    assert len(hidden) == layers
    for found, states in zip(hidden, expected_hidden, strict=True):
        assert largest_difference(found, states) < 1e-7


@pytest.mark.parametrize("scale", (8.0, 100.0, 1e5))
@pytest.mark.parametrize("cell", CELLS)
def test_large_weights_give_what_exact_arithmetic_gives(cell, scale):
    """Such networks are chaotic: float32 of torch leaves the exact outputs, too, so that it is no reference here."""
    architecture = Architecture(cell, 2, V, H, 3)
    weights, inputs = initial_weights(architecture, 5, 1, scale), some_inputs(V, 10.0)
    log_probs, hidden = run_in_javascript(architecture, weights, inputs)
    expected, expected_hidden = exact(architecture, weights, inputs)
    rounding = 2**-22 * float(expected.abs().max())  # of logits, which are float32
    assert log_probs.isfinite().all()
    assert largest_difference(log_probs, expected) < max(1e-4, rounding)
    assert largest_difference(hidden[-1], expected_hidden[-1]) < 1e-5


def family_inputs(name):
    """Return inputs [T, I] of a family."""
    if name == "formal-languages":
        return one_hot_inputs(training_strings((1, -2, 0))[3])
    if name == "automata":
        return one_hot(torch.arange(T) * 7 % 5 % SYMBOLS[-1], SYMBOLS[-1])
    return tile_inputs(load_digits("embedded").images[11:12], rotation_table(123.456789))[0]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ALL_ZOOS)
def test_networks_equal_torch_on_the_inputs_of_every_family(name, cell):
    family, inputs = task_family(name), family_inputs(name)
    architecture = Architecture(cell, 3, family.input_size, 5, family.output_size)
    weights = initial_weights(architecture, 3, 4, scale=2.0)
    log_probs, _ = run_in_javascript(architecture, weights, inputs)
    assert largest_difference(log_probs, of_torch(architecture, weights, inputs)) < 1e-5


def train(architecture, updates=150):
    """Return weights that were trained, with gradient steps so large that they are far from the initial ones."""
    network = RecurrentNetwork(architecture, initial_weights(architecture, 2, 9))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    symbols = torch.arange(T + 1) ** 2 % 11 % V
    inputs, targets = one_hot(symbols[:-1], V)[None], symbols[1:]
    for _ in range(updates):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs)[0], targets)
        loss.backward()
        optimizer.step()
    assert loss < 0.2
    return network.weights(), inputs[0]


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_trained_networks_equal_torch(cell):
    architecture = Architecture(cell, 2, V, 17, V)
    weights, inputs = train(architecture)
    assert max(float(tensor.abs().max()) for tensor in weights.values()) > 1
    log_probs, _ = run_in_javascript(architecture, weights, inputs)
    assert largest_difference(log_probs, of_torch(architecture, weights, inputs)) < 1e-4


@pytest.mark.parametrize("cell", CELLS)
def test_other_equations_give_other_outputs(cell):
    """The comparisons above would find gates in another order, a wrong sign, and torch's two biases taken for one."""
    architecture = Architecture(cell, 2, V, H, 3)
    weights, inputs = initial_weights(architecture, 3, 2, scale=2.0), some_inputs(V)
    log_probs, _ = run_in_javascript(architecture, weights, inputs)
    gates = weights[f"{cell}.bias_hh_l0"].numel() // H
    names = list(architecture.layer_shapes(1))
    for first in range(gates):
        flipped = {name: weights[name].unflatten(0, (gates, H)).clone() for name in names}
        for tensor in flipped.values():
            tensor[first] *= -1
        wrong = [{name: tensor.flatten(0, 1) for name, tensor in flipped.items()}]
        for second in range(first):
            order = list(range(gates))
            order[first], order[second] = second, first
            wrong.append({name: weights[name].unflatten(0, (gates, H))[order].flatten(0, 1) for name in names})
        for changed in wrong:
            outputs, _ = run_network(architecture, {**weights, **changed}, inputs[None])
            assert largest_difference(log_probs, outputs[0].log_softmax(-1)) > 1e-3
    if cell == "gru":  # r * (W h + b) is not r * W h + b
        moved = {name: weights[name].clone() for name in names[2:]}
        moved[names[2]][2 * H :] += moved[names[3]][2 * H :]
        moved[names[3]][2 * H :] = 0
        outputs, _ = run_network(architecture, {**weights, **moved}, inputs[None])
        assert largest_difference(log_probs, outputs[0].log_softmax(-1)) > 1e-3


@pytest.mark.parametrize("cell", CELLS)
def test_a_symbol_is_its_one_hot_input(cell):
    architecture = Architecture(cell, 3, V, H, 3)
    symbols = torch.arange(T) * 3 % V
    body = """
        const made = new network.Network(input.architecture, floats(input.weights));
        const found = [made.run(new Float32Array(input.inputs), input.symbols.length), made.runSymbols(input.symbols)];
        made.start();
        return [...found, input.symbols.map((symbol) => Array.from(made.stepSymbol(symbol))).flat()];
    """
    data = {"architecture": architecture, "weights": initial_weights(architecture, 3, 0), "symbols": symbols}
    by_input, by_symbol, steps = javascript(body, {**data, "inputs": one_hot(symbols, V)})
    assert by_input == by_symbol and steps == by_input["logits"]


def test_names_and_shapes_of_parameters_are_those_of_the_package():
    architectures = [Architecture(cell, layers, V, H, 3) for cell in CELLS for layers in (1, 2, 3)]
    found = javascript("return input.map((one) => [...network.parameterShapes(one)]);", architectures)
    for architecture, shapes in zip(architectures, found, strict=True):
        assert [(name, tuple(shape)) for name, shape in shapes] == list(architecture.parameter_shapes.items())


def test_tensors_and_inputs_that_do_not_fit_are_refused():
    architecture = Architecture("gru", 1, V, H, 3)
    body = """
        const make = (tensors) => new network.Network(input.architecture, tensors);
        const tensors = Object.fromEntries(floats(input.weights));
        const { "linear.bias": bias, ...rest } = tensors;
        const good = make(tensors);
        return Promise.all([
            failure(() => make(rest)),
            failure(() => make({ ...tensors, "linear.bias": bias.subarray(1) })),
            failure(() => make({ ...tensors, "lstm.bias_ih_l0": bias })),
            failure(() => good.stepSymbol(5)),
            failure(() => good.run(new Float32Array(9), 2)),
        ]);
    """
    missing, short, unknown, symbol, inputs = javascript(
        body, {"architecture": architecture, "weights": initial_weights(architecture, 0, 0)}
    )
    assert missing == "RangeError: linear.bias has no entries; expected 3: [3]."
    assert short == "RangeError: linear.bias has 2 entries; expected 3: [3]."
    assert unknown.startswith("RangeError: Unknown parameter lstm.bias_ih_l0; expected gru.weight_ih_l0,")
    assert symbol == "RangeError: The symbol is 5; expected 0 to 4."
    assert inputs == "RangeError: There are 9 inputs; expected 2 steps of 5."
