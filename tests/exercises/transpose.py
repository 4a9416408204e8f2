from numba import cuda, float32

EXERCISE = "transpose"
SIDE = 32
PITCH = SIDE + 1  # set here: in a shared array's shape the compiler adds nothing


@cuda.jit
def kernel(x, y):
    tile = cuda.shared.array((SIDE, PITCH), float32)
    column, row = cuda.threadIdx.x, cuda.threadIdx.y
    left, top = cuda.blockIdx.x * SIDE, cuda.blockIdx.y * SIDE
    if top + row < x.shape[0] and left + column < x.shape[1]:
        tile[row, column] = x[top + row, left + column]
    cuda.syncthreads()
    if left + row < y.shape[0] and top + column < y.shape[1]:
        y[left + row, top + column] = tile[column, row]
