"""The native code for stacks of networks equals its references: batched products and `nn.LSTM`."""

import gc
import itertools
import weakref

import pytest
import torch

from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
from rnn_zoos.denormals import are_zero
from rnn_zoos.errors import FormatError
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.native.recurrence import NATIVE_LAYERS, Recurrence, instruction_sets
from rnn_zoos.networks.stack import NativeStates
from rnn_zoos.networks.weights import unstack_weights

SIZES = [(3, 5, 7, 2, 6, 32, 6), (2, 3, 4, 3, 21, 19, 5), (1, 70, 9, 1, 40, 16, 3), (4, 1, 1, 2, 1, 5, 2)]
"""M, B, T, L, I, H, O: sizes below, at and above whole vectors; more sequences than steps that are handled together."""


def parameters(architecture: Architecture, count: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = stack_weights([RecurrentNetwork(architecture).weights() for _ in range(count)])
    return {name: (2 * tensor).requires_grad_() for name, tensor in weights.items()}


def recurrence_of(architecture: Architecture, weights: dict[str, torch.Tensor], instruction_set: str) -> Recurrence:
    names = [architecture.layer_shapes(layer) for layer in range(architecture.num_layers)]
    layers = [[weights[name] for name in layer] for layer in names]
    readout = [weights["linear.weight"], weights["linear.bias"]]
    return Recurrence(architecture.cell, layers, readout, instruction_set)


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("sizes", SIZES)
def test_outputs_states_and_all_gradients_equal_those_of_one_network_after_the_other(sizes, cell, instruction_set):
    """Also of a second call that continues from the state of the first."""
    networks, batch, steps, layers, inputs, hidden, outputs = sizes
    arch = Architecture(cell, layers, inputs, hidden, outputs)
    weights = parameters(arch, networks)
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(networks, batch, steps, inputs, generator=generator, requires_grad=True)
    then = torch.randn(networks, batch, 2, inputs, generator=generator, requires_grad=True)
    directions = torch.randn(networks, batch, steps + 2, outputs, generator=generator)

    def natively():
        recurrence = recurrence_of(arch, weights, instruction_set)
        one, state = recurrence(first)
        two, state = recurrence(then, state)
        return torch.cat([one, two], dim=2), [tensor for tensor in state if tensor is not None]

    def one_by_one():
        found, states = [], []
        for m, single in enumerate(unstack_weights(weights)):
            one, state = run_network(arch, single, first[m])
            two, state = run_network(arch, single, then[m], state)
            found.append(torch.cat([one, two], dim=1))
            states.append([torch.stack(tensors) for tensors in zip(*state, strict=True)])
        return torch.stack(found), [torch.stack(tensors) for tensors in zip(*states, strict=True)]

    results = []
    for function in (natively, one_by_one):
        found, state = function()
        loss = (found * directions).sum() + sum((tensor**2).sum() for tensor in state)
        gradients = torch.autograd.grad(loss, [first, then, *weights.values()], retain_graph=True)
        again = torch.autograd.grad(loss, [first, then, *weights.values()])
        assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(gradients, again, strict=True))
        results.append([found, *state, *gradients])
    for one, other in zip(*results, strict=True):
        largest = float(other.detach().abs().max())
        assert one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_a_state_of_other_networks_or_sequences_and_inputs_without_a_step_are_refused(cell, native):
    arch = Architecture(cell, 2, 6, 11, 5)
    stack, inputs = NetworkStack(arch, parameters(arch, 3), native), torch.zeros(2, 4, 6)
    _, state = stack(inputs)
    other_cell = Architecture("rnn" if cell == "lstm" else "lstm", 2, 6, 11, 5)
    wrong = [
        stack(torch.zeros(1, 4, 6))[1],
        NetworkStack(other_cell, parameters(other_cell, 3), native)(inputs)[1],
        NetworkStack(arch, parameters(arch, 4), native)(inputs)[1],
        [*state][:1],
    ]
    for given in wrong:
        with pytest.raises(FormatError, match=r"The state has the shapes .*; expected, layer by layer, \[\[\(3, 2, 11"):
            stack(inputs, given)
    with pytest.raises(FormatError, match=r"Inputs have shape \(3, 2, 0, 6\), with no step"):
        stack(torch.zeros(2, 0, 6))
    with pytest.raises(FormatError, match=r"Inputs are torch.int64; expected torch.float32, as the weights are"):
        stack(torch.zeros(2, 4, 6, dtype=torch.int64))
    for dtype in (torch.float64, torch.int64):
        with pytest.raises(FormatError, match=rf"The state is .*{dtype}.*; expected torch.float32, as the weights are"):
            stack(inputs, [tuple(tensor.to(dtype) for tensor in layer) for layer in state])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_stack_runs_natively_and_in_torch_with_equal_results_and_continues_from_states_of_either(cell):
    arch = Architecture(cell, 2, 6, 11, 5)
    weights = parameters(arch, 3)
    inputs = torch.randn(3, 2, 8, 6, generator=torch.Generator().manual_seed(2))
    whole, last = NetworkStack(arch, weights)(inputs)
    assert isinstance(last, NativeStates)
    assert [tensor.shape for layer in last for tensor in layer] == [(3, 2, 11)] * (4 if cell == "lstm" else 2)
    for natively in itertools.product([True, False], repeat=2):
        state, outputs = None, []
        for part, native in zip(inputs.split([3, 5], dim=2), natively, strict=True):
            found, state = NetworkStack(arch, weights, native)(part, state)
            outputs.append(found)
        assert torch.allclose(torch.cat(outputs, dim=2), whole, atol=1e-5)
        for layer, expected in zip(state, last, strict=True):
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(layer, expected, strict=True))


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_denormal_numbers_count_as_zero_and_the_thread_is_left_as_it_was(instruction_set):
    """One operation on them takes as long as a hundred others."""
    arch = Architecture("gru", 2, 3, 5, 4)
    weights = {name: torch.full_like(tensor, 1e-40, requires_grad=True) for name, tensor in parameters(arch, 2).items()}
    inputs = torch.ones(2, 3, 7, 3, requires_grad=True)
    outputs, _ = recurrence_of(arch, weights, instruction_set)(inputs)
    outputs.backward(torch.full_like(outputs, 1e30))
    assert not outputs.numpy(force=True).any() and not inputs.grad.numpy().any()
    assert not weights["gru.bias_ih_l1"].grad.numpy().any(), "a readout of 1e-40 would give 1e-11"
    assert weights["linear.bias"].grad.numpy().any() and not are_zero()


