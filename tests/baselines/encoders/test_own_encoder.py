"""Encoders of users, `module:Class`: plain modules are wrapped, and what is wrong with one is explained."""

import pytest
import torch
from torch import nn

from rnn_zoos.baselines import Encoder, embeddings_of
from rnn_zoos.baselines.encoders.own_module import ModuleEncoder, try_module
from rnn_zoos.baselines.encoders.registry import encoder_class, make_encoder
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import stack_weights

ARCHITECTURE = Architecture("gru", 2, 6, 7, 5)


@pytest.mark.parametrize(
    ("name", "architecture", "sizes", "message"),
    [
        ("flat", [], {}, "flat is to embed"),
        ("flat", ARCHITECTURE, {"hidden": 2.5}, "flat cannot be made for .* with sizes"),
        ("flat", ARCHITECTURE, {"hidden": -3}, "flat cannot be made with hidden=-3; expected at least 1"),
        ("transformer", ARCHITECTURE, {"heads": 0}, "cannot be made with heads=0"),
        ("dws", ARCHITECTURE, {"embedding_size": 0}, "cannot be made with embedding_size=0"),
        (
            "transformer",
            ARCHITECTURE,
            {"dropout": -1},
            "cannot be made with dropout=-1; expected at least 0, and below 1",
        ),
        ("transformer", ARCHITECTURE, {"dropout": 1.5}, "cannot be made with dropout=1.5"),
        ("canonical-transformer", ARCHITECTURE, {"dropout": "0.1"}, "cannot be made with dropout=0.1; expected"),
        ("self-rollout", Architecture("gru", 1, 6, 7, 6), {"steps": 0}, "cannot be made with steps=0"),
    ],
)
def test_encoders_that_cannot_be_made_are_explained(name, architecture, sizes, message):
    with pytest.raises(EncoderError, match=message):
        make_encoder(name, architecture, **sizes)


def test_a_rate_of_zero_is_no_empty_layer():
    assert make_encoder("transformer", ARCHITECTURE, dropout=0).embedding_size == 16


SYMBOLS = Architecture("gru", 1, 6, 7, 6)


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("interactive", {"questions": "sof"}, "Unknown form of questions 'sof'.*Did you mean 'soft'"),
        ("probegen", {"questions": "hard"}, "Unknown form of questions 'hard'"),
        ("non-interactive", {"answers": "logs"}, "Unknown form of answers 'logs'"),
        ("interactive", {"initial_core": "orthogonl"}, "Unknown form of initial weights.*Did you mean 'orthogonal'"),
        ("random-probes", {"answers": "one"}, "Unknown form of answers 'one'"),
        ("self-rollout", {"answers": "one"}, "Unknown form of answers 'one'"),
        ("self-rollout", {"prefixes": ()}, "was given 0 prefixes; expected at least 1"),
    ],
)
def test_unknown_forms_are_refused_when_an_encoder_is_made(name, sizes, message):
    with pytest.raises((EncoderError, UnknownNameError), match=message):
        make_encoder(name, SYMBOLS, **sizes)


class Plain(nn.Module):
    """Takes what is offered by name, and a size of its own."""

    def __init__(self, hidden: int = 3, embedding_size: int = 9, architecture: Architecture | None = None) -> None:
        super().__init__()
        self.given = (architecture, embedding_size)
        self.map = nn.Sequential(nn.Linear(5, hidden), nn.Tanh(), nn.Linear(hidden, embedding_size))

    def forward(self, weights):
        return self.map(weights["linear.bias"])


