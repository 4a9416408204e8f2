"""A thread block computes a square tile of C from tiles of A and B that it fetches once and shares.

At the same time: all c(i,j); the TILE² threads of a block also work together. Each fetches one number of A and one of
B into shared memory, a small memory beside the multiprocessor's arithmetic; then all of them read TILE of each from
there. Global memory is read 1/TILE as often.
Two barriers keep the order: nobody reads a tile before it is complete, nobody overwrites it while another still reads.
Threads outside C must not return early, for they too fetch and meet at the barriers: they fetch zeros and store
nothing.
Limit: two reads of shared memory for each multiplication. cuda-numba-register reads less often than it multiplies.
The same in CUDA C: cupy_shared.cu.
"""

from numba import cuda, float32
from numpy.typing import NDArray

TILE = 32
REGISTERS = 64


@cuda.jit
def kernel(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32, any strides."""
    a_tile = cuda.shared.array((TILE, TILE), float32)
    b_tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    i = cuda.blockIdx.y * TILE + y
    j = cuda.blockIdx.x * TILE + x
    (m, depth), n = a.shape, b.shape[1]
    total = float32(0)
    for start in range(0, depth, TILE):
        a_tile[y, x] = a[i, start + x] if i < m and start + x < depth else float32(0)
        b_tile[y, x] = b[start + y, j] if start + y < depth and j < n else float32(0)
        cuda.syncthreads()
        for k in range(TILE):
            total += a_tile[y, k] * b_tile[k, x]
        cuda.syncthreads()
    if i < m and j < n:
        c[i, j] = total


def launch(m: int, n: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid and thread block (x, y) for a C of (m,n)."""
    return (-(-n // TILE), -(-m // TILE)), (TILE, TILE)
