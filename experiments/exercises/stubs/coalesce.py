"""Coalescing: this kernel is right. Make it fast.

NumPy: c[:] = a @ b
Launch: blocks of 32x4 threads that cover c, 32 along its columns. The threads of a warp have neighbouring threadIdx.x.
Target: at most 4 sectors (of 32 bytes) for each access of a warp.
"""

from numba import cuda, float32

EXERCISE = "coalesce"


@cuda.jit
def kernel(a, b, c):
    # of the block's 4x32 part of c, thread (x, y) takes row x % 4 and column 4 * (x // 4) + y
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    i = cuda.blockIdx.y * 4 + x % 4
    j = cuda.blockIdx.x * 32 + 4 * (x // 4) + y
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total
