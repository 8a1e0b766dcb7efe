"""MNIST digits: loaded from the Hub, from a directory, or from the 5,000 digits that this package contains.

Origin: "The MNIST database of handwritten digits", Yann LeCun, Corinna Cortes and Christopher J. C. Burges, 1998, after
NIST Special Databases 1 and 3. LeCun and Cortes hold its copyright; it is distributed under Creative Commons
Attribution-Share Alike 3.0. `mnist-5000.npz` is an unchanged part of it under the same terms; it was written by
`python -m rnn_zoos.families.embed_digits`.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
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
"""`Digits.sha256` of the full set. It detects damaged downloads and other data sets of the same sizes."""
EMBEDDED_TRAINING_PER_CLASS, EMBEDDED_OTHERS_PER_CLASS = 400, 100
"""Embedded digits of each class: training digits, and validation and test digits together."""
EMBEDDED_FILE = Path(__file__).with_name("mnist-5000.npz")
_IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_TRAINING_SALT, _EMBEDDED_SALT, _TEST_SALT, _ORDER_SALT = 2, 3, 4, 5

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """N digits, divided into training, validation and test digits.

    Attributes:
        images: uint8 [N, 785]: 784 pixels, line by line, and a black one (see `rnn_zoos.families.rotation`).
        labels: Classes 0..9, int64 [N].
        numbers: Number of each digit in MNIST, int64 [N], ascending: 0..59,999 are MNIST's training digits, 60,000 and
            up its test digits.
        train: Positions of the training digits in these arrays, int64, ascending.
        validation: Positions of the validation digits. The three parts do not overlap.
        test: Positions of the test digits.
    """

    images: Tensor
    labels: Tensor
    numbers: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor

    @cached_property
    def sha256(self) -> str:
        """Hash of everything that training and evaluation read; equal for the Hub's copy and the IDX files."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels, self.numbers, self.train, self.validation, self.test):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def fixed_train(self) -> Tensor:
        """`train` in a fixed shuffled order: every run is evaluated on the first n of these training digits."""
        return self.train[torch.argsort(fixed_hash(self.numbers[self.train], _ORDER_SALT), stable=True)]


def is_training(numbers: Tensor) -> Tensor:
    """Tell which of MNIST's training digits [N] are training digits here: 48,000 of the 60,000, by a fixed hash.

    The other 12,000 are validation digits.
    """
    order = torch.argsort(fixed_hash(torch.arange(NUM_TRAIN), _TRAINING_SALT), stable=True)
    chosen = torch.zeros(NUM_TRAIN, dtype=torch.bool)
    chosen[order[: NUM_TRAIN * 4 // 5]] = True
    return chosen[numbers]


def choose_embedded(labels: Tensor) -> Tensor:
    """Return the numbers of the 5,000 embedded digits, ascending, given the labels of all 60,000.

    Of each class they are the 400 training digits and the 100 other digits with the smallest fixed hash.
    """
    order = torch.argsort(fixed_hash(torch.arange(NUM_TRAIN), _EMBEDDED_SALT), stable=True)
    training = is_training(order)
    chosen = []
    for digit in range(10):
        of_class = labels[order] == digit
        chosen.append(order[of_class & training][:EMBEDDED_TRAINING_PER_CLASS])
        chosen.append(order[of_class & ~training][:EMBEDDED_OTHERS_PER_CLASS])
    return torch.cat(chosen).sort().values


def load_digits(source: str) -> Digits:
    """Load digits; the last source is cached.

    Args:
        source: `embedded`, `hub`, or a directory with the four IDX files of MNIST (.gz or not).

    Returns:
        For `hub` and a directory: 48,000 training, 12,000 validation and 10,000 test digits. For `embedded`: 4,000
        training, 500 validation and 500 test digits. All of these are from MNIST's training set, and the training
        digits are training digits of the full set, too.

    Raises:
        DigitsError: The digits are missing, unreachable, damaged or not MNIST.
        MissingExtraError: The package that decodes the Hub's images is not installed.
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
            f"{MNIST_SHA256}). Download the MNIST files again, or use --mnist embedded (5,000 digits)."
        )
    return digits


def _embedded() -> Digits:
    with np.load(EMBEDDED_FILE, allow_pickle=False) as file:
        images, labels, numbers = file["images"], file["labels"], torch.from_numpy(file["numbers"].astype(np.int64))
    training = is_training(numbers)
    others = torch.nonzero(~training).flatten()
    others = others[torch.argsort(fixed_hash(numbers[others], _TEST_SALT), stable=True)]
    validation, test = (part.sort().values for part in others.chunk(2))
    return _digits(images, labels, numbers, torch.nonzero(training).flatten(), validation, test)


def _full(train_images: Bytes, train_labels: Bytes, test_images: Bytes, test_labels: Bytes) -> Digits:
    numbers = torch.arange(NUM_TRAIN + NUM_TEST)
    training = is_training(numbers[:NUM_TRAIN])
    return _digits(
        np.concatenate([train_images, test_images]),
        np.concatenate([train_labels, test_labels]),
        numbers,
        numbers[:NUM_TRAIN][training],
        numbers[:NUM_TRAIN][~training],
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
                f"{directory} contains images {images.shape} and labels {labels.shape}; expected "
                f"({count}, {SIDE}, {SIDE}) and ({count},), labels 0 to 9. Download the MNIST files again."
            )
    return train_images, train_labels, test_images, test_labels


def _find(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise DigitsError(
        f"{directory} has no {name} or {name}.gz; expected the four MNIST files {', '.join(_IDX_NAMES)}. "
        "Give --mnist the directory that contains them, or use --mnist embedded (5,000 digits, no download)."
    )


def _read_idx(path: Path) -> Bytes:
    """Read an IDX file of unsigned bytes: magic number 0 0 8 ndim, big-endian sizes, data."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DigitsError(f"{path} is damaged ({error}). Download the file again.") from error
    except OSError as error:
        raise DigitsError(f"{path} cannot be read: {error.strerror}. Fix its permissions, or the disk.") from error
    ndim = data[3] if len(data) >= 4 and data[:3] == b"\0\0\x08" else 0
    sizes = data[4 : 4 + 4 * ndim]
    shape = [int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4)]
    if not 1 <= ndim <= 3 or len(sizes) != 4 * ndim or len(data) != 4 + 4 * ndim + prod(shape):
        raise DigitsError(
            f"{path} is not an IDX file of unsigned bytes, or is truncated ({len(data)} bytes). Download it again."
        )
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * ndim).reshape(shape)


def _from_hub() -> tuple[Bytes, Bytes, Bytes, Bytes]:
    try:
        import PIL.Image  # noqa: F401 - `datasets` decodes the Hub's PNG images with it
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
            "network connection and the space on the disk, give --mnist a directory with the four IDX files, or use "
            "--mnist embedded (5,000 digits)."
        ) from error
    arrays = []
    for part in parts:
        columns = part.with_format("numpy")
        arrays += [np.stack([np.asarray(image) for image in columns["image"]]), np.asarray(columns["label"])]
    return arrays[0], arrays[1], arrays[2], arrays[3]
