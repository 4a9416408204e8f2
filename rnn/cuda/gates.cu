// The training step between its matrix products, one launch for each operation: gates, loss, sums, update.
//
// At the same time: lstm_forward and lstm_backward give every (image, unit) pair a thread, 16,384 of them for the
// published network, and neighbours read neighbouring numbers. A thread reads its four gates once and keeps all that is
// between them in registers; one CuPy function after another would carry each of these numbers to memory and back.
// softmax_cross_entropy is one block, so that its loss is summed in one order: the same bits every time, as atomic
// additions would not give. column_sums has a block for 32 columns, whose warps share the rows.
// Limit: a launch of some microseconds for each of 28 steps forward and 28 back, in which a chip that could hold several
// times as many threads works for one or two. graph_cuda.py takes the host out of it; only a kernel that stays takes all.
//
// Shapes: N images, H units. gates, dz (N,4H) in the order i, j, f, o; c, tanh_c, dh, dc (N,H). Formulas: cells.py.

constexpr int THREADS = 256;
constexpr int SIDE = 32;  // columns of a block of column_sums, and its warps

__device__ inline float sigmoid(float z) { return 0.5f * tanhf(0.5f * z) + 0.5f; }

// gates: z = xh·W on entry, after their nonlinearities on return. Row n of h begins at h[n * h_pitch + h_offset].
extern "C" __global__ void __launch_bounds__(THREADS)
lstm_forward(float* __restrict__ gates, const float* __restrict__ bias, const float* __restrict__ c_before,
             float* __restrict__ c, float* __restrict__ tanh_c, float* __restrict__ h, int h_pitch, int h_offset,
             int images, int hidden, float forget_bias) {
    const int cell = blockIdx.x * THREADS + threadIdx.x;
    if (cell >= images * hidden) return;
    const int n = cell / hidden, unit = cell % hidden;
    float* z = gates + 4 * n * hidden + unit;
    const float i = sigmoid(z[0] + bias[unit]);
    const float j = tanhf(z[hidden] + bias[hidden + unit]);
    const float f = sigmoid(z[2 * hidden] + (bias[2 * hidden + unit] + forget_bias));
    const float o = sigmoid(z[3 * hidden] + bias[3 * hidden + unit]);
    const float state = f * c_before[cell] + i * j, squashed = tanhf(state);
    z[0] = i;
    z[hidden] = j;
    z[2 * hidden] = f;
    z[3 * hidden] = o;
    c[cell] = state;
    tanh_c[cell] = squashed;
    h[n * h_pitch + h_offset + unit] = o * squashed;
}

// dc: the gradient by c_t that step t + 1 left, 0 for the last one; by c_{t-1} on return.
extern "C" __global__ void __launch_bounds__(THREADS)
lstm_backward(const float* __restrict__ gates, const float* __restrict__ c_before, const float* __restrict__ tanh_c,
              const float* __restrict__ dh, float* __restrict__ dc, float* __restrict__ dz, int images, int hidden) {
    const int cell = blockIdx.x * THREADS + threadIdx.x;
    if (cell >= images * hidden) return;
    const int first = 4 * (cell / hidden) * hidden + cell % hidden;
    const float* gate = gates + first;
    const float i = gate[0], j = gate[hidden], f = gate[2 * hidden], o = gate[3 * hidden];
    const float squashed = tanh_c[cell], by_h = dh[cell];
    const float by_c = dc[cell] + by_h * o * (1 - squashed * squashed);
    dz[first] = by_c * j * (i * (1 - i));
    dz[first + hidden] = by_c * i * (1 - j * j);
    dz[first + 2 * hidden] = by_c * c_before[cell] * (f * (1 - f));
    dz[first + 3 * hidden] = by_h * squashed * (o * (1 - o));
    dc[cell] = by_c * f;
}

// One block. gradient (N,classes) = (softmax(logits) − one-hot) / N; loss: one number, the mean of −log softmax.
extern "C" __global__ void __launch_bounds__(THREADS)
softmax_cross_entropy(const float* __restrict__ logits, const unsigned char* __restrict__ labels,
                      float* __restrict__ gradient, double* __restrict__ loss, int images, int classes) {
    __shared__ double partial[THREADS];
    double own = 0;
    for (int n = threadIdx.x; n < images; n += THREADS) {
        const float* row = logits + n * classes;
        float largest = row[0], total = 0;
        for (int k = 1; k < classes; ++k) largest = row[k] > largest ? row[k] : largest;
        for (int k = 0; k < classes; ++k) total += expf(row[k] - largest);
        for (int k = 0; k < classes; ++k)
            gradient[n * classes + k] = (expf(row[k] - largest) / total - (k == labels[n] ? 1.0f : 0.0f)) / images;
        own += logf(total) - (row[labels[n]] - largest);
    }
    partial[threadIdx.x] = own;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    }
    if (threadIdx.x == 0) loss[0] = partial[0] / images;
}

// sums (columns) of x (rows, columns); a block of SIDE x SIDE threads for SIDE columns.
extern "C" __global__ void __launch_bounds__(SIDE* SIDE)
column_sums(const float* __restrict__ x, float* __restrict__ sums, int rows, int columns) {
    __shared__ float partial[SIDE][SIDE];
    const int column = blockIdx.x * SIDE + threadIdx.x;
    float own = 0;
    if (column < columns)
        for (int row = threadIdx.y; row < rows; row += SIDE) own += x[static_cast<long long>(row) * columns + column];
    partial[threadIdx.y][threadIdx.x] = own;
    for (int half = SIDE / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) partial[threadIdx.y][threadIdx.x] += partial[threadIdx.y + half][threadIdx.x];
    }
    if (threadIdx.y == 0 && column < columns) sums[column] = partial[0][threadIdx.x];
}

// Plain gradient descent on `count` numbers.
extern "C" __global__ void __launch_bounds__(THREADS)
descend(float* __restrict__ weight, const float* __restrict__ gradient, float rate, int count) {
    const int cell = blockIdx.x * THREADS + threadIdx.x;
    if (cell < count) weight[cell] -= rate * gradient[cell];
}
