"""The list of trainers (backends): how to make one, which of them this machine can use, and which is the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from rnn_zoos.errors import BackendError, DeviceError, UnknownNameError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.trainers.gpu import gpu_details
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.native.limits import unsupported as unsupported_by_native
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.trainers.trainer import Trainer, TrainingSettings
from rnn_zoos.generation.trainers.triton.shape import unsupported as unsupported_by_triton
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork

BACKENDS = ("native", "stacked", "triton", "loop")
CPU_BACKENDS = ("native", "stacked", "loop")
GPU_BACKENDS = ("triton", "stacked")


def make_trainer(backend: str, device: str | None = None, runs_at_once: int | None = None) -> Trainer:
    """Return the trainer of a backend.

    Args:
        backend: "native" (C++, one run per core), "stacked" (torch, many runs at once), "triton" (NVIDIA GPUs, many
            runs at once) or "loop" (the reference implementation).
        device: The torch device of "stacked" and "triton"; by default the first GPU, and for "stacked" the CPU if
            there is no GPU. The other backends ignore it.
        runs_at_once: How many runs "stacked" and "triton" train at once; by default what suits the device. The other
            backends ignore it.

    Returns:
        A trainer that is ready to use.

    Raises:
        UnknownNameError: If there is no backend of this name.
        BackendError: If the backend was not installed with rnn-zoos, or `runs_at_once` is below 1.
        DeviceError: If this machine does not have the device.

    Example:
        >>> from rnn_zoos.generation import make_trainer
        >>> trainer = make_trainer("stacked", device="cpu", runs_at_once=8)
        >>> trainer.runs_at_once
        8
    """
    if backend not in BACKENDS:
        raise UnknownNameError.among("backend", backend, BACKENDS)
    if runs_at_once is not None and runs_at_once < 1:
        raise BackendError(f"runs_at_once is {runs_at_once}; expected at least 1, or None: what suits the device.")
    if backend == "loop":
        return LoopTrainer()
    if backend == "stacked":
        return StackedTrainer(device, runs_at_once)
    return _triton(device, runs_at_once) if backend == "triton" else _native()


def _native() -> Trainer:
    try:
        from rnn_zoos.generation.trainers.native.trainer import NativeTrainer
    except ImportError as error:
        raise BackendError(
            "Backend 'native' was not built: pip found no C++ compiler (g++ or clang++) when it installed rnn-zoos. "
            f"Install one and reinstall rnn-zoos, or use --backend loop. ({error})"
        ) from error
    return NativeTrainer()


def _triton(device: str | None, runs_at_once: int | None) -> Trainer:
    try:
        from rnn_zoos.generation.trainers.triton.trainer import TritonTrainer
    except ImportError as error:
        raise BackendError(
            "Backend 'triton' needs the package triton, for Linux and NVIDIA GPUs. Install it with: "
            f"pip install 'rnn-zoos[gpu]', or use --backend native, stacked or loop. ({error})"
        ) from error
    return TritonTrainer(device, runs_at_once)


def choose_backend(
    backend: str, architecture: Architecture | None = None, devices: Sequence[str] = ()
) -> tuple[str, str]:
    """Resolve the name of a backend, which may be "auto", and check that this machine can use it.

    Args:
        backend: A backend (see `make_trainer`), or "auto": "native", or "loop" where "native" was not built or does not
            support the architecture. With `devices`, "auto" is "triton", or "stacked" where "triton" cannot be used.
        architecture: The architecture of the networks, if known: "native" and "triton" do not support all sizes.
        devices: The GPUs that the user asked for, such as "cuda:0".

    Returns:
        The name of the backend, never "auto", and the reason for the choice in a few words.

    Raises:
        UnknownNameError: If there is no backend of this name.
        BackendError: If the backend was not installed with rnn-zoos, does not support the architecture, or trains on
            the CPU although there are `devices`.
        DeviceError: If the backend needs a GPU and this machine has none, or not one of the `devices`.

    Example:
        >>> from rnn_zoos.generation import choose_backend
        >>> backend, reason = choose_backend("auto")
    """
    if backend not in ("auto", *BACKENDS):
        raise UnknownNameError.among("backend", backend, ("auto", *BACKENDS))
    if backend != "auto":
        check_architecture(backend, architecture)
        make_trainer(backend)
        check_devices(backend, devices)
        return backend, "as requested"
    if devices:
        return _choose_for_devices(architecture, devices)
    problem = None if architecture is None else unsupported_by_native(architecture)
    if problem is not None:
        return "loop", f"native {problem}"
    try:
        make_trainer("native")
    except BackendError:
        return "loop", "the native trainer was not built: no C++ compiler at installation"
    return "native", "the fastest on a CPU"


def _choose_for_devices(architecture: Architecture | None, devices: Sequence[str]) -> tuple[str, str]:
    """Return "triton", or "stacked" and why not "triton". Raises DeviceError if a device does not exist."""
    reason = None if architecture is None else unsupported_by_triton(architecture)
    problem = _problem_of_triton(devices) if reason is None else f"triton {reason}"
    if problem is None:
        return "triton", f"whole updates in one launch on {', '.join(devices)}"
    for device in devices:
        make_trainer("stacked", device)
    return "stacked", problem


def _problem_of_triton(devices: Sequence[str]) -> str | None:
    """Return why "triton" cannot be used on some devices; None if it can."""
    try:
        for device in devices:
            make_trainer("triton", device)
    except (BackendError, DeviceError) as error:
        return str(error).removesuffix(".")
    return None


def check_architecture(backend: str, architecture: Architecture | None) -> None:
    """Raise BackendError if a backend does not support an architecture; None is one that is not known yet."""
    limits = {"native": (unsupported_by_native, "loop"), "triton": (unsupported_by_triton, "stacked")}
    if backend not in limits or architecture is None:
        return
    unsupported, other = limits[backend]
    if (problem := unsupported(architecture)) is not None:
        raise BackendError(f"Backend {backend!r} {problem}. Use smaller networks, or --backend {other}.")


def check_devices(backend: str, devices: Sequence[str]) -> None:
    """Raise BackendError if there are devices and a backend cannot use any, DeviceError if one does not exist."""
    if devices and backend not in GPU_BACKENDS:
        raise BackendError(
            f"Backend {backend!r} trains on the CPU and cannot use {', '.join(devices)}. Leave out --device, or use "
            f"--backend {' or '.join(GPU_BACKENDS)}."
        )
    for device in devices:
        make_trainer(backend, device)


def best_runs_at_once(
    backend: str, family: TaskFamily, settings: TrainingSettings, device: str | None = None
) -> int | None:
    """Return how many runs of a zoo a device trains best together; None if one process per core is better.

    Args:
        backend: A backend, see `make_trainer`.
        family: The task family of the zoo.
        settings: Its settings.
        device: As in `make_trainer`.

    Raises:
        BackendError: If the backend was not installed, or does not support these sizes.
        DeviceError: If this machine does not have the device.
    """
    trainer = make_trainer(backend, device)
    return trainer.best_runs_at_once(family, settings) if isinstance(trainer, _FillsDevices) else trainer.runs_at_once


@runtime_checkable
class _FillsDevices(Protocol):
    """A trainer whose best number of runs depends on the sizes of a zoo."""

    def best_runs_at_once(self, family: TaskFamily, settings: TrainingSettings) -> int | None: ...


def training_devices(backend: str) -> tuple[str, ...]:
    """Return the GPUs of this machine if the backend trains many runs at once; none if it uses a process per core."""
    if make_trainer(backend).runs_at_once is None:
        return ()
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def network_type(backend: str) -> type[RecurrentNetwork]:
    """Return the class of the networks with which the snapshots of a backend are evaluated."""
    if backend != "native":
        return RecurrentNetwork
    from rnn_zoos.generation.trainers.native.trainer import NativeNetwork

    return NativeNetwork


def backend_details(backend: str, device: str | None = None) -> dict[str, str]:
    """Return properties of this machine on which the bits of a backend's results depend, by name.

    `device` is that of a backend for GPUs, as in `make_trainer`.
    """
    if backend in GPU_BACKENDS:
        return gpu_details(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    if backend != "native":
        return {}
    from rnn_zoos.generation.trainers.native.trainer import instruction_sets

    return {"instruction set": instruction_sets()[0]}
