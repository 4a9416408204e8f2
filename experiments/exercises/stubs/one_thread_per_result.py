"""One thread per c(i,j): c = a·b, a (m,k), b (k,n).

NumPy: c[:] = a @ b
Launch: blocks of 8x8 threads that cover c: threadIdx.x and blockIdx.x count columns, y counts rows.
Target: 2·k reads for each c(i,j), and one write.
"""

from numba import cuda, float32

EXERCISE = "one_thread_per_result"


@cuda.jit
def kernel(a, b, c):
    x, y = cuda.grid(2)
    total = float32(0)
    # your part: which c(i,j) belongs to this thread? Add up its products in total, then store it
