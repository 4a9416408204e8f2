"""Each thread keeps a 2-D tile of C in registers: 16 numbers read from shared memory serve 64 multiplications.

At the same time: a block of 256 threads computes 128 x 128 numbers of C, each thread 8 x 8 of them, whose 64
multiplications wait for nothing but each other's operands. A thread's columns lie THREADS apart, so neighbouring
threads still read and store neighbouring numbers; so do its rows.
The tile of A lies transposed in shared memory, one step of k after another, with two numbers of padding to a row:
without it the threads that store a row of A would meet in two banks of 32.
Limit: numbers travel from shared memory 4 bytes at a time, and all threads wait while the next tiles are fetched.
The CUDA C kernels go on: cupy_vector.cu loads 16 bytes at once, cupy_pipelined.cu fetches ahead.
The same in CUDA C: cupy_register.cu.
"""

from numba import cuda, float32
from numpy.typing import NDArray

BLOCK = 128  # rows and columns of a block's tile of C
DEPTH = 16  # steps of k per tile
PITCH = BLOCK + 2  # numbers from one row of the tile of A to the next
THREADS = 16  # along each side of the tile
EACH = BLOCK // THREADS  # rows and columns of a thread's tile
FETCHED = BLOCK * DEPTH // THREADS**2  # numbers of A, and of B, that each thread fetches per tile
REGISTERS = 128


@cuda.jit
def kernel(a: NDArray, b: NDArray, c: NDArray) -> None:
    """c (M,N) = a (M,K) · b (K,N), float32, any strides."""
    a_tile = cuda.shared.array((DEPTH, PITCH), float32)
    b_tile = cuda.shared.array((DEPTH, BLOCK), float32)
    a_column = cuda.local.array(EACH, float32)
    b_row = cuda.local.array(EACH, float32)
    total = cuda.local.array((EACH, EACH), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    thread = y * THREADS + x
    top, left = cuda.blockIdx.y * BLOCK, cuda.blockIdx.x * BLOCK
    (m, depth), n = a.shape, b.shape[1]
    for r in range(EACH):
        for s in range(EACH):
            total[r, s] = float32(0)
    for start in range(0, depth, DEPTH):
        for f in range(FETCHED):
            cell = f * THREADS**2 + thread
            i, k = cell // DEPTH, cell % DEPTH
            a_tile[k, i] = a[top + i, start + k] if top + i < m and start + k < depth else float32(0)
            k, j = cell // BLOCK, cell % BLOCK
            b_tile[k, j] = b[start + k, left + j] if start + k < depth and left + j < n else float32(0)
        cuda.syncthreads()
        for k in range(DEPTH):
            for r in range(EACH):
                a_column[r] = a_tile[k, r * THREADS + y]
                b_row[r] = b_tile[k, r * THREADS + x]
            for r in range(EACH):
                for s in range(EACH):
                    total[r, s] += a_column[r] * b_row[s]
        cuda.syncthreads()
    for r in range(EACH):
        for s in range(EACH):
            i, j = top + r * THREADS + y, left + s * THREADS + x
            if i < m and j < n:
                c[i, j] = total[r, s]


def launch(m: int, n: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid and thread block (x, y) for a C of (m,n)."""
    return (-(-n // BLOCK), -(-m // BLOCK)), (THREADS, THREADS)
