"""One thread per c(i,j); neighbouring threads stand on neighbouring columns.

At the same time: all c(i,j), as before. But now the 32 threads of a warp share a row of A (one number, broadcast to
all) and read 32 neighbours of a row of B: 4 sectors of 32 bytes, every byte used. Only the two names before cuda.grid
changed, and with them the sides of the block and the grid.
Limit: each thread still fetches 2 numbers for each multiplication; a number of A is asked for by N threads, one of B
by M. cuda-numba-shared lets the threads of a block fetch them once.
The same in CUDA C: cupy_coalesced.cu. There k has 32 bits, and the compiler takes 16 of its steps at a time, with
up to 9 loads on their way; here it has 64, and the compiler takes 4, with up to 5. Where memory is far, that is up to
1.9 times as slow.
"""

from numba import cuda, float32
from numpy.typing import NDArray

ROWS, COLUMNS = 8, 32  # a warp is a row of 32 c(i,j)
REGISTERS = 48


@cuda.jit
def kernel(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32, any strides."""
    j, i = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        k = 0
        while k < a.shape[1]:
            total += a[i, k] * b[k, j]
            k += 1
        c[i, j] = total


def launch(m: int, n: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid and thread block (x, y) for a C of (m,n)."""
    return (-(-n // COLUMNS), -(-m // ROWS)), (COLUMNS, ROWS)
