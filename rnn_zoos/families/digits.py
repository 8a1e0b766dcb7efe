"""MNIST, from the Hub, from a directory, or the 5,000 digits inside this package.

Origin: "The MNIST database of handwritten digits", Yann LeCun, Corinna Cortes and Christopher J. C. Burges, 1998, after
NIST Special Databases 1 and 3. LeCun and Cortes hold its copyright; it is distributed under Creative Commons
Attribution-Share Alike 3.0. `mnist-5000.npz` is a part of it, unchanged, under the same terms; it was written by
`python -m rnn_zoos.families.embed_digits`.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn_zoos.errors import DigitsError, MissingExtraError
from rnn_zoos.families.rotation import PIXELS, SIDE
from rnn_zoos.randomness import fixed_hash

NUM_TRAIN, NUM_TEST = 60_000, 10_000
MNIST_SHA256 = "63389242bb9d73ea072becb83b056f804b50d509183abe56bc8af7bd94d80fcb"
"""`Digits.sha256` of the full set: the check of what was downloaded, and the end of Fashion-MNIST by mistake."""
EMBEDDED_PER_CLASS = {"fit": 400, "held_out": 100}
EMBEDDED_FILE = Path(__file__).with_name("mnist-5000.npz")
_IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_FIT_SALT, _EMBED_SALT, _TEST_SALT, _ORDER_SALT = 2, 3, 4, 5

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """N digits and the division that training respects.

    images uint8 [N, 785] (row by row; the last column is black, see `rnn_zoos.families.rotation`), labels int64 [N],
    numbers int64 [N] (place in MNIST: 0..59,999 its training digits, 60,000 on its test digits; ascending); fit,
    held_out and test are positions in these arrays, without overlap.
    """

    images: Tensor
    labels: Tensor
    numbers: Tensor
    fit: Tensor
    held_out: Tensor
    test: Tensor

    @cached_property
    def sha256(self) -> str:
        """Hash of all that training and evaluation read; the same for the Hub's copy and the IDX files."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels, self.numbers, self.fit, self.held_out, self.test):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def fixed_fit(self) -> Tensor:
        """`fit` in a fixed shuffled order: its first n are the fit digits that every run is measured on."""
        return self.fit[torch.argsort(fixed_hash(self.numbers[self.fit], _ORDER_SALT), stable=True)]