def test_a_cell_that_the_native_code_lacks_runs_in_torch(monkeypatch):
    arch = Architecture("gru", 1, 2, 3, 2)
    weights, inputs = parameters(arch, 2), torch.ones(2, 1, 4, 2)
    expected, state = NetworkStack(arch, weights)(inputs)
    assert isinstance(state, NativeStates)
    monkeypatch.setattr("rnn_zoos.networks.native.recurrence.NATIVE_CELLS", ("lstm",))
    outputs, state = NetworkStack(arch, weights)(inputs)
    assert not isinstance(state, NativeStates) and torch.allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize("layers", [NATIVE_LAYERS, NATIVE_LAYERS + 1])
def test_networks_with_more_layers_than_the_native_code_has_room_for_run_in_torch(layers):
    arch = Architecture("gru", layers, 3, 5, 2)
    weights = {name: tensor.detach() for name, tensor in parameters(arch, 2).items()}
    inputs = torch.randn(2, 3, 4, 3, generator=torch.Generator().manual_seed(1))
    outputs, state = NetworkStack(arch, weights)(inputs)
    assert isinstance(state, NativeStates) == (layers <= NATIVE_LAYERS)
    expected = [run_network(arch, single, x)[0] for single, x in zip(unstack_weights(weights), inputs, strict=True)]
    assert torch.allclose(outputs, torch.stack(expected), atol=1e-6)


def test_a_stack_sees_weights_that_have_changed_since_its_last_sequence():
    arch = Architecture("rnn", 1, 2, 3, 2)
    weights = {name: tensor.detach() for name, tensor in parameters(arch, 2).items()}
    networks, inputs = NetworkStack(arch, weights), torch.ones(2, 1, 4, 2)
    before, _ = networks(inputs)
    weights["linear.bias"].add_(1)
    after, _ = networks(inputs)
    assert torch.allclose(after, before + 1, atol=1e-6)


