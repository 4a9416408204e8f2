"""Small data sets in MNIST's file format, for tests of what reads them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

NAMES = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "t10k-images": "t10k-images-idx3-ubyte",
    "t10k-labels": "t10k-labels-idx1-ubyte",
}


def encode(numbers: np.ndarray) -> bytes:
    """numbers (uint8) as an idx file."""
    header = bytes([0, 0, 8, numbers.ndim]) + b"".join(size.to_bytes(4, "big") for size in numbers.shape)
    return header + numbers.astype(np.uint8).tobytes()


def contents(train: int = 600, test: int = 200, seed: int = 0) -> dict[str, bytes]:
    """The four files of images that can be told apart: a bright row at the height of the digit."""
    random = np.random.default_rng(seed)
    files = {}
    for part, count in (("train", train), ("t10k", test)):
        labels = random.integers(0, 10, count)
        images = random.integers(0, 60, (count, 28, 28))
        images[np.arange(count), 4 + 2 * labels] = 250
        files[f"{part}-images"], files[f"{part}-labels"] = encode(images), encode(labels)
    return files


def write(folder: Path, files: dict[str, bytes], *, dotted: bool = False, packed: bool = False) -> Path:
    """Put the files into the folder, raw or .gz, named with a dash or a dot before idx."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        file = NAMES[name].replace("-idx", ".idx") if dotted else NAMES[name]
        if packed:
            (folder / f"{file}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (folder / file).write_bytes(content)
    return folder
