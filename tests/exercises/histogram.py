from numba import cuda

EXERCISE = "histogram"


@cuda.jit
def kernel(digits, counts):
    i = cuda.grid(1)
    if i < digits.shape[0]:
        cuda.atomic.add(counts, digits[i], 1)