def test_a_state_continues_in_the_stack_that_it_is_given_to():
    """Not in the one that it comes from: the weights are those of the stack, as they are at each step."""
    arch = Architecture("lstm", 1, 2, 3, 2)
    one, other = ({name: scale * t.detach() for name, t in parameters(arch, 2).items()} for scale in (1, 2))
    inputs = torch.ones(2, 1, 4, 2)
    _, state = NetworkStack(arch, one)(inputs)
    expected, _ = NetworkStack(arch, other, native=False)(inputs, state)
    assert torch.allclose(NetworkStack(arch, other)(inputs, state)[0], expected, atol=1e-6)
    changing = NetworkStack(arch, one)
    for change in (lambda tensor: tensor.mul_(2), lambda tensor: setattr(tensor, "data", 2 * tensor)):
        _, state = changing(inputs)
        change(one["lstm.weight_hh_l0"])
        expected, _ = NetworkStack(arch, one, native=False)(inputs, state)
        assert torch.allclose(changing(inputs, state)[0], expected, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_networks_made_in_inference_mode_give_the_same_also_over_two_calls(cell):
    """Their weights do not count changes, so that no state may be continued with the weights of an earlier call."""
    arch = Architecture(cell, 2, 3, 5, 4)
    weights = {name: tensor.detach() for name, tensor in parameters(arch, 2).items()}
    inputs = torch.randn(2, 3, 9, 3, generator=torch.Generator().manual_seed(5))
    expected, last = NetworkStack(arch, weights)(inputs)
    with torch.inference_mode():
        made = {name: tensor.clone() for name, tensor in weights.items()}
        stack = NetworkStack(arch, made)
        first, state = stack(inputs[:, :, :4])
        then, state = stack(inputs[:, :, 4:], state)
        assert isinstance(state, NativeStates)
        assert torch.allclose(torch.cat([first, then], dim=2), expected, atol=1e-6)
        for layer, of_layer in zip(state, last, strict=True):
            assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(layer, of_layer, strict=True))
        _, state = stack(inputs[:, :, :4])
        made["linear.bias"].add_(1)
        assert torch.allclose(stack(inputs[:, :, 4:], state)[0], expected[:, :, 4:] + 1, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(stack(inputs)[0], expected + 1, atol=1e-6)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_gradients_flow_after_a_warm_up_without_gradients(without):
    arch = Architecture("lstm", 2, 3, 5, 4)
    weights = parameters(arch, 2)
    inputs = torch.randn(2, 3, 9, 3, generator=torch.Generator().manual_seed(6))
    gradients = []
    for native in (True, False):
        stack = NetworkStack(arch, weights, native)
        with without():
            _, state = stack(inputs[:, :, :4])
        if not native:  # torch does not save tensors of inference mode for gradients
            state = [tuple(tensor.clone() for tensor in layer) for layer in state]
        outputs, _ = stack(inputs[:, :, 4:], state)
        gradients.append(torch.autograd.grad(outputs.square().sum(), list(weights.values())))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_gradients_of_inputs_alone_leave_no_gradients_of_weights_behind(cell):
    """Compared with torch: of two calls, only the second asks for gradients of the weights."""
    arch = Architecture(cell, 2, 5, 7, 3)

    def gradients(native: bool) -> torch.Tensor:
        weights = parameters(arch, 2)
        inputs = torch.ones(2, 4, 6, 5, requires_grad=True)
        outputs, _ = NetworkStack(arch, weights, native)(inputs)
        torch.autograd.grad(outputs[0].sum(), inputs, retain_graph=True)
        outputs.sum().backward(inputs=[inputs], retain_graph=True)
        outputs.sum().backward()
        return weights["linear.bias"].grad

    torch.testing.assert_close(gradients(True), gradients(False))


def test_outputs_are_float32_whatever_the_default_is():
    arch = Architecture("lstm", 1, 6, 8, 6)
    weights, inputs = parameters(arch, 2), torch.zeros(4, 5, 6)
    expected, _ = NetworkStack(arch, weights)(inputs)
    torch.set_default_dtype(torch.float64)
    try:
        found, _ = NetworkStack(arch, weights)(inputs)
        found.sum().backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected) and weights["linear.bias"].grad.dtype == torch.float32


def test_gradients_of_gradients_are_refused_in_float32_and_exist_in_float64():
    arch = Architecture("lstm", 1, 2, 3, 2)
    for dtype in (torch.float32, torch.float64):
        weights = {name: tensor.detach().to(dtype) for name, tensor in parameters(arch, 2).items()}
        inputs = torch.ones(2, 1, 4, 2, dtype=dtype, requires_grad=True)
        outputs, _ = NetworkStack(arch, weights)(inputs)
        (gradient,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
        if dtype == torch.float64:
            assert torch.autograd.grad(gradient.sum(), inputs)[0].abs().max() > 0
        else:
            with pytest.raises(RuntimeError, match="once_differentiable"):
                gradient.sum().backward()


def test_layers_without_readout_equal_those_of_torch():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        lstm = torch.nn.LSTM(7, 10, 2, batch_first=True)
    inputs = torch.randn(4, 6, 7, generator=torch.Generator().manual_seed(4), requires_grad=True)
    expected, (hidden, cells) = lstm(inputs)
    recurrence = Recurrence("lstm", [[tensor[None] for tensor in layer] for layer in lstm.all_weights])
    outputs, (last_hidden, last_cells) = recurrence(inputs[None])
    assert torch.allclose(outputs[0], expected, atol=1e-6)
    assert torch.allclose(last_hidden[0], hidden, atol=1e-6) and torch.allclose(last_cells[0], cells, atol=1e-6)
    leaves = [inputs, *lstm.parameters()]
    gradients = [torch.autograd.grad(found.square().sum(), leaves) for found in (outputs, expected)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_memory_is_freed_without_the_garbage_collector():
    """A cycle of references would keep the packed weights of hundreds of updates."""
    lstm = torch.nn.LSTM(3, 4, batch_first=True)
    collecting = gc.isenabled()
    gc.disable()
    try:
        recurrence = Recurrence("lstm", [[tensor[None] for tensor in layer] for layer in lstm.all_weights])
        recurrence(torch.ones(1, 2, 5, 3))[0].sum().backward()
        alive = weakref.ref(recurrence)
        del recurrence
        assert alive() is None
    finally:
        if collecting:
            gc.enable()
