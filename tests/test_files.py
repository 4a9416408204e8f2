"""What is written is whole, or the old file stays; what cannot be written is found beforehand."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO

import pytest

from kernels.measure import files


@pytest.mark.parametrize("before", [b"old", None])
@pytest.mark.parametrize("where", ["kernels.measure.files.os.fsync", "pathlib.Path.replace", "writer"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None, where: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)

    def fail(*_: object) -> None:
        raise error

    def write(file: IO[bytes]) -> None:
        file.write(b"half of the n")
        if where == "writer":
            fail()

    with monkeypatch.context() as broken:
        if where != "writer":
            broken.setattr(where, fail)
        with pytest.raises(type(error)):
            files.write_atomically(path, write)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == ({} if before is None else {"file": before})
    files.write_atomically(path, lambda file: file.write(b"new"))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"new"}


@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0o002, 0o664)])
def test_written_files_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        files.write_atomically(tmp_path / "file", lambda file: file.write(b""))
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_unwritable_places_are_found_beforehand(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"cannot write .*missing.*No such file"):
        files.check_writable(tmp_path / "missing" / "new")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        files.check_writable(tmp_path)


def test_a_read_only_folder_is_found_beforehand(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("permissions do not stop root")
    with pytest.raises(PermissionError, match=r"cannot write .*new: Permission denied"):
        files.check_writable(tmp_path / "new")
