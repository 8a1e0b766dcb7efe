"""Properties of all encoders, on networks of odd sizes: symmetries, gradients, independence of other networks."""

import pytest
import torch
from conftest import CELLS

from rnn_zoos.baselines.emulation.invariance import invariance_error
from rnn_zoos.baselines.encoders.encoder import Encoder, embeddings_of
from rnn_zoos.baselines.encoders.layers import StandardiseGates, split_gates, unit_length
from rnn_zoos.baselines.encoders.probes.rotation_bank import CLASSES
from rnn_zoos.baselines.encoders.probes.self_rollout import SelfRollout
from rnn_zoos.baselines.encoders.registry import ENCODERS, encoder_class, make_encoder
from rnn_zoos.baselines.encoders.weights.dws import DWSEncoder
from rnn_zoos.baselines.encoders.weights.statistics import PAPER_FORM as PAPER_STATISTICS
from rnn_zoos.baselines.encoders.weights.statistics import QUANTILES, weight_statistics
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.families.automaton import SYMBOLS
from rnn_zoos.families.language_strings import NUM_SYMBOLS
from rnn_zoos.families.rotation import NUM_TILES, TILE
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights
from rnn_zoos.symmetry.signed import SignedPermutation

H = 7
SMALL = {  # sizes that keep the tests fast
    "transformer": {"width": 12, "heads": 3, "layers": 2, "feedforward": 20},
    "dws": {"channels": 5, "layers": 2},
    "neural-graph": {"width": 11, "edge_width": 3, "layers": 2},
    "canonical-flat": {"hidden": 13},
    "canonical-transformer": {"width": 12, "heads": 3, "layers": 2, "feedforward": 20},
    "probegen": {"sequences": 3, "steps": 4, "latent": 5, "hidden": 37},
    "non-interactive": {"sequences": 3, "steps": 4, "hidden": 11},
    "interactive": {"sequences": 3, "steps": 4, "hidden": 11},
    "self-rollout": {"prefixes": (1, 3), "steps": 9, "hidden": 13},
    "self-rollout-by-step": {"prefixes": (1, 3), "steps": 9, "hidden": 13},
    "self-rollout-branching": {"steps": 9, "hidden": 13},
    "random-probes": {"sequences": 3, "steps": 4, "hidden": 37},
    "data-probes": {"sequences": 3, "steps": 4, "hidden": 37},
    "data-bank": {"sequences": 3, "steps": 4, "hidden": 37},
    "telling-probes": {"sequences": 3, "steps": 4, "hidden": 37},
    "rotation-bank": {"digits": 2, "angles": 5, "read_steps": (17, 49), "hidden": 37, "channels": 23},
    "hankel": {"strings": 2, "steps": 7, "continuations": 6, "hidden": 37},
}


def architecture(cell: str = "lstm", layers: int = 3, inputs: int = NUM_SYMBOLS) -> Architecture:
    return Architecture(cell, layers, inputs, H, NUM_SYMBOLS)


def architecture_of(name: str, cell: str = "lstm", layers: int = 3) -> Architecture:
    """Return an architecture that the encoder supports: one for strings, else one for digits or for automata."""
    others = ((TILE**2, CLASSES), (SYMBOLS[-1], 2))
    known = [architecture(cell, layers), *(Architecture(cell, layers, i, H, o) for i, o in others)]
    return next(found for found in known if encoder_class(name).supports(found))


def networks(arch: Architecture, count: int, scale: float = 3.0) -> dict[str, torch.Tensor]:
    """Return networks whose weights are larger than at initialisation, so that their outputs differ more."""
    weights = stack_weights([initial_weights(arch, 11, run) for run in range(count)])
    return {name: scale * tensor for name, tensor in weights.items()}


def encoder_of(name: str, arch: Architecture, weights: dict[str, torch.Tensor], **options: object) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        encoder = make_encoder(name, arch, 6, **SMALL.get(name, {}), **options)
    sequences = torch.randn(11, NUM_TILES + 1, arch.input_size, generator=torch.Generator().manual_seed(6))
    encoder.fit_inputs(weights, sequences if encoder.information == "data" else None)
    return encoder


