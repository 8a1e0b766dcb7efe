"""Saved encoders: restored bit for bit without the zoo, from files that hold data only; damaged files are explained."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import ROOT
from torch import nn

from rnn_zoos.baselines import EmulationRun, EmulationSettings, Encoder, FeatureEncoder, load_data, load_encoder
from rnn_zoos.baselines.benchmark import presets, runner
from rnn_zoos.baselines.downstream.end_to_end import EndToEndSettings
from rnn_zoos.baselines.emulation import saved_encoder
from rnn_zoos.baselines.emulation.saved_encoder import read_encoder, save_encoder
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.registry import ENCODERS, encoder_class
from rnn_zoos.errors import EncoderError, FormatError, UnknownNameError
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.biases import merge_biases

SETTINGS = EmulationSettings(updates=2, evaluate_every=1, networks=3, hidden=5, layers=1, embedding_size=6)
LANGUAGES = {"runs: 7": "runs: 24", "strings: 13": "strings: 3", "[0, 2, 11]": "[0, 4]"}  # of the tiny preset
DIGITS = {"runs: 5": "runs: 24", "[0, 3, 8]": "[0, 4]", "num_layers: 3": "num_layers: 1"}


class Plain(nn.Module):
    """A module of a user with tied parameters and a buffer, in which it counts."""

    def __init__(self, architecture, embedding_size) -> None:
        super().__init__()
        self.one = nn.Linear(architecture.output_size, embedding_size)
        self.other = nn.Linear(architecture.output_size, embedding_size)
        self.other.weight = self.one.weight
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, weights):
        self.calls += self.training
        return self.one(weights["linear.bias"]).tanh() + self.other(weights["linear.bias"])


class FittedShape(FeatureEncoder):
    """Its buffers get their shape, or exist at all, only when it is fitted."""

    def __init__(self, architecture, embedding_size=16, hidden=3) -> None:
        super().__init__(architecture, embedding_size)
        self.register_buffer("references", torch.zeros(0, architecture.output_size))
        self.register_buffer("centre", None)
        self.head = nn.Linear(1, embedding_size)

    def fit_inputs(self, weights, sequences=None) -> None:
        self.references = weights["linear.bias"].clone()
        self.centre = self.references.mean(dim=0)

    def features(self, weights, stack):
        return torch.cdist(weights["linear.bias"] - self.centre, self.references).mean(dim=1, keepdim=True)


class RegistersLate(FittedShape):
    """Registers a buffer when it is fitted, which a new encoder does not have."""

    def fit_inputs(self, weights, sequences=None) -> None:
        super().fit_inputs(weights)
        self.head.register_buffer("scale", torch.ones(1))


class Changed(Encoder):
    """A class whose parameters depend on a switch, as if its code had changed after an encoder was saved."""

    width = 3

    def __init__(self, architecture, embedding_size=16) -> None:
        super().__init__(architecture, embedding_size)
        self.map = nn.Linear(architecture.output_size, self.width)
        self.out = nn.Linear(self.width, embedding_size)

    def embed(self, weights, stack):
        return self.out(self.map(weights["linear.bias"]))


@pytest.fixture(scope="module")
def data(edited_zoo):
    return load_data(edited_zoo("formal-languages", LANGUAGES))


@pytest.fixture(scope="module")
def digits(edited_zoo):
    return load_data(edited_zoo("sequential-mnist", DIGITS))


def trained(data, name: str, folder: Path, **sizes: object) -> EmulationRun:
    run = EmulationRun(data, name, 3, SETTINGS, folder / "run", sizes)
    run.train()
    return run


def saved(data, name: str, folder: Path, **sizes: object) -> Path:
    path = folder / "encoder.safetensors"
    save_encoder(trained(data, name, folder, **sizes), path)
    return path


def embeddings(encoder: Encoder, data) -> torch.Tensor:
    weights = data.splits["ood"].weights
    with torch.no_grad():
        return embeddings_of(encoder, weights, NetworkStack(data.architecture, weights))


def with_description(path: Path, change) -> Path:
    """Change the description of a saved encoder, and keep its tensors."""
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["rnn_zoos"])
    change(about)
    changed = path.with_name("changed.safetensors")
    safetensors.torch.save_file(safetensors.torch.load_file(path), changed, metadata={"rnn_zoos": json.dumps(about)})
    return changed


def test_a_buffer_that_a_new_encoder_lacks_is_refused_before_training(data, tmp_path):
    with pytest.raises(EncoderError, match="RegistersLate registered the buffer head.scale when it was fitted"):
        EmulationRun(data, f"{__name__}:RegistersLate", 0, SETTINGS, tmp_path / "run")


@pytest.mark.parametrize("zoo", ["data", "digits"])
@pytest.mark.parametrize("name", [*ENCODERS, f"{__name__}:Plain", f"{__name__}:FittedShape"])
def test_an_encoder_is_restored_bit_for_bit_without_its_training_zoo(name, zoo, request, tmp_path, monkeypatch):
    of_zoo = request.getfixturevalue(zoo)
    if name in ENCODERS and not encoder_class(name).supports(of_zoo.architecture):
        pytest.skip("the encoder does not support this architecture")
    run = trained(of_zoo, name, tmp_path)
    save_encoder(run, tmp_path / "encoder.safetensors")
    expected = embeddings(run.encoder, of_zoo)
    with monkeypatch.context() as patch:
        patch.setattr("rnn_zoos.loaders.zoo.open_zoo", None)
        patch.setattr(type(run.encoder), "fit_inputs", None)
        before = torch.get_rng_state()
        restored = load_encoder(str(tmp_path / "encoder.safetensors"))
        assert torch.equal(torch.get_rng_state(), before), "no random numbers are used up"
    state = restored.state_dict()
    assert state.keys() == run.encoder.state_dict().keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in run.encoder.state_dict().items())
    assert not restored.training and torch.equal(embeddings(restored, of_zoo), expected)


def test_a_trained_encoder_differs_from_a_new_one(data, tmp_path):
    """Otherwise the test above could not fail."""
    run = trained(data, "telling-probes", tmp_path)
    new = EmulationRun(data, "telling-probes", 4, SETTINGS, tmp_path / "new").encoder
    assert not torch.equal(embeddings(run.encoder, data), embeddings(new, data))
    assert not torch.equal(run.encoder.questions, encoder_class("telling-probes")(data.architecture).questions)


def test_a_saved_encoder_describes_its_training(data, tmp_path):
    path = tmp_path / "some" / "folder" / "interactive.safetensors"
    save_encoder(trained(data, "interactive", tmp_path, hidden=7), path, preset="quick")
    found = read_encoder(path)
    about = found.description
    assert (about.encoder, about.sizes, about.embedding_size, about.seed) == ("interactive", {"hidden": 7}, 6, 3)
    assert (about.architecture, about.biases, about.preset) == (data.architecture, "apart", "quick")
    assert about.zoo == {"name": "formal-languages", "preset": data.zoo.manifest.preset, "sha256": data.zoo.identity}
    assert about.settings["updates"] == SETTINGS.updates and len(found.sha256) == 64
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no temporary file is left"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda about: about.update(format=2), FormatError, "is a saved encoder of format 2; expected 1. Update"),
        (lambda about: about.pop("sizes"), FormatError, r"is not a saved encoder .*'sizes'.* Expected a file"),
        (lambda about: about.pop("format"), FormatError, "is not a saved encoder"),
        (lambda about: about.update(encoder="oracle"), UnknownNameError, "Unknown encoder 'oracle'"),
        (lambda about: about.update(encoder="nowhere:Class"), EncoderError, "No module named 'nowhere'"),
        (lambda about: about.update(encoder="os:getcwd"), EncoderError, "is not a subclass"),
        (lambda about: about.update(sizes={"wings": 2}), EncoderError, "cannot be made for"),
        (lambda about: about.update(encoder="dws"), EncoderError, "does not fit the encoder dws of this version"),
        (lambda about: about["architecture"].update(hidden_size=0), FormatError, "hidden_size is 0"),
        (lambda about: about["architecture"].update(wings=2), FormatError, "is not a saved encoder"),
        (lambda about: about.update(architecture=3), FormatError, "is not a saved encoder"),
        (lambda about: about.update(sizes=None), FormatError, "is not a saved encoder"),
    ],
)
def test_a_file_with_another_description_is_explained(change, error, message, data, tmp_path):
    path = with_description(saved(data, "flat", tmp_path), change)
    with pytest.raises(error, match=message):
        load_encoder(path)


def test_files_that_are_no_saved_encoders_are_explained(data, tmp_path):
    path = saved(data, "flat", tmp_path)
    for name, content in {"cut": path.read_bytes()[:-1], "text": b"an encoder", "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=f"{name} (is not a complete safetensors file|declares a header of)"):
            load_encoder(tmp_path / name)
    with pytest.raises(FormatError, match="missing.safetensors cannot be read"):
        load_encoder(tmp_path / "missing.safetensors")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(FormatError, match=r"other is not a saved encoder .* Expected a file ENCODER.SEED.safetensors"):
        load_encoder(tmp_path / "other")
    run = trained(data, "flat", tmp_path / "again")
    with pytest.raises(FormatError, match="is not a saved encoder"):
        load_encoder(run.checkpoint)


def test_a_reference_that_reads_labels_is_not_saved(data, tmp_path):
    with pytest.raises(EncoderError, match="step-known reads labels of its zoo"):
        saved(data, "step-known", tmp_path)
    assert not (tmp_path / "encoder.safetensors").exists()


def test_an_encoder_whose_code_has_changed_is_explained(data, tmp_path, monkeypatch):
    path = saved(data, f"{__name__}:Changed", tmp_path)
    monkeypatch.setattr(Changed, "width", 4)
    with pytest.raises(EncoderError, match=r"of this version: the shape of map.bias is \(3,\), expected \(4,\). Use"):
        load_encoder(path)


@pytest.fixture
def _short_preset(monkeypatch) -> None:
    cpu = presets.PRESETS["cpu"]
    settings = dict.fromkeys(cpu.settings, replace(SETTINGS, embedding_size=16))
    short = replace(cpu, settings=settings, end_to_end=EndToEndSettings(updates=1, hidden=2))
    monkeypatch.setattr(presets, "PRESETS", {"cpu": short})


@pytest.mark.usefixtures("_short_preset")
@pytest.mark.parametrize(
    ("encoder", "file"),
    [("telling-probes", "telling-probes.5"), (f"{__name__}:Plain", f"{__name__}.Plain.5")],
)
def test_the_benchmark_saves_the_encoder_with_the_lowest_validation_loss(encoder, file, data, tmp_path, monkeypatch):
    runs = []

    def interrupt(run: EmulationRun) -> dict:
        runs.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "measure_encoder", interrupt)
    with pytest.raises(KeyboardInterrupt):
        runner.run_encoder(data, encoder, 5, "cpu", tmp_path)
    path = tmp_path / "formal-languages" / f"{file}.safetensors"
    found = read_encoder(path)
    assert found.description.preset == "cpu" and found.description.seed == 5
    assert torch.equal(embeddings(found.encoder, data), embeddings(runs[0].encoder, data))
    assert not path.with_suffix(".json").exists()


@pytest.mark.usefixtures("_short_preset")
def test_an_encoder_of_merged_biases_says_so_and_restores_its_embeddings(edited_zoo, tmp_path, monkeypatch):
    merged = load_data(edited_zoo("formal-languages", LANGUAGES), biases="merged")
    monkeypatch.setattr(runner, "measure_encoder", lambda run: runs.append(run) or {})
    runs: list[EmulationRun] = []
    path = runner.run_encoder(merged, "flat", 0, "cpu", tmp_path).with_suffix(".safetensors")
    assert path.name == "flat.merged.0.safetensors" and read_encoder(path).description.biases == "merged"
    zoo = merged.zoo
    weights = merge_biases(merged.architecture, zoo.stack(zoo.index("ood")).weights)
    with torch.no_grad():
        assert torch.equal(load_encoder(path)(weights), embeddings(runs[0].encoder, merged))


def test_saving_uses_no_pickle():
    source = (ROOT / "baselines" / "emulation" / Path(saved_encoder.__file__).name).read_text()
    assert "torch.save" not in source.replace("safetensors.torch.save", "") and "torch.load" not in source.replace(
        "safetensors.torch.load", ""
    )
