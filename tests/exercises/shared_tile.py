from numba import cuda, float32

EXERCISE = "shared_tile"
TILE = 8


@cuda.jit
def kernel(a, b, c):
    a_tile = cuda.shared.array((TILE, TILE), float32)
    b_tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        a_tile[y, x] = a[i, start + x] if i < a.shape[0] and start + x < a.shape[1] else float32(0)
        b_tile[y, x] = b[start + y, j] if start + y < b.shape[0] and j < b.shape[1] else float32(0)
        cuda.syncthreads()  # filled
        for k in range(TILE):
            total += a_tile[y, k] * b_tile[k, x]
        cuda.syncthreads()  # read
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = total