def embed(encoder: Encoder, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return embeddings_of(encoder, weights, NetworkStack(encoder.architecture, weights))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("name", ENCODERS)
def test_embeddings_have_length_one_and_do_not_depend_on_the_other_networks_of_the_batch(name, layers, cell):
    arch = architecture_of(name, cell, layers)
    weights = networks(arch, 9)
    encoder = encoder_of(name, arch, weights)
    embeddings = embed(encoder, weights)
    assert embeddings.shape == (9, 6) and torch.allclose(embeddings.norm(dim=1), torch.ones(9))
    assert (embeddings[0] - embeddings[1]).norm() > 1e-3, "networks differ"
    order = [4, 0, 8]
    some = embed(encoder, {n: tensor[order] for n, tensor in weights.items()})
    assert torch.allclose(some, embeddings[order], atol=1e-5), "order and choice of the others"
    one = embed(encoder, {n: tensor[2:3] for n, tensor in weights.items()})
    assert torch.allclose(one[0], embeddings[2], atol=1e-5), "number of networks"


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_invariant_to_the_symmetries_of_its_method_and_to_no_others(name, cell):
    """Encoders that run the networks: all symmetries. Statistics, DWS and neural graph: the order of units. Canonical
    weights: order and signs. Flat and transformer: none, so their training data are augmented.
    """
    arch = architecture_of(name, cell)
    weights = networks(arch, 8)
    encoder = encoder_of(name, arch, weights)
    generator, stack = torch.Generator().manual_seed(1), NetworkStack(arch, weights)
    errors = {s: invariance_error(encoder, stack, s, generator) for s in ("permutations", "signs", "biases")}
    invariant = {"permutations"} if name.startswith(("statistics", "dws", "neural-graph")) else set()
    if name.startswith("canonical"):
        invariant = {"permutations", "signs"}
    if encoder.information != "weights":
        invariant = set(errors)
    for symmetry, error in errors.items():
        assert (error < 1e-4) == (symmetry in invariant), (symmetry, error)
    assert encoder.augmented == (name in ("flat", "transformer"))
    with pytest.raises(EncoderError, match="Unknown symmetry 'rotations'; known: permutations"):
        invariance_error(encoder, stack, "rotations", generator)


@pytest.mark.parametrize("name", [n for n in ENCODERS if n not in ("flat", "transformer")])
def test_a_permutation_that_is_not_a_symmetry_changes_the_embedding(name):
    """The rows of one matrix are reversed; for statistics, which ignore that, the order of its gates is reversed."""
    arch = architecture_of(name)
    weights = networks(arch, 4)
    encoder = encoder_of(name, arch, weights)
    wrong = weights["lstm.weight_hh_l1"].unflatten(1, (4, H))
    wrong = wrong.flip(1) if name.startswith("statistics") else wrong.flip(2)
    changed = embed(encoder, {**weights, "lstm.weight_hh_l1": wrong.flatten(1, 2)})
    assert (changed - embed(encoder, weights)).norm(dim=1).min() > 1e-4


@pytest.mark.parametrize("name", [n for n in ENCODERS if not n.startswith("self-rollout")])
def test_gradients_match_finite_differences(name):
    """With respect to some parameters and some weights, also through the networks if the encoder runs them."""
    arch = architecture_of(name, "gru", 2)
    weights = {n: tensor.double().requires_grad_() for n, tensor in networks(arch, 2).items()}
    learns_questions = name in ("interactive", "non-interactive", "probegen")
    soft = {"questions": "soft"} if learns_questions else {}  # symbols have no slope
    encoder = encoder_of(name, arch, networks(arch, 5), **soft).double()
    direction = torch.randn(2, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def value() -> torch.Tensor:
        return (embed(encoder, weights) * direction).sum()

    leaves = [weights["gru.weight_hh_l0"], weights["linear.bias"], *list(encoder.parameters())[:3]]
    gradients = torch.autograd.grad(value(), leaves)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        step = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        with torch.no_grad():
            values = []
            for sign in (1, -1):
                leaf.add_(1e-5 * sign * step)
                values.append(value().item())
                leaf.sub_(1e-5 * sign * step)
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx((gradient * step).sum().item(), rel=2e-3, abs=1e-6), leaf.shape


def test_the_weight_space_of_a_network_contains_every_weight_once():
    arch = architecture("lstm", 3, 5)
    weights = networks(arch, 2)
    space = DWSEncoder(arch).as_space(weights)
    parts = [*space.vectors, *space.squares, *space.pairs, space.scalars]
    assert sum(part[0].numel() for part in parts) == arch.num_parameters
    values = torch.cat([part[0].flatten() for part in parts]).sort().values
    assert torch.equal(values, torch.cat([tensor[0].flatten() for tensor in weights.values()]).sort().values)


def test_statistics_equal_those_of_torch():
    arch = architecture("lstm", 2, 5)
    weights = networks(arch, 3)
    found = weight_statistics(arch, weights).unflatten(1, (-1, 7))
    groups = [gate for tensor in split_gates(arch, weights).values() for gate in tensor.unbind(1)]
    assert found.shape == (3, 4 * 4 * 2 + 2, 7)
    for place, group in enumerate(groups):
        values = group.flatten(1)
        expected = torch.stack([values.mean(1), values.std(1, correction=0)], dim=1)
        quantiles = values.quantile(torch.tensor(QUANTILES), dim=1).T
        assert torch.allclose(found[:, place], torch.cat([expected, quantiles], dim=1), atol=1e-6)


def test_the_statistics_of_the_papers_code_are_70_raw_moments_and_quantiles_of_whole_tensors():
    arch = architecture("lstm", 2, 5)
    weights = networks(arch, 3)
    encoder = make_encoder("statistics", arch, **PAPER_STATISTICS)
    encoder.fit_inputs(weights)
    found = encoder.features(weights, None).unflatten(1, (-1, 7))
    assert found.shape == (3, 10, 7) and encoder.head[0].in_features == 70 and encoder.head[0].out_features == 128
    for place, tensor in enumerate(weights.values()):
        values = tensor.flatten(1)
        expected = torch.stack([values.mean(1), values.var(1, correction=0)], dim=1)
        quantiles = values.quantile(torch.tensor(QUANTILES), dim=1).T
        assert torch.allclose(found[:, place], torch.cat([expected, quantiles], dim=1), atol=1e-6)


def test_weights_are_standardised_by_the_networks_of_the_fit_only():
    arch = architecture("gru", 2)
    weights = networks(arch, 20)
    standardise = StandardiseGates(arch)
    pairs = zip(standardise(weights).values(), split_gates(arch, weights).values(), strict=True)
    assert all(torch.equal(found, unchanged) for found, unchanged in pairs)
    standardise.fit(weights)
    for tensor in standardise(weights).values():
        for gate in tensor.unbind(1):
            assert abs(gate.mean()) < 1e-5 and gate.std(correction=0) == pytest.approx(1, abs=1e-5)
    before = standardise.means.clone()
    standardise(networks(arch, 5, scale=9.0))
    assert torch.equal(standardise.means, before)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    standardise.fit(zeros)
    assert all((tensor == 0).all() for tensor in standardise(zeros).values()), "constant weights become 0, not infinite"


def test_embeddings_from_kept_features_equal_those_from_the_networks():
    arch = architecture()
    weights = networks(arch, 5)
    encoder = encoder_of("self-rollout", arch, weights)
    kept = encoder.features(weights, NetworkStack(arch, weights))
    assert torch.equal(unit_length(encoder.read(kept)), embed(encoder, weights))


class Wrong(Encoder):
    """Returns a fixed result."""

    def __init__(self, architecture: Architecture, result: object) -> None:
        super().__init__(architecture, 6)
        self.parameter = torch.nn.Parameter(torch.ones(6))
        self.result = result

    def forward(self, weights, stack=None):
        return self.result

    def embed(self, weights, stack):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (torch.ones(6, 4, requires_grad=True), r"returned \(6, 4\) for 4 networks; expected a tensor \(4, 6\)"),
        (torch.ones(4, requires_grad=True), r"returned \(4,\)"),
        ([1.0], "returned list"),
        (torch.full((4, 6), torch.nan, requires_grad=True), "not finite"),
        (torch.ones(4, 6), "without gradients. Remove detach"),
    ],
)
def test_wrong_embeddings_are_reported(result, message):
    arch = architecture()
    with pytest.raises(EncoderError, match=f"Wrong {message}|Wrong.*{message}"):
        embeddings_of(Wrong(arch, result), networks(arch, 4))


