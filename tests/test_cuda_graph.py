"""Work captured as a CUDA graph."""

import gc

import pytest
import torch

from rnn_zoos.cuda_graph import WARM_UP, capture_graph, side_stream

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_a_graph_repeats_the_work_and_capturing_does_not_do_it():
    total = torch.zeros(3, device="cuda")

    def work() -> None:
        total.add_(1)

    with side_stream("cuda"):
        for _ in range(WARM_UP):
            work()
    graph = capture_graph(work, "cuda")
    assert total.tolist() == [3, 3, 3] and gc.isenabled()
    graph.replay()
    graph.replay()
    assert total.tolist() == [5, 5, 5]
