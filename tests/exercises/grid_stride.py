from numba import cuda

EXERCISE = "grid_stride"


@cuda.jit
def kernel(x, y):
    for i in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        value = x[i]
        y[i] = value * value