class WithoutArguments(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(5, 16)

    def forward(self, weights, scale=2.0):
        return scale * self.map(weights["linear.bias"])


class NeedsWidth(Plain):
    def __init__(self, architecture: Architecture, width: int) -> None:
        super().__init__(width)


class NeedsSeveral(nn.Module):
    def __init__(self, width, *, depth) -> None:
        super().__init__()


class WithoutForward(nn.Module):
    pass


class ReadsStack(Plain):
    def forward(self, weights, stack):
        return super().forward(weights)


class TooWide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(5, 17)

    def forward(self, weights):
        return self.map(weights["linear.bias"])


class ReturnsList(nn.Module):
    def forward(self, weights):
        return [0.0]


class Detached(Plain):
    def forward(self, weights):
        return super().forward(weights).detach()


class Infinite(Plain):
    def forward(self, weights):
        return super().forward(weights) / 0


class Double(Plain):
    def forward(self, weights):
        return super().forward(weights).double()


class Lazy(nn.Module):
    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.map = nn.LazyLinear(embedding_size)

    def forward(self, weights):
        return self.map(weights["linear.weight"].flatten(1))


class Broken(ReturnsList):
    def __init__(self) -> None:
        super().__init__()
        self.sizes = 3 + None


not_a_class = Plain()


def networks(count: int = 4) -> dict[str, torch.Tensor]:
    return stack_weights([initial_weights(ARCHITECTURE, 3, run) for run in range(count)])


def make(name: str, size: int = 16, **sizes: object) -> Encoder:
    return make_encoder(f"{__name__}:{name}", ARCHITECTURE, size, **sizes)


def test_a_plain_module_is_given_the_arguments_that_it_names_and_becomes_an_encoder():
    encoder = make("Plain", 11, hidden=4)
    assert isinstance(encoder, ModuleEncoder) and isinstance(encoder.module, Plain)
    assert encoder.module.given == (ARCHITECTURE, 11) and encoder.module.map[0].out_features == 4
    assert (encoder.information, encoder.augmented, encoder.num_queries) == ("weights", False, 0)
    weights = networks()
    embeddings = embeddings_of(encoder, weights)
    raw = encoder.module(weights)
    assert torch.equal(embeddings, raw / raw.norm(dim=1, keepdim=True)) and embeddings.shape == (4, 11)
    embeddings.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_a_module_without_parameters_in_its_constructor_is_created_without_arguments():
    assert embeddings_of(make("WithoutArguments"), networks()).shape == (4, 16)


def test_a_subclass_of_encoder_is_not_wrapped_and_a_plain_module_is_no_encoder_class():
    template = "rnn_zoos.baselines.encoders.template"
    assert type(make_encoder(f"{template}:MyEncoder", ARCHITECTURE)) is encoder_class(f"{template}:MyEncoder")
    assert embeddings_of(make_encoder(f"{template}:MyModule", ARCHITECTURE), networks()).shape == (4, 16)
    with pytest.raises(EncoderError, match="is not a subclass of rnn_zoos.baselines.Encoder"):
        encoder_class(f"{__name__}:Plain")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NeedsWidth", r"created as NeedsWidth\(architecture\): missing a required argument: 'width'.*give all other"),
        ("NeedsSeveral", r"created as NeedsSeveral\(\): missing a required .*'width'.*give all other"),
        ("WithoutForward", r"cannot be called as forward\(weights\): no forward is defined. Define forward"),
        ("ReadsStack", r"called as forward\(weights\): missing .*'stack'. .* subclass rnn_zoos.baselines.Encoder"),
        ("not_a_class", r"not a subclass of rnn_zoos.baselines.Encoder or of torch.nn.Module, but Plain"),
        ("ARCHITECTURE", r"not a subclass of .* but Architecture\(cell='gru'"),
        ("nothing", "cannot be imported: module '.*' has no attribute 'nothing'"),
    ],
)
def test_a_class_that_cannot_be_an_encoder_is_explained(name, message):
    with pytest.raises(EncoderError, match=f"{__name__}:{name} .*{message}"):
        make(name)


def test_sizes_of_a_preset_that_a_module_does_not_have_are_explained():
    with pytest.raises(EncoderError, match="got an unexpected keyword argument 'wings'"):
        make("Plain", wings=2)


def test_a_syntax_error_in_the_file_of_an_encoder_is_explained(tmp_path, monkeypatch):
    (tmp_path / "misspelled_encoder.py").write_text("import torch\n\nclass Own(torch.nn.Module)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EncoderError, match=r"expected ':' \(misspelled_encoder.py, line 3\). Correct its file"):
        make_encoder("misspelled_encoder:Own", ARCHITECTURE)


@pytest.mark.parametrize("name", [":MyModule", ".relative:MyModule", ":"])
def test_a_name_without_a_module_is_explained(name):
    with pytest.raises(EncoderError, match="has no module before its colon. Expected a name such as my_module"):
        make_encoder(name, ARCHITECTURE)


def test_lazy_layers_have_their_sizes_when_a_module_is_made_and_follow_from_the_seed():
    made = []
    for _ in range(2):
        torch.manual_seed(3)
        made.append(make("Lazy"))
    assert made[0].module.map.weight.shape == (16, 5 * 7)
    assert torch.equal(made[0].module.map.weight, made[1].module.map.weight)
    torch.optim.AdamW(made[0].parameters())


def test_an_error_inside_the_users_own_constructor_is_not_disguised():
    with pytest.raises(TypeError, match="unsupported operand"):
        make("Broken")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TooWide", r"TooWide returned \(2, 17\) for 2 .* \(2, 16\): .* Z=16 .* parameter `embedding_size`.*that size"),
        ("ReturnsList", r"ReturnsList returned list for 2 networks"),
        ("Detached", "Detached returned embeddings without gradients"),
        ("Infinite", "Infinite returned values that are not finite"),
        ("Double", r"Double returned torch.float64 for weights of torch.float32.* call float\(\)"),
    ],
)
def test_wrong_embeddings_of_a_plain_module_are_reported_before_training(name, message):
    with pytest.raises(EncoderError, match=message):
        try_module(make(name))


def test_trying_a_module_changes_neither_it_nor_the_random_numbers_that_follow():
    torch.manual_seed(4)
    encoder = make("Plain")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    state = torch.get_rng_state()
    try_module(encoder)
    try_module(make_encoder("telling-probes", ARCHITECTURE))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert before and not torch.equal(torch.get_rng_state(), state), "making telling-probes draws numbers"
    torch.set_rng_state(state)
    try_module(encoder)
    assert torch.equal(torch.get_rng_state(), state)
