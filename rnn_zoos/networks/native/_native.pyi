from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

def instruction_sets() -> list[str]: ...

class Stack:
    def __init__(self, cell: str, layers: int, parameters: Sequence[Floats], instruction_set: str) -> None: ...
    def tape_size(self, batch: int, steps: int) -> int: ...
    def forward(
        self,
        inputs: Floats,
        hidden: Floats | None,
        cell: Floats | None,
        outputs: Floats,
        last_hidden: Floats,
        last_cell: Floats | None,
        tape: Floats | None,
    ) -> None: ...
    def backward(
        self,
        inputs: Floats,
        tape: Floats,
        d_outputs: Floats,
        d_hidden: Floats | None,
        d_cell: Floats | None,
        d_inputs: Floats | None,
        d_initial_hidden: Floats | None,
        d_initial_cell: Floats | None,
        parameters: bool,
    ) -> None: ...
    def take_gradients(self, gradients: Sequence[Floats]) -> None: ...
