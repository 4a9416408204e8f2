from numba import cuda, float32

EXERCISE = "double_buffer"
TILE = 8


@cuda.jit
def kernel(a, b, c):
    a_tiles = cuda.shared.array((2, TILE, TILE), float32)
    b_tiles = cuda.shared.array((2, TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        now = start // TILE % 2
        a_tiles[now, y, x] = a[i, start + x] if i < a.shape[0] and start + x < a.shape[1] else float32(0)
        b_tiles[now, y, x] = b[start + y, j] if start + y < b.shape[0] and j < b.shape[1] else float32(0)
        cuda.syncthreads()
        for k in range(TILE):
            total += a_tiles[now, y, k] * b_tiles[now, k, x]
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = total
