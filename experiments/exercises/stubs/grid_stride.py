"""Grid-stride loop: y = x ** 2 for any n, by a grid that is always the same.

NumPy: y[:] = x ** 2
Launch: 2 blocks of 32 threads, whatever n is.
Target: each number is read once; no thread reads more than one number more than another; at most 4 sectors for each
access of a warp.
"""

from numba import cuda

EXERCISE = "grid_stride"


@cuda.jit
def kernel(x, y):
    i = cuda.grid(1)
    step = cuda.gridsize(1)  # threads of the whole grid
    # your part: this thread begins at i; where does it go on?
    if i < x.shape[0]:
        y[i] = x[i] * x[i]
