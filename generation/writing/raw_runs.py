"""Trained runs as plain numpy files: what a machine with a GPU and nothing but torch, numpy and triton writes.

raw.json           the zoo, its settings, the backend, the provenance, and the hash of every file
runs-00000.npz     trained runs: their records (`RUN_FIELDS`), weights [R, S, P] or, compressed, the bytes of their XORs

`engines.trained.TrainedEngine` makes a zoo of them on a machine that has everything. Nothing is pickled.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rnn_zoos.errors import FormatError, IntegrityError
from rnn_zoos.families.run_table import RUN_FIELDS
from rnn_zoos.format.files import file_blocks, sha256_of, write_atomically
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.weights import flatten, unflatten

FORMAT = 2
INDEX = "raw.json"
_REMEDY = "Copy it again from the machine that trained the runs, or delete it and train them there again."

Words = npt.NDArray[np.uint32]


@dataclass
class RawRuns:
    """The content of raw.json.

    Attributes:
        zoo: Name of the zoo.
        preset: Name of the preset.
        settings: The settings that training depends on, by the names of `settings.Settings`.
        digits: Origin and hash of the digits, as `Plan.digits` returns them; None for a zoo without digits.
        made: Provenance, with the backend.
        files: Name of a file -> its `sha256`, `bytes`, `runs` (numbers) and `seconds` of training.
    """

    zoo: str
    preset: str
    settings: dict[str, Any]
    digits: dict[str, str] | None
    made: dict[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        """The backend that trained the runs."""
        return str(self.made["backend"])

    @property
    def runs(self) -> list[int]:
        """The numbers of all runs, in the order of the files."""
        return [run for entry in self.files.values() for run in entry["runs"]]

    @property
    def seconds_per_run(self) -> float:
        """How long a run took, if the time of a group is divided among its runs."""
        return float(sum(entry["seconds"] for entry in self.files.values())) / max(1, len(self.runs))

    def write(self, directory: Path) -> None:
        """Write raw.json atomically. Raises StorageError."""
        text = json.dumps({"format": FORMAT, **vars(self)}, indent=1) + "\n"
        write_atomically(directory / INDEX, text.encode())

    def add(self, directory: Path, data: bytes, runs: Sequence[int], seconds: float) -> None:
        """Write the next file with these runs, then raw.json. Raises StorageError."""
        name = f"runs-{len(self.files):05d}.npz"
        sha256 = write_atomically(directory / name, data)
        self.files[name] = {"sha256": sha256, "bytes": len(data), "runs": list(runs), "seconds": seconds}
        self.write(directory)


def read_raw(directory: Path) -> RawRuns:
    """Read raw.json. Raises FormatError if the directory has none of this version, StorageError if it is unreadable."""
    path = directory / INDEX
    if not path.exists():
        raise FormatError(
            f"{directory} has no {INDEX}. Expected a directory raw/ZOO or carry/ZOO that generation/check_gpu.py wrote."
        )
    try:
        content = json.loads(b"".join(file_blocks(path)))
        found = content.pop("format")
        if found != FORMAT:
            raise FormatError(f"{path} has format {found}; expected {FORMAT}. Update rnn-zoos.")
        return RawRuns(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(
            f"{directory} has no readable {INDEX} ({error}). Expected a directory raw/ZOO or carry/ZOO that "
            "generation/check_gpu.py wrote."
        ) from error


def pack_runs(trained: Sequence[TrainedRun], architecture: Architecture, snapshots: int, compress: bool) -> bytes:
    """Return the content of a file of runs: .npz with `weights`, or smaller with `planes`. See `unpack_runs`.

    Args:
        trained: R runs.
        architecture: Their architecture, with P parameters.
        snapshots: S, snapshots of a run that did not diverge.
        compress: Compress, without loss: the words of a snapshot XOR those of the one before, byte by byte.
    """
    weights = np.zeros((len(trained), snapshots, architecture.num_parameters), np.float32)
    for number, run in enumerate(trained):
        weights[number, : len(run.steps)] = flatten(architecture, run.weights).numpy()
    arrays: dict[str, npt.NDArray[Any]] = {
        "runs": np.array([astuple(run.run) for run in trained], RUN_FIELDS),
        "count": np.array([len(run.steps) for run in trained], np.int64),
        "diverged": np.array([run.diverged for run in trained], bool),
    }
    content = io.BytesIO()
    arrays |= {"planes": _to_planes(weights.view(np.uint32))} if compress else {"weights": weights}
    save = np.savez_compressed if compress else np.savez
    save(content, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the arrays for its other options
    return content.getvalue()


def unpack_runs(data: bytes, architecture: Architecture, snapshots: Sequence[int]) -> list[TrainedRun]:
    """Return the runs of a file, bit for bit. Inverse of `pack_runs`. Raises ValueError or KeyError for other data."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = dict(file)
    shape = (len(arrays["runs"]), len(snapshots), architecture.num_parameters)
    weights = arrays["weights"] if "weights" in arrays else _from_planes(arrays["planes"], shape).view(np.float32)
    if weights.shape != shape:
        raise ValueError(f"weights are {weights.shape}; expected {shape}")
    flat = torch.from_numpy(weights)
    columns = (arrays[name].tolist() for name in ("runs", "count", "diverged"))
    return [
        TrainedRun(
            Run(*run),
            tuple(snapshots[:count]),
            unflatten(architecture, flat[number, :count]),
            diverged,
        )
        for number, (run, count, diverged) in enumerate(zip(*columns, strict=True))
    ]


def read_runs(
    directory: Path, raw: RawRuns, name: str, architecture: Architecture, snapshots: Sequence[int]
) -> list[TrainedRun]:
    """Return the runs of one file of `raw`. Raises IntegrityError if it is missing or damaged."""
    path, entry = directory / name, raw.files[name]
    if not path.is_file() or sha256_of(path) != entry["sha256"]:
        raise IntegrityError(f"{path} is missing or damaged. {_REMEDY}")
    try:
        return unpack_runs(path.read_bytes(), architecture, snapshots)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path} does not hold runs of these settings ({error}). {_REMEDY}") from error


def all_runs(
    directory: Path, raw: RawRuns, architecture: Architecture, snapshots: Sequence[int]
) -> Iterator[TrainedRun]:
    """Yield the runs of all files, in order; one file is in memory at a time. Raises IntegrityError."""
    for name in raw.files:
        yield from read_runs(directory, raw, name, architecture, snapshots)


def training_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the settings of a plan (`Plan.settings_data`) the weights of its runs depend on, as JSON data."""
    kept = {key: value for key, value in settings.items() if key not in ("runs", "runs_per_shard", "evaluation")}
    kept["learning_rate"] = {str(update): rate for update, rate in settings["learning_rate"].items()}
    return {"stratified_tasks": False, **dict(json.loads(json.dumps(kept)))}


def _to_planes(words: Words) -> npt.NDArray[np.uint8]:
    """Return words [R, S, P] XOR those of the snapshot before, as planes of bytes [4, R * S * P]."""
    changed = words.copy()
    changed[:, 1:] ^= words[:, :-1]
    return np.ascontiguousarray(changed.reshape(-1, 1).view(np.uint8).T)


def _from_planes(planes: npt.NDArray[np.uint8], shape: tuple[int, int, int]) -> Words:
    """Return words [R, S, P]. Inverse of `_to_planes`."""
    words = np.ascontiguousarray(planes.T).view(np.uint32).reshape(shape)
    for step in range(1, shape[1]):
        words[:, step] ^= words[:, step - 1]
    return words
