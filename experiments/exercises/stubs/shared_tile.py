"""Shared tiles: c = a·b, a (m,k), b (k,n), and a block that fetches together.

NumPy: c[:] = a @ b
Launch: blocks of 8x8 threads that cover c: x counts columns, y counts rows.
Target: each thread reads global memory at most twice for each tile of 8 steps of k.
"""

from numba import cuda, float32

EXERCISE = "shared_tile"
TILE = 8


@cuda.jit
def kernel(a, b, c):
    a_tile = cuda.shared.array((TILE, TILE), float32)
    b_tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        # your part: each thread fetches one number of a and one of b (0 outside), all wait,
        # each adds up its products of this tile, and then? cuda.syncthreads() is the barrier
        pass
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = total
