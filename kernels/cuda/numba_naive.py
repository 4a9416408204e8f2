"""One thread per c(i,j), every one of them at the same time; neighbouring threads stand on different rows.

At the same time: all c(i,j). A GPU runs threads in warps of 32 that execute one instruction together.
Limit: threadIdx.x counts fastest within a warp, and `i, j = cuda.grid(2)` gives it to the rows. The 32 threads of a
warp then read 32 numbers of A that lie K numbers apart: 32 sectors of 32 bytes are asked for where 128 bytes are
wanted. The rest of a sector is wanted in the next seven steps, if a cache still holds it; of the stores of C it is
lost. cuda-numba-coalesced lifts that by exchanging two names, and turning the block.
The same in CUDA C: cupy_naive.cu, at small sizes faster, as numba_coalesced.py says. The loop is no `for`: of a range
whose length it does not know, Numba makes 36 instructions a step where this takes 8.
"""

from numba import cuda, float32
from numpy.typing import NDArray

ROWS, COLUMNS = 32, 8  # a warp is a column of 32 c(i,j)
REGISTERS = 48


@cuda.jit
def kernel(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32, any strides."""
    i, j = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        k = 0
        while k < a.shape[1]:
            total += a[i, k] * b[k, j]
            k += 1
        c[i, j] = total


def launch(m: int, n: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid and thread block (x, y) for a C of (m,n)."""
    return (-(-m // ROWS), -(-n // COLUMNS)), (ROWS, COLUMNS)
