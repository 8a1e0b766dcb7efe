"""Loading MNIST digits from every source, their division into parts, and errors about bad files."""

import gzip
import shutil
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

import rnn_zoos.families.digits as digits_module
from rnn_zoos.errors import DigitsError
from rnn_zoos.families.digits import EMBEDDED_FILE, choose_embedded, is_training, load_digits

IDX = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Arrays with the sizes of MNIST, filled with repeated embedded digits."""
    embedded = load_digits("embedded")
    images, labels = embedded.images[:, :784].view(-1, 28, 28).numpy(), embedded.labels.numpy().astype(np.uint8)
    source = {3: images, 1: labels}
    return {name: np.resize(source[len(shape)], shape) for name, shape in IDX.items()}


@pytest.fixture
def mnist(tmp_path: Path, arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with these arrays as IDX files; the expected hash is patched so that they count as MNIST."""
    monkeypatch.setattr(digits_module, "MNIST_SHA256", digits_module._full(*arrays.values()).sha256)
    for name, array in arrays.items():
        (tmp_path / name).write_bytes(idx_bytes(array))
    return tmp_path


def test_embedded_digits_are_real_balanced_and_divided_into_three_parts():
    digits = load_digits("embedded")
    assert EMBEDDED_FILE.stat().st_size < 1_500_000
    assert digits.images.shape == (5000, 785) and not digits.images[:, -1].any()
    assert Counter(digits.labels.tolist()) == dict.fromkeys(range(10), 500)
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (4000, 500, 500)
    everything = torch.cat([digits.train, digits.validation, digits.test])
    assert torch.equal(everything.sort().values, torch.arange(5000))
    assert is_training(digits.numbers[digits.train]).all() and not is_training(digits.numbers[digits.validation]).any()
    assert Counter(digits.labels[digits.train].tolist()) == dict.fromkeys(range(10), 400)
    pixels = digits.images[:, :784].float() / 255
    assert abs(pixels.mean().item() - 0.1307) < 0.003 and abs(pixels.std().item() - 0.3081) < 0.003
    nearest = torch.cdist(pixels[digits.test], pixels[digits.train]).argmin(dim=1)
    assert (digits.labels[digits.train][nearest] == digits.labels[digits.test]).float().mean() > 0.9


def test_the_choice_of_embedded_digits_is_balanced_and_80_percent_are_training_digits():
    labels = torch.arange(60_000) % 10
    chosen = choose_embedded(labels)
    assert len(chosen.unique()) == 5000
    assert torch.bincount(labels[chosen[is_training(chosen)]]).tolist() == [400] * 10
    assert is_training(torch.arange(60_000)).sum() == 48_000


@pytest.mark.parametrize("packed", [False, True])
def test_a_directory_of_idx_files_is_read(mnist, arrays, packed):
    if packed:
        for name in IDX:
            (mnist / f"{name}.gz").write_bytes(gzip.compress((mnist / name).read_bytes(), 1))
            (mnist / name).unlink()
    digits = load_digits(str(mnist))
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (48_000, 12_000, 10_000)
    assert digits.test.min() == 60_000 and digits.numbers.tolist() == list(range(70_000))
    assert np.array_equal(digits.images[60_007, :784].view(28, 28), arrays["t10k-images-idx3-ubyte"][7])
    assert digits.labels[59_999] == arrays["train-labels-idx1-ubyte"][-1]
    assert sorted(digits.fixed_train.tolist()) == digits.train.tolist() and not torch.equal(
        digits.fixed_train, digits.train
    )


def test_missing_and_damaged_files_are_named(mnist):
    shutil.move(mnist / "t10k-labels-idx1-ubyte", mnist / "moved")
    with pytest.raises(DigitsError, match=r"no t10k-labels-idx1-ubyte or .*--mnist embedded"):
        load_digits(str(mnist))
    shutil.move(mnist / "moved", mnist / "t10k-labels-idx1-ubyte")
    images = mnist / "train-images-idx3-ubyte"
    data = images.read_bytes()
    in_header = [data[:end] for end in (1, 4, 5, 8, 14, 16)]
    for wrong in (data[:-1], b"<html>not here</html>", b"", *in_header):
        images.write_bytes(wrong)
        with pytest.raises(DigitsError, match="train-images-idx3-ubyte is not an IDX file"):
            load_digits(str(mnist))
    (mnist / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(data, 1)[:-100])
    images.unlink()
    with pytest.raises(DigitsError, match=r"idx3-ubyte.gz is damaged .*Download the file again"):
        load_digits(str(mnist))
    with pytest.raises(DigitsError, match="has no train-images"):
        load_digits(str(mnist / "nowhere"))


def test_digits_that_cannot_be_read_are_not_called_damaged(mnist, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(DigitsError, match="idx3-ubyte cannot be read: Permission denied. Fix its permissions"):
        load_digits(mnist)


def test_another_data_set_of_the_same_sizes_is_rejected(mnist, arrays):
    """Fashion-MNIST, for example, has the file names and sizes of MNIST."""
    (mnist / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(255 - arrays["t10k-images-idx3-ubyte"]))
    with pytest.raises(DigitsError, match="have the sizes of MNIST, but are not MNIST"):
        load_digits(str(mnist))


def test_too_few_images_are_rejected(mnist, arrays):
    (mnist / "train-images-idx3-ubyte").write_bytes(idx_bytes(arrays["train-images-idx3-ubyte"][:100]))
    with pytest.raises(DigitsError, match=r"contains images \(100, 28, 28\)"):
        load_digits(str(mnist))


def test_an_unreachable_hub_is_explained():
    """conftest.py sets HF_HUB_OFFLINE, which fails like a machine without a network, but at once."""
    with pytest.raises(DigitsError, match=r"ylecun/mnist.*--mnist embedded"):
        load_digits("hub")


@pytest.mark.long
def test_the_hubs_copy_and_the_idx_files_give_the_same_digits(mnist, arrays, monkeypatch):
    """Tests cannot reach the Hub: a data set of PNG images like the Hub's is made here and decoded by `datasets`."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})

    def hub(name: str, split: str) -> datasets.Dataset:
        assert name == "ylecun/mnist"
        part = {"train": "train", "test": "t10k"}[split]
        labels = arrays[f"{part}-labels-idx1-ubyte"]
        columns = {"image": list(arrays[f"{part}-images-idx3-ubyte"]), "label": labels.tolist()}
        return datasets.Dataset.from_dict(columns, features=features)

    from_files = load_digits(str(mnist))
    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert load_digits("hub").sha256 == from_files.sha256
    assert load_digits("embedded").sha256 != from_files.sha256
