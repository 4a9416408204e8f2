"""Checkpoints: all that a run needs to continue with the very numbers it would have had without the interruption.

A checkpoint is an .npz of plain arrays (never pickled objects), written beside and renamed, so a run that is killed
while it saves leaves the checkpoint before. The batches need no state: they follow from the seed and the step.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels.measure.files import write_atomically
from kernels.measure.results import TranscriptLine
from rnn.settings import Settings

__all__ = ["Checkpoint", "CheckpointError", "Header", "load", "save"]

SCHEMA = 1


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file and says why."""


class Header(msgspec.Struct, frozen=True):
    """step: updates made so far, by kernel and engine. data: digest of the data set."""

    schema: int
    step: int
    settings: Settings
    kernel: str
    engine: str
    data: str
    transcript: list[TranscriptLine]


@dataclass(frozen=True)
class Checkpoint:
    header: Header
    arrays: dict[str, NDArray]

    def restore(self, arrays: Mapping[str, NDArray], path: Path) -> None:
        """Copy the saved numbers into `arrays` (weights and optimizer state). Raises CheckpointError if one differs."""
        for name, array in arrays.items():
            saved = self.arrays.get(name)
            if saved is None:
                raise CheckpointError(f"{path} holds no {name}: it is a checkpoint of another network")
            if saved.shape != array.shape or saved.dtype != array.dtype:
                raise CheckpointError(
                    f"{path} holds {name} as {saved.dtype}{saved.shape}, the network has {array.dtype}{array.shape}"
                )
            array[...] = saved


def save(path: Path, header: Header, arrays: Mapping[str, NDArray]) -> None:
    """Write atomically. Raises OSError; the checkpoint before is then still there."""
    head = np.frombuffer(msgspec.json.encode(header), np.uint8)
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, header=head, **arrays))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises CheckpointError."""
    try:
        # opened here: NumPy would leave the file of a broken archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        header = msgspec.json.decode(arrays.pop("header").tobytes(), type=Header)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no checkpoint {path}; leave out --resume to start from the beginning"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged or cut short") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    if header.schema != SCHEMA:
        raise CheckpointError(f"{path} has checkpoint version {header.schema}; this program reads version {SCHEMA}")
    return Checkpoint(header, arrays)
