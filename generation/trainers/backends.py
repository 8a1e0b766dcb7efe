"""The trainers that there are, which of them this machine can use, and which is the fastest."""

from __future__ import annotations

import torch

from rnn_zoos.errors import BackendError, UnknownNameError
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.trainers.trainer import Trainer
from rnn_zoos.networks.model import RecurrentNetwork

BACKENDS = ("native", "stacked", "triton", "loop")
CPU_BACKENDS = ("native", "stacked", "loop")


def make_trainer(backend: str, device: str | None = None, at_once: int | None = None) -> Trainer:
    """Return the trainer of a backend; `device` and `at_once` are for those that train many runs at once.

    Raises UnknownNameError, BackendError if it was not installed with rnn-zoos, DeviceError if its GPU is not here.
    """
    if backend not in BACKENDS:
        raise UnknownNameError.among("backend", backend, ("auto", *BACKENDS))
    if backend == "loop":
        return LoopTrainer()
    if backend == "stacked":
        return StackedTrainer(device, at_once)
    return _triton(device, at_once) if backend == "triton" else _native()


def _native() -> Trainer:
    try:
        from rnn_zoos.generation.trainers.native.trainer import NativeTrainer
    except ImportError as error:
        raise BackendError(
            "Backend 'native' was not built: pip found no C++ compiler (g++ or clang++) when it installed rnn-zoos. "
            f"Install one and install rnn-zoos again, or use --backend loop. ({error})"
        ) from error
    return NativeTrainer()


def _triton(device: str | None, at_once: int | None) -> Trainer:
    try:
        from rnn_zoos.generation.trainers.triton.trainer import TritonTrainer
    except ImportError as error:
        raise BackendError(
            "Backend 'triton' needs the package triton, for Linux and NVIDIA GPUs. Install it with: "
            f"pip install 'rnn-zoos[gpu]', or use --backend native, stacked or loop. ({error})"
        ) from error
    return TritonTrainer(device, at_once)


def choose_backend(backend: str) -> tuple[str, str]:
    """Return the backend that is meant, and why in a few words. Raises as `make_trainer` does."""
    if backend != "auto":
        make_trainer(backend)
        return backend, "as asked for"
    try:
        make_trainer("native")
    except BackendError:
        return "loop", "the native trainer was not built: no C++ compiler at installation"
    return "native", "the fastest on a CPU"


def training_devices(backend: str) -> tuple[str, ...]:
    """Return the devices on which a backend trains many runs at once here: GPUs, or none if it is one for cores."""
    if make_trainer(backend).at_once is None:
        return ()
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def network_type(backend: str) -> type[RecurrentNetwork]:
    """Return the class of network with which a backend's snapshots are measured."""
    if backend != "native":
        return RecurrentNetwork
    from rnn_zoos.generation.trainers.native.trainer import NativeNetwork

    return NativeNetwork


def backend_details(backend: str) -> dict[str, str]:
    """Return what else decides the bits of a backend's results on a machine."""
    if backend != "native":
        return {}
    from rnn_zoos.generation.trainers.native.trainer import instruction_sets

    return {"instruction set": instruction_sets()[0]}
