"""The list of trainers (backends): how to make one, which of them this machine can use, and which is the fastest."""

from __future__ import annotations

import torch

from rnn_zoos.errors import BackendError, UnknownNameError
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.trainers.trainer import Trainer
from rnn_zoos.networks.model import RecurrentNetwork

BACKENDS = ("native", "stacked", "triton", "loop")
CPU_BACKENDS = ("native", "stacked", "loop")


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
        BackendError: If the backend was not installed with rnn-zoos.
        DeviceError: If this machine does not have the device.

    Example:
        >>> from rnn_zoos.generation import make_trainer
        >>> trainer = make_trainer("stacked", device="cpu", runs_at_once=8)
        >>> trainer.runs_at_once
        8
    """
    if backend not in BACKENDS:
        raise UnknownNameError.among("backend", backend, ("auto", *BACKENDS))
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


def choose_backend(backend: str) -> tuple[str, str]:
    """Resolve the name of a backend, which may be "auto", and check that this machine can use it.

    Args:
        backend: A backend (see `make_trainer`), or "auto": "native", or "loop" where "native" was not built.

    Returns:
        The name of the backend, never "auto", and the reason for the choice in a few words.

    Raises:
        UnknownNameError: If there is no backend of this name.
        BackendError: If the backend was not installed with rnn-zoos.
        DeviceError: If the backend needs a GPU and this machine has none.

    Example:
        >>> from rnn_zoos.generation import choose_backend
        >>> backend, reason = choose_backend("auto")
    """
    if backend != "auto":
        make_trainer(backend)
        return backend, "as requested"
    try:
        make_trainer("native")
    except BackendError:
        return "loop", "the native trainer was not built: no C++ compiler at installation"
    return "native", "the fastest on a CPU"


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


def backend_details(backend: str) -> dict[str, str]:
    """Return properties of this machine on which the bits of a backend's results depend, by name."""
    if backend != "native":
        return {}
    from rnn_zoos.generation.trainers.native.trainer import instruction_sets

    return {"instruction set": instruction_sets()[0]}
