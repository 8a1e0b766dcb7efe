"""Random shapes of networks, for comparing native code with its references."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

SEED = 20240531


@dataclass(frozen=True)
class Shape:
    """A network and its batch; `threads` do the same at once."""

    cell: str
    layers: int
    inputs: int
    hidden: int
    outputs: int
    batch: int
    steps: int
    networks: int
    threads: int


def random_shapes(count: int) -> Iterator[Shape]:
    """Yield shapes; the first are the deepest and the widest of every cell."""
    random = np.random.default_rng(SEED)
    largest = {
        "layers": 17,
        "inputs": 30,
        "hidden": 71,
        "outputs": 30,
        "batch": 10,
        "steps": 9,
        "networks": 4,
        "threads": 4,
    }
    for number in range(count):
        sizes = {name: int(random.integers(1, end)) for name, end in largest.items()}
        if number < 3:
            sizes |= {"layers": 16, "hidden": 70 - number}
        yield Shape(("lstm", "gru", "rnn")[number % 3], **sizes)


def in_threads(shape: Shape, function: Any) -> list[Any]:
    """Return the results of the function, called by as many threads at once as the shape has."""
    with ThreadPoolExecutor(shape.threads) as pool:
        return [future.result() for future in [pool.submit(function) for _ in range(shape.threads)]]
