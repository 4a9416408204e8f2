"""How well the accesses of a warp fit the memory: sectors of global memory, conflicts of shared memory's banks.

The k-th access that each lane of a warp makes at one site, since the last barrier, is taken as one access of the warp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.recorder.accesses import Accesses
from kernels.recorder.memory import SPACES

__all__ = ["SECTOR", "Traffic", "traffic"]

SECTOR = 32  # bytes: what global memory hands out at a time
_BANKS, _WORD = 32, 4  # shared memory: so many banks, each of them so many bytes wide
_GLOBAL, _SHARED = SPACES.index("global"), SPACES.index("shared")


@dataclass(frozen=True)
class Traffic:
    """What the accesses at one site to one array cost: units are sectors in global, conflict degrees in shared memory.

    The degree of a warp's access is the largest number of different words that one bank has to deliver.
    """

    site: int
    array: int
    warp_accesses: int
    units: int
    most_units: int


def traffic(accesses: Accesses) -> Iterator[Traffic]:
    """The traffic of one block between two barriers, per site and array."""
    for space, units_of in ((_GLOBAL, _sectors), (_SHARED, _conflicts)):
        rows = accesses.where(accesses.space == space)
        if not len(rows):
            continue
        occurrence = _occurrences(rows)
        keys = np.stack((rows.site, rows.placement, rows.warp, occurrence))
        number = np.ravel_multi_index(tuple(keys), tuple(keys.max(axis=1) + 1))
        _, first, group = np.unique(number, return_index=True, return_inverse=True)
        units = units_of(rows.byte, group, len(first))
        places = np.stack((rows.site[first], rows.placement[first]))
        for site, array in np.unique(places, axis=1).T.tolist():
            here = units[(places[0] == site) & (places[1] == array)]
            yield Traffic(site, array, len(here), int(here.sum()), int(here.max()))


def _occurrences(accesses: Accesses) -> NDArray[np.int64]:
    """For each access: how many times its thread has been at its site before."""
    key = accesses.site * (accesses.thread.max() + 1) + accesses.thread
    order = np.argsort(key, kind="stable")
    changes = np.flatnonzero(np.diff(key[order], prepend=-1))
    result = np.empty_like(key)
    result[order] = np.arange(len(key)) - np.repeat(changes, np.diff(changes, append=len(key)))
    return result


def _sectors(byte: NDArray[np.int64], group: NDArray[np.intp], groups: int) -> NDArray[np.int64]:
    touched, _ = _distinct(group, byte // SECTOR)
    return np.bincount(touched, minlength=groups)


def _conflicts(byte: NDArray[np.int64], group: NDArray[np.intp], groups: int) -> NDArray[np.int64]:
    # of a wider element the first word will do: its other words meet as often, in the banks beside
    group, word = _distinct(group, byte // _WORD)
    per_bank = np.bincount(group * _BANKS + word % _BANKS, minlength=groups * _BANKS)
    return per_bank.reshape(groups, _BANKS).max(axis=1)


def _distinct(group: NDArray[np.intp], unit: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each unit once per group."""
    low = unit.min()
    width = unit.max() - low + 1
    pairs = np.unique(group * width + (unit - low))
    return pairs // width, pairs % width + low
