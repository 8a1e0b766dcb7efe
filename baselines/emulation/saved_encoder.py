"""A trained encoder as one safetensors file: its parameters and buffers, and a description from which it is created.

The description is JSON in the header of the file. Nothing is pickled, and the zoo that the encoder was trained on is
not needed to restore it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.data import Biases, zoo_reference
from rnn_zoos.baselines.emulation.tensor_file import read_tensor_file, write_tensor_file
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.encoders.encoder import Encoder
from rnn_zoos.baselines.encoders.registry import make_encoder, sizes_of
from rnn_zoos.errors import EncoderError, FormatError
from rnn_zoos.format.files import sha256_of
from rnn_zoos.format.tensors import read_header
from rnn_zoos.networks.architecture import Architecture

FORMAT = 1
"""Version of the format, the entry `format` of the description."""
_KEY = "rnn_zoos"
_REMEDY = "Expected a file ENCODER.SEED.safetensors that `rnn-zoos benchmark` wrote."


@dataclass(frozen=True)
class EncoderDescription:
    """What a saved encoder is and how it was trained.

    Attributes:
        encoder: Name of the encoder, as for `make_encoder`.
        sizes: Further keyword arguments of `make_encoder`.
        embedding_size: Z, the number of entries of an embedding.
        architecture: Architecture of the networks that it embeds.
        biases: Whether it reads the two bias vectors of a layer `apart` or `merged`.
        zoo: `name`, `preset` and `sha256` of the zoo that it was trained on.
        seed: Seed of the training.
        preset: Preset of the benchmark, or None if it was trained with other settings.
        settings: Settings of the training, the fields of `EmulationSettings`.
    """

    encoder: str
    sizes: Mapping[str, Any]
    embedding_size: int
    architecture: Architecture
    biases: Biases
    zoo: Mapping[str, str]
    seed: int
    preset: str | None
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class SavedEncoder:
    """An encoder that was read from a file, its description, and the SHA-256 of the file."""

    encoder: Encoder
    description: EncoderDescription
    sha256: str


def save_encoder(run: EmulationRun, path: str | Path, preset: str | None = None) -> None:
    """Write the encoder of a training by emulation into one safetensors file, atomically.

    The file has parameters and buffers with the types that they have, and a description of encoder and training in its
    header. Nothing is pickled.

    Args:
        run: The training, after `run.train()`.
        path: The file; missing parent directories are created.
        preset: Preset of the benchmark whose settings the training has, if any.

    Raises:
        EncoderError: The training is one of a reference, which embeds the rows of its zoo, not networks.
        StorageError: The file could not be written.

    Example:
        >>> from rnn_zoos.baselines import EmulationRun, EmulationSettings, load_data, save_encoder
        >>> settings = EmulationSettings(updates=4, evaluate_every=2, networks=8, hidden=16)
        >>> run = EmulationRun(load_data("zoos/formal-languages"), "flat", 0, settings, "trained-flat")
        >>> run.train()
        >>> save_encoder(run, "flat.safetensors")
    """
    if run.encoder.information == "labels":
        raise EncoderError(f"{run.identity['encoder']} reads labels of its zoo. Save an encoder of networks instead.")
    zoo, name = run.data.zoo, str(run.identity["encoder"])
    description = EncoderDescription(
        encoder=name,
        sizes=sizes_of(name, run.data.architectures, cast("Mapping[str, Any]", run.identity["sizes"])),
        embedding_size=run.settings.embedding_size,
        architecture=run.encoder.architecture,
        biases=run.data.biases,
        zoo=zoo_reference(zoo),
        seed=run.seed,
        preset=preset,
        settings=asdict(run.settings),
    )
    text = json.dumps({"format": FORMAT, **asdict(description)})
    write_tensor_file(Path(path), run.encoder.state_dict(), {_KEY: text})


def load_encoder(path: str | Path) -> Encoder:
    """Read a trained encoder that `rnn-zoos benchmark`, `run_encoder` or `save_encoder` has written.

    Parameters and buffers are restored bit for bit, so that it returns the same embeddings as after its training. An
    encoder that was given as `module:Class` is imported from there again.

    Args:
        path: The file, for example `OUT/ZOO/ENCODER.SEED.safetensors`.

    Returns:
        The encoder, on the CPU and in evaluation mode. If it was trained on merged biases, it expects weights to which
        `rnn_zoos.symmetry.merge_biases` was applied.

    Raises:
        FormatError: The file does not exist, is damaged, or is not a saved encoder.
        UnknownNameError: This version has no encoder of that name.
        EncoderError: Its class cannot be imported, or its parameters have changed since it was saved.

    Example:
        >>> from rnn_zoos.baselines import EmulationRun, EmulationSettings, load_data, load_encoder, save_encoder
        >>> data = load_data("zoos/formal-languages")
        >>> settings = EmulationSettings(updates=4, evaluate_every=2, networks=8, hidden=16)
        >>> run = EmulationRun(data, "statistics", 0, settings, "trained-statistics")
        >>> run.train()
        >>> save_encoder(run, "statistics.safetensors")
        >>> encoder = load_encoder("statistics.safetensors")
        >>> embeddings = encoder(data.splits["ood"].weights)  # [M, 16]
    """
    return read_encoder(Path(path)).encoder


def read_encoder(path: Path) -> SavedEncoder:
    """Read a saved encoder with its description. Raises as `load_encoder`."""
    description = _read_description(path)
    with torch.random.fork_rng():  # the initial parameters, which are replaced, are drawn from the global generator
        encoder = make_encoder(
            description.encoder, description.architecture, description.embedding_size, **description.sizes
        )
    tensors, _ = read_tensor_file(path, "a saved encoder", _REMEDY)
    _replace_buffers(encoder, tensors)
    expected, found = _shapes(encoder.state_dict()), _shapes(tensors)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise EncoderError(
                f"{path} does not fit the encoder {description.encoder} of this version: the shape of {name} is "
                f"{found.get(name, 'missing')}, expected {expected.get(name, 'none')}. Use the version that saved it, "
                "or train the encoder again."
            )
    encoder.load_state_dict(tensors)
    return SavedEncoder(encoder.eval(), description, sha256_of(path))


def _replace_buffers(encoder: Encoder, tensors: Mapping[str, Tensor]) -> None:
    """Assign saved buffers, because `fit_inputs` may have given them a shape that depends on the training networks."""
    parameters = dict(encoder.named_parameters(remove_duplicate=False))
    modules = dict(encoder.named_modules())
    for name, tensor in tensors.items():
        owner, _, attribute = name.rpartition(".")
        if name not in parameters and owner in modules and hasattr(modules[owner], attribute):
            setattr(modules[owner], attribute, tensor)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _read_description(path: Path) -> EncoderDescription:
    """Return the description in the header of a file. Raises FormatError."""
    header, _ = read_header(path)
    try:
        about = json.loads(header["__metadata__"][_KEY])
        found = about.pop("format")
        if found != FORMAT:
            raise FormatError(f"{path} is a saved encoder of format {found}; expected {FORMAT}. Update rnn-zoos.")
        read = {"architecture": Architecture(**about["architecture"]), "sizes": {**about["sizes"]}}
        return EncoderDescription(**{**about, **read})
    except (KeyError, TypeError, json.JSONDecodeError, AttributeError) as error:
        raise FormatError(f"{path} is not a saved encoder ({error!r}). {_REMEDY}") from error
