"""Seven classic mistakes, each beside the kernel that is right: c (M,N) = a (M,K) · b (K,N), float32.

No kernel for use: the broken ones are wrong or slow on purpose, and all are kept small enough to watch.
"""

from numba import cuda, float32
from numpy.typing import NDArray

TILE = 8
SIDE = 16  # of the tiles that show bank conflicts
PITCH = SIDE + 2  # a warp has two rows of 16 threads: its 32 numbers then lie in 32 banks


@cuda.jit
def tiled(a: NDArray, b: NDArray, c: NDArray) -> None:
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    inside = i < c.shape[0] and j < c.shape[1]
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = b[start + y, j] if start + y < b.shape[0] and j < b.shape[1] else float32(0)
        cuda.syncthreads()
        for k in range(TILE):
            if inside and start + k < a.shape[1]:
                total += a[i, start + k] * tile[k, x]
        cuda.syncthreads()
    if inside:
        c[i, j] = total


@cuda.jit
def missing_barrier(a: NDArray, b: NDArray, c: NDArray) -> None:
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    inside = i < c.shape[0] and j < c.shape[1]
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = b[start + y, j] if start + y < b.shape[0] and j < b.shape[1] else float32(0)
        cuda.syncthreads()
        for k in range(TILE):
            if inside and start + k < a.shape[1]:
                total += a[i, start + k] * tile[k, x]
        # here threads go on to overwrite what others still read
    if inside:
        c[i, j] = total


@cuda.jit
def divergent_barrier(a: NDArray, b: NDArray, c: NDArray) -> None:
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    inside = i < c.shape[0] and j < c.shape[1]
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        if start + y < b.shape[0]:
            tile[y, x] = b[start + y, j] if j < b.shape[1] else float32(0)
            cuda.syncthreads()
        else:
            tile[y, x] = float32(0)
            cuda.syncthreads()
        for k in range(TILE):
            if inside and start + k < a.shape[1]:
                total += a[i, start + k] * tile[k, x]
        cuda.syncthreads()
    if inside:
        c[i, j] = total


@cuda.jit
def early_return(a: NDArray, b: NDArray, c: NDArray) -> None:
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    if i >= c.shape[0] or j >= c.shape[1]:
        return
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = b[start + y, j] if start + y < b.shape[0] else float32(0)
        cuda.syncthreads()
        for k in range(min(TILE, a.shape[1] - start)):
            total += a[i, start + k] * tile[k, x]
        cuda.syncthreads()
    c[i, j] = total


@cuda.jit
def guarded(a: NDArray, b: NDArray, c: NDArray) -> None:
    j, i = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total


@cuda.jit
def unguarded_edge(a: NDArray, b: NDArray, c: NDArray) -> None:
    j, i = cuda.grid(2)
    total = float32(0)
    for k in range(a.shape[1]):
        total += a[i, k] * b[k, j]
    c[i, j] = total


@cuda.jit
def uncoalesced(a: NDArray, b: NDArray, c: NDArray) -> None:
    i, j = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total


@cuda.jit
def padded(a: NDArray, b: NDArray, c: NDArray) -> None:
    columns = cuda.shared.array((SIDE, PITCH), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    columns[x, y] = b[y, x]
    cuda.syncthreads()
    total = float32(0)
    for k in range(SIDE):
        total += a[y, k] * columns[x, k]
    c[y, x] = total


@cuda.jit
def bank_conflict(a: NDArray, b: NDArray, c: NDArray) -> None:
    columns = cuda.shared.array((SIDE, SIDE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    columns[x, y] = b[y, x]
    cuda.syncthreads()
    total = float32(0)
    for k in range(SIDE):
        total += a[y, k] * columns[x, k]
    c[y, x] = total


@cuda.jit
def atomic_update(a: NDArray, b: NDArray, c: NDArray) -> None:
    j, i, half = cuda.grid(3)
    total = float32(0)
    for k in range(half, a.shape[1], 2):
        total += a[i, k] * b[k, j]
    cuda.atomic.add(c, (i, j), total)


@cuda.jit
def lost_update(a: NDArray, b: NDArray, c: NDArray) -> None:
    j, i, half = cuda.grid(3)
    total = float32(0)
    for k in range(half, a.shape[1], 2):
        total += a[i, k] * b[k, j]
    c[i, j] += total
