"""A fault is shown in its own block, at the moment when it happened there."""

from __future__ import annotations

from itertools import product

import numpy as np
from numba import cuda

from experiments.explorer._moments import moment
from kernels.recorder import record
from tests.recorder_samples import only


def test_a_missed_barrier_is_shown_in_its_own_block_when_all_who_wait_do():
    def kernel(x):
        i, block = cuda.threadIdx.x, cuda.blockIdx.x
        if block == 0:
            cuda.syncthreads()  # the first block is one interval ahead
        x[0, block, i] = 1
        if block == 1 and i == 0:
            return
        x[1, block, i] = 1
        cuda.syncthreads()

    recording = record(kernel, (2,), (4,), np.zeros((2, 2, 4)))
    assert moment(only(recording), recording)["at"] == [0, 2]


def test_a_barrier_that_some_miss_in_a_later_pass_is_shown_in_that_pass():
    def kernel(x):
        i = cuda.threadIdx.x
        for step in range(3):
            x[i] += 1
            if step == 1 and i == 0:
                return
            if step == 2 and i == 1:
                return
            cuda.syncthreads()

    recording = record(kernel, (1,), (4,), np.zeros(4))
    assert [barrier.absent for barrier in recording.events.barriers] == [(), (0,), (0, 1)]
    assert [moment(fault, recording)["at"] for fault in recording.faults] == [[1, 2], [2, 2]]


def test_a_race_that_recurs_is_shown_where_it_happens_first():
    def kernel(x):
        for _ in range(3):
            x[0] = cuda.threadIdx.x
            cuda.syncthreads()

    recording = record(kernel, (1,), (2,), np.zeros(1))
    found = moment(only(recording), recording)
    assert found["at"] == [0, 0]
    assert [witness[:3] for witness in found["witnesses"]] == [[0, 0, 0], [1, 0, 0]]


def test_all_blocks_that_wait_for_ever_are_told():
    def kernel(x):
        if cuda.blockIdx.x == 1:
            cuda.syncthreads()
        if cuda.threadIdx.x < 2:
            cuda.syncthreads()
        else:
            cuda.syncthreads()

    recording = record(kernel, (3,), (4,), np.zeros(1))
    assert moment(only(recording), recording)["at"] == [0, 0]
    assert {(block, thread) for block, thread, _ in recording.events.stranded} == set(product(range(3), range(4)))


def test_who_waits_for_a_thread_that_was_stopped_waits_for_ever():
    def kernel(x):
        x[cuda.threadIdx.x] = 1
        cuda.syncthreads()
        x[cuda.threadIdx.x] = 2

    recording = record(kernel, (1,), (4,), np.zeros(3))
    line = only(recording).line + 1
    assert recording.events.stranded == tuple((0, thread, line) for thread in range(3))
