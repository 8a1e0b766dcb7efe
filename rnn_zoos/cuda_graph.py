"""Work on a GPU captured once and replayed as a CUDA graph: one launch in place of thousands."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

WARM_UP = 3
"""How often work has to be done on a side stream before it is captured: libraries reserve their memory then."""


@contextmanager
def side_stream(device: torch.device | str) -> Iterator[None]:
    """Work on a side stream of a GPU, where warm-ups belong; the stream before and the stream after wait for it."""
    with torch.cuda.device(device):
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            yield
        current.wait_stream(side)


def capture_graph(work: Callable[[], None], device: torch.device | str) -> torch.cuda.CUDAGraph:
    """Return work on a GPU as a graph; capturing does not do the work.

    The work must not wait for the GPU, nor copy from the host, and must read and write tensors at fixed places. It was
    done before, see `WARM_UP`.

    Args:
        work: The work.
        device: The GPU.

    Returns:
        The graph, whose `replay` does the work.
    """
    graph = torch.cuda.CUDAGraph()
    # A graph of earlier work that is freed while another is captured would end the capture with an error.
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        with torch.cuda.device(device), torch.cuda.graph(graph):
            work()
    finally:
        if collecting:
            gc.enable()
    return graph
