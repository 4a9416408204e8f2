"""Register tile: c = a·b, a (m,k), b (k,n), four c(i,j) for each thread.

NumPy: c[:] = a @ b
Launch: blocks of 8x8 threads; a block covers 8 columns and 32 rows of c. Each thread has one column and ROWS rows.
Target: a number of b that a thread has read serves all its rows: ceil(m / 4)·n·k reads of b in all, and one write for
each c(i,j).
"""

from numba import cuda, float32

EXERCISE = "register_tile"
ROWS = 4


@cuda.jit
def kernel(a, b, c):
    j = cuda.grid(2)[0]
    first = cuda.grid(2)[1] * ROWS  # this thread has the rows first to first + ROWS - 1 of column j
    totals = cuda.local.array(ROWS, float32)
    for r in range(ROWS):
        totals[r] = 0
    # your part: the loop over k, in which each b[k, j] is read once; and the stores
