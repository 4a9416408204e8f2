// 16 bytes at a time: a quarter of the load instructions, from global memory and from shared memory.
//
// At the same time: as in cupy_register.cu, a thread's THREAD_M x THREAD_N multiplications. But a load brings four numbers,
// so 4 loads serve 64 multiplications where 16 did. For that a thread's columns stand in fours of neighbours, and the
// fours so far apart that the eight threads served in one go read 128 bytes that lie in 32 different banks.
// Limit: all threads wait at the barrier while the next tiles are on their way. cupy_pipelined.cu fetches ahead.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

#include "memory.cuh"

constexpr int ROWS = BLOCK_M / THREAD_M, COLUMNS = BLOCK_N / THREAD_N;  // of threads
constexpr int THREADS = ROWS * COLUMNS;
constexpr int A_STRIDE = BLOCK_M + 4, B_STRIDE = BLOCK_N + 4;

extern "C" __global__ void __launch_bounds__(THREADS)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    __shared__ __align__(16) float a_tile[BLOCK_K * A_STRIDE];
    __shared__ __align__(16) float b_tile[BLOCK_K * B_STRIDE];
    const int thread = threadIdx.x, x = thread % COLUMNS, y = thread / COLUMNS;
    const int top = blockIdx.y * BLOCK_M, left = blockIdx.x * BLOCK_N;
    Share<BLOCK_M, BLOCK_K, A_STRIDE, THREADS, A_K_CONTIGUOUS, VECTOR> a_share(
        {a, m, k, A_K_CONTIGUOUS ? a_down : a_along}, top, 0, thread);
    Share<BLOCK_N, BLOCK_K, B_STRIDE, THREADS, B_K_CONTIGUOUS, VECTOR> b_share(
        {b, n, k, B_K_CONTIGUOUS ? b_along : b_down}, left, 0, thread);
    float total[THREAD_M][THREAD_N] = {};
    for (int start = 0; start < k; start += BLOCK_K) {
        fill(a_tile, a_share);
        fill(b_tile, b_share);
        __syncthreads();
#pragma unroll
        for (int p = 0; p < BLOCK_K; ++p) {
            float a_column[THREAD_M], b_row[THREAD_N];
            read_fours<THREAD_M, 4 * ROWS>(a_column, a_tile + p * A_STRIDE + 4 * y);
            read_fours<THREAD_N, 4 * COLUMNS>(b_row, b_tile + p * B_STRIDE + 4 * x);
            add_outer(total, a_column, b_row);
        }
        __syncthreads();
    }
    store_fours<THREAD_M, THREAD_N, 4 * ROWS, 4 * COLUMNS, VECTOR>(c, m, n, top + 4 * y, left + 4 * x, total);
}