def test_an_encoder_that_cannot_be_made_or_called_is_explained():
    arch = architecture(inputs=4)
    with pytest.raises(UnknownNameError, match="Unknown encoder 'statistic'.*statistics.*module:Class"):
        make_encoder("statistic", arch)
    with pytest.raises(EncoderError, match="cannot be imported: No module named 'nowhere'"):
        make_encoder("nowhere:Class", arch)
    with pytest.raises(EncoderError, match="is not a subclass of rnn_zoos.baselines.Encoder"):
        make_encoder("rnn_zoos.networks.architecture:Architecture", arch)
    with pytest.raises(EncoderError, match="cannot be made for .*wings"):
        make_encoder("flat", arch, wings=2)
    with pytest.raises(EncoderError, match="has 4 inputs and 6 outputs. Choose another encoder"):
        make_encoder("self-rollout", arch)
    assert isinstance(
        make_encoder("rnn_zoos.baselines.encoders.probes.self_rollout:SelfRollout", architecture()), SelfRollout
    )
    probing = make_encoder("interactive", arch, sequences=1, steps=2)
    with pytest.raises(EncoderError, match="runs the networks: pass a NetworkStack"):
        probing(networks(arch, 2))


def test_a_signed_permutation_of_the_networks_changes_the_embeddings_of_an_augmented_encoder():
    arch = architecture()
    weights = networks(arch, 3)
    encoder = encoder_of("flat", arch, weights)
    moved = SignedPermutation.sample(arch, 3, generator=torch.Generator().manual_seed(0)).apply(arch, weights)
    assert (embed(encoder, moved) - embed(encoder, weights)).norm(dim=1).min() > 1e-2


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_supports_exactly_the_architectures_that_it_can_be_made_for(name):
    digits = Architecture("lstm", 2, TILE**2, H, CLASSES)
    for arch in (architecture(), architecture(inputs=4), Architecture("gru", 1, 5, H, 5), digits):
        if encoder_class(name).supports(arch):
            make_encoder(name, arch)
        else:
            with pytest.raises(EncoderError, match="Choose another encoder"):
                make_encoder(name, arch)
