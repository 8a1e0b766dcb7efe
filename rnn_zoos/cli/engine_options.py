"""What the options of `generate` choose: the engine that distributes the work, and the backend that trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from rnn_zoos.errors import UnknownNameError

if TYPE_CHECKING:
    from rnn_zoos.generation.engines.engine import Engine
    from rnn_zoos.networks.architecture import Architecture


def backend_for_engine(
    backend: str, engine: str, architecture: Architecture, devices: Sequence[str]
) -> tuple[str, str]:
    """Return the backend to use, and why."""
    from rnn_zoos.generation.trainers.backends import BACKENDS, check_architecture, choose_backend

    if engine == "ray" and backend in BACKENDS:
        check_architecture(backend, architecture)
        return backend, "as requested"  # the cluster's nodes have to support it, not this machine
    return choose_backend(backend, architecture, devices if engine == "local" else ())


def backend_for_all(
    backend: str, engine: str, architectures: Sequence[Architecture], devices: Sequence[str]
) -> tuple[str, str]:
    """Return the backend to use for networks of all architectures, and why."""
    choices = [backend_for_engine(backend, engine, architecture, devices) for architecture in architectures]
    limited = ("native", "triton")  # chosen for one architecture, these may not support another
    return next((choice for choice in choices if choice[0] not in limited), choices[0])


@dataclass(frozen=True)
class EngineOptions:
    """The options of `generate` that select and configure the engine."""

    name: str
    workers: int | None
    address: str | None
    store: str | None
    device: list[str] | None
    at_once: int | None
    timeout: float

    def engine(self, backend: str) -> Engine:
        """Return the engine that trains with a backend.

        Raises UnknownNameError, or BadParameter for options that engine or backend do not have.
        """
        from rnn_zoos.generation.trainers.backends import GPU_BACKENDS

        if self.at_once is not None and backend not in GPU_BACKENDS:
            raise typer.BadParameter(
                f"only valid with --backend {' or '.join(GPU_BACKENDS)}; {backend} trains one run per process",
                param_hint="--at-once",
            )
        if self.name == "ray":
            return self._ray()
        if self.name != "local":
            raise UnknownNameError.among("engine", self.name, ("local", "ray"))
        return self._local()

    def _ray(self) -> Engine:
        from rnn_zoos.generation.engines.ray_engine import RayEngine
        from rnn_zoos.generation.writing.store import Store

        if self.device:
            raise typer.BadParameter("Ray assigns GPUs to its workers itself", param_hint="--device")
        store = None if self.store is None else Store(self.store)
        return RayEngine(self.address, self.workers, self.at_once, self.timeout, store)

    def _local(self) -> Engine:
        for option, value in (("--address", self.address), ("--store", self.store)):
            if value is not None:
                raise typer.BadParameter("only valid with --engine ray", param_hint=option)
        from rnn_zoos.generation.engines.local import LocalEngine

        return LocalEngine(self.workers, tuple(self.device) if self.device else None, self.at_once, self.timeout)
