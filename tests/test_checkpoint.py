"""A checkpoint is whole or refused, holds no objects, and a failed save harms nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from kernels.measure.results import TranscriptLine
from rnn import checkpoint
from rnn.settings import Settings

HEADER = checkpoint.Header(
    schema=checkpoint.SCHEMA,
    step=7,
    settings=Settings(hidden=3, seed=5),
    kernel="cpu-blas",
    engine="stepwise",
    data="digest",
    transcript=[TranscriptLine(1, 2.5, 0.25)],
)
ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "adam_steps": np.array(7)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run.npz"
    checkpoint.save(path, HEADER, ARRAYS)
    return path


def test_round_trip(saved: Path) -> None:
    found = checkpoint.load(saved)
    assert found.header == HEADER
    target = {name: np.zeros_like(array) for name, array in ARRAYS.items()}
    found.restore(target, saved)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(target[name], array)
    assert [path.name for path in saved.parent.iterdir()] == ["run.npz"]


def test_cut_short_anywhere(saved: Path) -> None:
    content = saved.read_bytes()
    for keep in range(len(content)):
        saved.write_bytes(content[:keep])
        with pytest.raises(checkpoint.CheckpointError, match=r"run\.npz"):
            checkpoint.load(saved)


def test_a_flipped_bit_in_any_array_is_found(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    where = content.index(ARRAYS["w"].tobytes())
    content[where + 5] ^= 16
    saved.write_bytes(content)
    with pytest.raises(checkpoint.CheckpointError, match="damaged"):
        checkpoint.load(saved)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(saved: Path) -> None:
    """Not every byte of a zip file counts (dates, for one), so some flips may go unnoticed."""
    content = saved.read_bytes()
    refused = 0
    for at in range(len(content)):
        saved.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        target = {name: np.zeros_like(array) for name, array in ARRAYS.items()}
        try:
            found = checkpoint.load(saved)
            found.restore(target, saved)
        except checkpoint.CheckpointError:
            refused += 1
            continue
        assert found.header == HEADER, at
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(target[name], array, err_msg=f"byte {at}")
    assert refused > len(content) / 2


def test_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(checkpoint.CheckpointError, match=r"objects\.npz"):
        checkpoint.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    array, other, text = tmp_path / "array.npy", tmp_path / "other.npz", tmp_path / "text.npz"
    np.save(array, np.ones(3))
    np.savez(other, w=np.ones(3))
    text.write_text("hello")
    for path in (array, other, text):
        with pytest.raises(checkpoint.CheckpointError, match=path.name) as refused:
            checkpoint.load(path)
        assert "allow_pickle" not in str(refused.value)  # NumPy's advice, which is unsafe
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint"):
        checkpoint.load(tmp_path / "missing.npz")
    with pytest.raises(checkpoint.CheckpointError, match="cannot read"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("version", [checkpoint.SCHEMA - 1, checkpoint.SCHEMA + 1, 99])
def test_another_version_is_refused(version: int, tmp_path: Path) -> None:
    import msgspec

    path = tmp_path / "old.npz"
    checkpoint.save(path, msgspec.structs.replace(HEADER, schema=version), ARRAYS)
    with pytest.raises(checkpoint.CheckpointError, match=f"version {version}"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"w": np.zeros((3, 3), np.float32)}, r"\(2, 3\).*\(3, 3\)"),
        ({"w": np.zeros((2, 3))}, "float32.*float64"),
        ({"v": np.zeros(3)}, "holds no v"),
    ],
)
def test_another_network_is_refused(saved: Path, target: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(checkpoint.CheckpointError, match=says):
        checkpoint.load(saved).restore(target, saved)


def test_a_full_disk_leaves_the_checkpoint_before(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(saved, HEADER, {"w": np.zeros(10)})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["run.npz"]
