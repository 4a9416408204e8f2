// Each thread keeps a 2-D tile of C in registers: 16 numbers read from shared memory serve 64 multiplications.
//
// At the same time: a block of 256 threads computes 128 x 128 numbers of C, each thread 8 x 8 of them, whose 64
// multiplications wait for nothing but each other's operands. A thread's columns lie COLUMNS apart, so neighbouring threads
// still read and store neighbouring numbers; so do its rows.
// The tile of A lies transposed in shared memory, one step of k after another, with two numbers of padding to a row:
// without it the threads that store a row of A would meet in two banks of 32.
// Limit: numbers travel from shared memory 4 bytes at a time, and all threads wait while the next tiles are fetched.
// cupy_vector.cu loads 16 bytes at once, cupy_pipelined.cu fetches ahead. The same in Numba: numba_register.py.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

constexpr int ROWS = BLOCK_M / THREAD_M, COLUMNS = BLOCK_N / THREAD_N;  // the thread block is COLUMNS x ROWS
constexpr int THREADS = ROWS * COLUMNS;

extern "C" __global__ void __launch_bounds__(THREADS)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    __shared__ float a_tile[BLOCK_K][BLOCK_M + 2];
    __shared__ float b_tile[BLOCK_K][BLOCK_N];
    const int x = threadIdx.x, y = threadIdx.y, thread = y * COLUMNS + x;
    const int top = blockIdx.y * BLOCK_M, left = blockIdx.x * BLOCK_N;
    float total[THREAD_M][THREAD_N] = {};
    for (int start = 0; start < k; start += BLOCK_K) {
        for (int cell = thread; cell < BLOCK_M * BLOCK_K; cell += THREADS) {
            const int i = cell / BLOCK_K, p = cell % BLOCK_K;
            a_tile[p][i] = top + i < m && start + p < k ? a[(top + i) * a_down + (start + p) * a_along] : 0.0f;
        }
        for (int cell = thread; cell < BLOCK_K * BLOCK_N; cell += THREADS) {
            const int p = cell / BLOCK_N, j = cell % BLOCK_N;
            b_tile[p][j] = start + p < k && left + j < n ? b[(start + p) * b_down + (left + j) * b_along] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int p = 0; p < BLOCK_K; ++p) {
            float a_column[THREAD_M], b_row[THREAD_N];
#pragma unroll
            for (int r = 0; r < THREAD_M; ++r) a_column[r] = a_tile[p][r * ROWS + y];
#pragma unroll
            for (int s = 0; s < THREAD_N; ++s) b_row[s] = b_tile[p][s * COLUMNS + x];
#pragma unroll
            for (int r = 0; r < THREAD_M; ++r)
#pragma unroll
                for (int s = 0; s < THREAD_N; ++s) total[r][s] += a_column[r] * b_row[s];
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < THREAD_M; ++r)
#pragma unroll
        for (int s = 0; s < THREAD_N; ++s) {
            const int i = top + r * ROWS + y, j = left + s * COLUMNS + x;
            if (i < m && j < n) c[static_cast<long long>(i) * n + j] = total[r][s];
        }
}
