"""`StepwiseLSTM` equals its reference implementation `nn.LSTM`: outputs and all gradients."""

import pytest
import torch

from rnn_zoos.baselines.encoders.stepwise import StepwiseLSTM

M, T, INPUTS, H = 3, 5, 7, 4


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, T])
def test_outputs_and_gradients_equal_those_of_torch(layers, steps):
    with torch.random.fork_rng():
        torch.manual_seed(layers)
        core = torch.nn.LSTM(INPUTS, H, layers, batch_first=True).double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(M, steps, INPUTS, generator=generator, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(M, steps, H, generator=generator, dtype=torch.float64)

    def by_steps() -> tuple[torch.Tensor, torch.Tensor]:
        stepwise, state, outputs = StepwiseLSTM(core), None, []
        for step in inputs.unbind(1):
            output, state = stepwise(step, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1), state[-1][1]

    outputs, (_, cells) = core(inputs)
    expected = torch.autograd.grad((outputs * direction).sum() + cells[-1].sum(), [inputs, *core.parameters()])
    for _ in range(2):  # a backward pass leaves no state behind
        stepped, last = by_steps()
        assert torch.allclose(stepped, outputs) and torch.allclose(last, cells[-1])
        gradients = torch.autograd.grad((stepped * direction).sum() + last.sum(), [inputs, *core.parameters()])
        for gradient, reference in zip(gradients, expected, strict=True):
            assert gradient.shape == reference.shape and torch.allclose(gradient, reference)
    with torch.no_grad():
        assert torch.allclose(by_steps()[0], outputs)
