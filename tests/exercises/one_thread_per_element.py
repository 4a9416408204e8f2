from numba import cuda

EXERCISE = "one_thread_per_element"


@cuda.jit
def kernel(x, y):
    i = cuda.grid(1)
    if i < x.shape[0]:
        value = x[i]
        y[i] = value * value
