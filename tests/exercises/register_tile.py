from numba import cuda, float32

EXERCISE = "register_tile"
ROWS = 4


@cuda.jit
def kernel(a, b, c):
    j = cuda.grid(2)[0]
    first = cuda.grid(2)[1] * ROWS
    totals = cuda.local.array(ROWS, float32)
    for r in range(ROWS):
        totals[r] = 0
    if j < c.shape[1] and first < c.shape[0]:
        for k in range(a.shape[1]):
            b_kj = b[k, j]
            for r in range(ROWS):
                if first + r < c.shape[0]:
                    totals[r] += a[first + r, k] * b_kj
        for r in range(ROWS):
            if first + r < c.shape[0]:
                c[first + r, j] = totals[r]
