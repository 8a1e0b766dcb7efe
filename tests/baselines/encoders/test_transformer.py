"""The transformer's blocks against PyTorch's, its tokens, and the form of the paper's code."""

import pytest
import torch
from torch import nn

from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.baselines.encoders.weights.attention import Block, transformer
from rnn_zoos.baselines.encoders.weights.transformer import PAPER_FORM, TransformerEncoder
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import stack_weights

WIDTH, HEADS, FEEDFORWARD = 12, 3, 20
ARCHITECTURE = Architecture("lstm", 2, 3, 5, 4)
PAPER = {**PAPER_FORM, "width": 12, "layers": 2, "feedforward": 9}
# names of the parameters of a block in nn.TransformerEncoderLayer
NAMES = {
    "attention_norm.": "norm1.", "mlp_norm.": "norm2.", "qkv.": "self_attn.in_proj_", "out.": "self_attn.out_proj.",
    "into.": "linear1.", "back.": "linear2.",
}  # fmt: skip


def reference(blocks: nn.Sequential, dropout: float) -> nn.TransformerEncoder:
    """Return PyTorch's transformer with the parameters of `blocks`."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, FEEDFORWARD, dropout, batch_first=True, norm_first=True)
    theirs = nn.TransformerEncoder(layer, len(blocks) - 1, nn.LayerNorm(WIDTH), enable_nested_tensor=False).double()
    state = {}
    for name, tensor in blocks.state_dict().items():
        number, _, rest = name.partition(".")
        if int(number) == len(blocks) - 1:
            state[f"norm.{rest}"] = tensor
            continue
        prefix = next(prefix for prefix in NAMES if rest.startswith(prefix))
        state[f"layers.{number}.{NAMES[prefix]}{rest.removeprefix(prefix)}"] = tensor
    theirs.load_state_dict(state)
    return theirs


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_blocks_equal_those_of_pytorch_in_results_and_gradients():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = transformer(WIDTH, HEADS, FEEDFORWARD, 2).double()
        for parameter in ours.parameters():
            nn.init.normal_(parameter, std=0.4)
    theirs = reference(ours, 0.0)
    gradients = []
    for module in (ours, theirs):
        tokens = random(3, 7, WIDTH, seed=1).requires_grad_()
        result = module(tokens)
        (result * random(3, 7, WIDTH, seed=2)).sum().backward()
        gradients.append([result, tokens.grad, *sorted_gradients(module)])
    for found, expected in zip(*gradients, strict=True):
        assert torch.allclose(found, expected, atol=1e-9) and found.abs().max() > 1e-3


def sorted_gradients(module: nn.Module) -> list[torch.Tensor]:
    """Return the gradients of all parameters, flat, in an order that does not depend on names."""
    return [gradient.flatten().sort().values for gradient in sorted_by_norm(module)]


def sorted_by_norm(module: nn.Module) -> list[torch.Tensor]:
    return sorted((p.grad for p in module.parameters()), key=lambda g: (g.numel(), round(float(g.norm()), 6)))


def test_initial_blocks_are_distributed_as_those_of_pytorch():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = Block(64, 4, 128)
        theirs = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=True)
    pairs = [(ours.qkv.weight, theirs.self_attn.in_proj_weight), (ours.out.weight, theirs.self_attn.out_proj.weight)]
    pairs += [(ours.into.weight, theirs.linear1.weight), (ours.back.bias, theirs.linear2.bias)]
    for found, expected in pairs:
        assert found.std().item() == pytest.approx(expected.std().item(), rel=0.15)
    assert not ours.qkv.bias.any() and not theirs.self_attn.in_proj_bias.any() and not ours.out.bias.any()


def test_dropout_acts_in_training_only_and_in_every_place():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block, tokens = Block(WIDTH, HEADS, FEEDFORWARD, dropout=0.5), torch.randn(3, 7, WIDTH)
        results = [block.train()(tokens) for _ in range(2)]
        assert not torch.allclose(*results)
        zeroed = [bool((tokens == result).any()) for result in results]
        assert any(zeroed), "what a residual branch adds is dropped"
        assert torch.equal(block.eval()(tokens), block.eval()(tokens))
        undropped = Block(WIDTH, HEADS, FEEDFORWARD)
        undropped.load_state_dict(block.state_dict())
        assert torch.equal(undropped.train()(tokens), block.eval()(tokens))


def weights_of(count: int) -> dict[str, torch.Tensor]:
    return stack_weights([initial_weights(ARCHITECTURE, 1, run) for run in range(count)])


@pytest.mark.parametrize(("tokens", "count"), [("units", 2 * 5 + 4), ("rows", 4 * 2 * 5 + 4)])
def test_every_weight_is_in_exactly_one_token(tokens, count):
    encoder = TransformerEncoder(ARCHITECTURE, 6, width=12, heads=3, layers=1, feedforward=5, tokens=tokens)
    weights = weights_of(2)
    before = encoder.transformer.tokens(encoder.standardise(weights))
    assert before.shape == (2, count, 12)
    seen = torch.zeros(count)
    for name, tensor in weights.items():
        for place in range(tensor[0].numel()):
            changed = tensor.clone()
            changed.view(2, -1)[:, place] += 1
            after = encoder.transformer.tokens(encoder.standardise({**weights, name: changed}))
            different = (after != before).any(dim=-1)
            assert different.sum().tolist() == 2, (name, place)
            seen += different[0]
    units = [4 * (size + 5 + 2) for size in (3, 5) for _ in range(5)]
    rows = [size + 5 + 2 for size in (3, 5) for _ in range(4 * 5)]
    assert seen.tolist() == [*(units if tokens == "units" else rows), *[6] * 4]


def test_the_form_of_the_papers_code_reads_one_additional_token():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = make_encoder("transformer", ARCHITECTURE, 6, **PAPER).eval()
    weights = weights_of(5)
    encoder.fit_inputs(weights)
    embeddings = embeddings_of(encoder, weights)
    assert embeddings.shape == (5, 6) and encoder.places.shape == (4 * 2 * 5 + 4 + 1, 12)
    read = encoder.blocks(encoder.transformer.tokens(encoder.standardise(weights)))
    expected = encoder.transformer.head(read[:, -1])
    assert torch.allclose(embeddings, expected / expected.norm(dim=1, keepdim=True), atol=1e-6)
    embeddings.sum().backward()
    assert encoder.transformer.reader.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["transformer", "canonical-transformer"])
def test_sizes_that_do_not_fit_are_explained(name):
    with pytest.raises(EncoderError, match="A width of 10 cannot be divided into 3 heads"):
        make_encoder(name, ARCHITECTURE, width=10, heads=3)
    with pytest.raises(UnknownNameError, match="Unknown kind of tokens 'columns'.*units.*rows"):
        make_encoder(name, ARCHITECTURE, tokens="columns")
    with pytest.raises(UnknownNameError, match="Unknown pooling 'cls'.*mean.*token"):
        make_encoder(name, ARCHITECTURE, pooling="cls")
    with pytest.raises(EncoderError, match=f"{name} cannot be made for .*wings"):
        make_encoder(name, ARCHITECTURE, wings=2)
