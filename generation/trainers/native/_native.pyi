from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

def instruction_sets() -> list[str]: ...
def apply(function: str, instruction_set: str, values: Floats) -> Floats: ...

class AdamW:
    def __init__(self, weight_decay: float, beta1: float, beta2: float, epsilon: float) -> None: ...

class Trainee:
    def __init__(
        self,
        cell: str,
        layers: int,
        inputs: int,
        hidden: int,
        outputs: int,
        batch: int,
        steps: int,
        instruction_set: str,
    ) -> None: ...
    def set_weights(self, flat: Floats) -> None: ...
    def weights(self) -> Floats: ...
    def gradients(self) -> Floats: ...
    def train_symbols(self, symbols: npt.NDArray[Any], rates: Sequence[float], adamw: AdamW) -> list[float]: ...
    def train_images(
        self,
        chosen: npt.NDArray[Any],
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        table: npt.NDArray[Any],
        brightness: Floats,
        rates: Sequence[float],
        adamw: AdamW,
    ) -> list[float]: ...
    def measure_images(
        self,
        chosen: npt.NDArray[Any],
        images: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        table: npt.NDArray[Any],
        brightness: Floats,
    ) -> tuple[float, int]: ...
    def train_dense(
        self, inputs: Floats, targets: npt.NDArray[Any], rates: Sequence[float], adamw: AdamW
    ) -> list[float]: ...
    def predict(self, inputs: Floats) -> Floats: ...
    @property
    def bytes(self) -> int: ...
