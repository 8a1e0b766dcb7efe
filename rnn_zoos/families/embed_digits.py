"""Write the digits that the package contains: python -m rnn_zoos.families.embed_digits MNIST_DIRECTORY

It documents how `mnist-5000.npz` in this folder was made; there is no need to run it again.
"""

from __future__ import annotations

import sys

import numpy as np

from rnn_zoos.families.digits import EMBEDDED_FILE, NUM_TRAIN, choose_embedded, load_digits
from rnn_zoos.families.rotation import PIXELS


def main(directory: str) -> None:
    """Write images, labels and numbers of the 5,000 digits that `choose_embedded` selects from MNIST's training set."""
    digits = load_digits(directory)
    numbers = choose_embedded(digits.labels[:NUM_TRAIN])
    np.savez_compressed(
        EMBEDDED_FILE,
        images=digits.images[numbers, :PIXELS].numpy(),
        labels=digits.labels[numbers].to(dtype=digits.images.dtype).numpy(),
        numbers=numbers.numpy().astype(np.uint16),
    )
    print(f"{EMBEDDED_FILE}: {len(numbers)} digits, {EMBEDDED_FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
