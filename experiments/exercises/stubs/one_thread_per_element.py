"""One thread per element: y = x ** 2, for n numbers.

NumPy: y[:] = x ** 2
Launch: blocks of 32 threads, as many as cover n; so there may be more threads than numbers.
Target: each number is read once and written once.
"""

from numba import cuda

EXERCISE = "one_thread_per_element"


@cuda.jit
def kernel(x, y):
    i = cuda.grid(1)  # this thread's number among all threads of the launch
    # your part: let the thread compute y[i], if there is one