def is_fit(numbers: Tensor) -> Tensor:
    """Tell which MNIST training digits [N] are for fitting: the 48,000 of 60,000 with the smallest fixed hash."""
    order = torch.argsort(fixed_hash(torch.arange(NUM_TRAIN), _FIT_SALT), stable=True)
    chosen = torch.zeros(NUM_TRAIN, dtype=torch.bool)
    chosen[order[: NUM_TRAIN * 4 // 5]] = True
    return chosen[numbers]


def choose_embedded(labels: Tensor) -> Tensor:
    """Return the 5,000 numbers (sorted) of the embedded digits, given all 60,000 labels.

    Of each class the 400 fit digits and the 100 others with the smallest fixed hash.
    """
    order = torch.argsort(fixed_hash(torch.arange(NUM_TRAIN), _EMBED_SALT), stable=True)
    fit = is_fit(order)
    chosen = [
        order[(labels[order] == digit) & (fit == (part == "fit"))][:count]
        for digit in range(10)
        for part, count in EMBEDDED_PER_CLASS.items()
    ]
    return torch.cat(chosen).sort().values


def load_digits(source: str) -> Digits:
    """Load digits from `embedded`, `hub` or a directory with the four IDX files (.gz or not).

    The full set: 48,000 fit, 12,000 held-out and 10,000 test digits. Embedded: 4,000 fit, 500 held-out and 500 test
    digits, all from MNIST's training set (fit digits are fit digits of the full set). Raises DigitsError.
    """
    return _load_once("dir:" + str(Path(source).resolve()) if source not in ("embedded", "hub") else source)


@lru_cache(maxsize=1)
def _load_once(source: str) -> Digits:
    if source == "embedded":
        return _embedded()
    digits = _full(*(_from_hub() if source == "hub" else _from_directory(Path(source.removeprefix("dir:")))))
    if digits.sha256 != MNIST_SHA256:
        raise DigitsError(
            f"The digits of {source} have the sizes of MNIST, but are not MNIST (sha256 {digits.sha256}, expected "
            f"{MNIST_SHA256}). Fetch the MNIST files again, or use --mnist embedded (5,000 digits)."
        )
    return digits


def _embedded() -> Digits:
    with np.load(EMBEDDED_FILE, allow_pickle=False) as file:
        images, labels, numbers = file["images"], file["labels"], torch.from_numpy(file["numbers"].astype(np.int64))
    fit = is_fit(numbers)
    others = torch.nonzero(~fit).flatten()
    others = others[torch.argsort(fixed_hash(numbers[others], _TEST_SALT), stable=True)]
    held_out, test = (part.sort().values for part in others.chunk(2))
    return _digits(images, labels, numbers, torch.nonzero(fit).flatten(), held_out, test)


def _full(train_images: Bytes, train_labels: Bytes, test_images: Bytes, test_labels: Bytes) -> Digits:
    numbers = torch.arange(NUM_TRAIN + NUM_TEST)
    fit = is_fit(numbers[:NUM_TRAIN])
    return _digits(
        np.concatenate([train_images, test_images]),
        np.concatenate([train_labels, test_labels]),
        numbers,
        numbers[:NUM_TRAIN][fit],
        numbers[:NUM_TRAIN][~fit],
        numbers[NUM_TRAIN:],
    )


def _digits(images: Bytes, labels: Bytes, numbers: Tensor, *parts: Tensor) -> Digits:
    with_black = np.pad(images.reshape(len(images), PIXELS), ((0, 0), (0, 1)))
    return Digits(torch.from_numpy(with_black), torch.from_numpy(labels.astype(np.int64)), numbers, *parts)


def _from_directory(directory: Path) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    found = [_find(directory, name) for name in _IDX_NAMES]
    train_images, train_labels, test_images, test_labels = (_read_idx(path) for path in found)
    for (images, labels), count in (((train_images, train_labels), NUM_TRAIN), ((test_images, test_labels), NUM_TEST)):
        if images.shape != (count, SIDE, SIDE) or labels.shape != (count,) or labels.max() > 9:
            raise DigitsError(
                f"{directory} holds images {images.shape} and labels {labels.shape}; expected "
                f"({count}, {SIDE}, {SIDE}) and ({count},), labels 0 to 9. Fetch the MNIST files again."
            )
    return train_images, train_labels, test_images, test_labels


def _find(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise DigitsError(
        f"{directory} has no {name} or {name}.gz; expected the four MNIST files {', '.join(_IDX_NAMES)}. "
        "Give --mnist the directory that holds them, or use --mnist embedded (5,000 digits, no download)."
    )


def _read_idx(path: Path) -> Bytes:
    """Read an IDX file of unsigned bytes: magic 0 0 8 ndim, big-endian sizes, data."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DigitsError(f"{path} cannot be read ({error}). Fetch the file again.") from error
    ndim = data[3] if len(data) >= 4 and data[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(data[4 : 4 + 4 * ndim], dtype=">u4").astype(int)
    if not 1 <= ndim <= 3 or len(shape) != ndim or len(data) != 4 + 4 * ndim + shape.prod():
        raise DigitsError(f"{path} is not an IDX file of bytes, or is cut short ({len(data)} bytes). Fetch it again.")
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * ndim).reshape(shape)


def _from_hub() -> tuple[Bytes, Bytes, Bytes, Bytes]:
    try:
        import PIL.Image  # noqa: F401 - `datasets` decodes the Hub's PNG digits with it
    except ImportError as error:
        raise MissingExtraError.of("generation", error) from error
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    try:
        parts = [datasets.load_dataset("ylecun/mnist", split=split) for split in ("train", "test")]
    except (
        OSError,
        HfHubHTTPError,
        datasets.exceptions.DatasetsError,
        datasets.exceptions.DatasetNotFoundError,
    ) as error:
        raise DigitsError(
            f"MNIST could not be loaded from the Hub as ylecun/mnist ({type(error).__name__}: {error}). Check the "
            "network, give --mnist a directory with the four IDX files, or use --mnist embedded (5,000 digits)."
        ) from error
    arrays = []
    for part in parts:
        columns = part.with_format("numpy")
        arrays += [np.stack([np.asarray(image) for image in columns["image"]]), np.asarray(columns["label"])]
    return arrays[0], arrays[1], arrays[2], arrays[3]
