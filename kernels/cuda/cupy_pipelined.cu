// Copies overlap arithmetic: while a tile is multiplied, the next STAGES - 1 are on their way into shared memory.
//
// At the same time: a block's multiplications and its copies. cp.async goes from global to shared memory without passing
// through registers, so a thread issues it and goes on; it waits only for the oldest copy, which had the time of
// STAGES - 1 tiles to arrive. The tiles in flight form a ring, and one barrier per tile is enough: when all threads have
// passed it, the tile to be multiplied next has arrived for all of them, and nobody reads the last one any more, which is
// where the newest copies go.
// Limit: the threads of a warp stand in two long rows of C, and each reads numbers from shared memory that its neighbours
// read too. cupy_warptile.cu sets them in a rectangle, which needs fewer.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

#include "memory.cuh"

constexpr int ROWS = BLOCK_M / THREAD_M, COLUMNS = BLOCK_N / THREAD_N;  // of threads
constexpr int THREADS = ROWS * COLUMNS;
constexpr int A_STRIDE = BLOCK_M + 4, B_STRIDE = BLOCK_N + 4;
constexpr int STAGE = BLOCK_K * (A_STRIDE + B_STRIDE);

extern "C" __global__ void __launch_bounds__(THREADS, 2)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    extern __shared__ float4 shared[];
    float* stages = reinterpret_cast<float*>(shared);
    const int thread = threadIdx.x, x = thread % COLUMNS, y = thread / COLUMNS;
    const int top = blockIdx.y * BLOCK_M, left = blockIdx.x * BLOCK_N;
    AsyncShare<BLOCK_M, BLOCK_K, A_STRIDE, THREADS, A_K_CONTIGUOUS, VECTOR> a_share(
        {a, m, k, A_K_CONTIGUOUS ? a_down : a_along}, top, 0, thread);
    AsyncShare<BLOCK_N, BLOCK_K, B_STRIDE, THREADS, B_K_CONTIGUOUS, VECTOR> b_share(
        {b, n, k, B_K_CONTIGUOUS ? b_along : b_down}, left, 0, thread);
    const int tiles = (k + BLOCK_K - 1) / BLOCK_K;

    const auto fetch = [&](int tile) {
        float* stage = stages + tile % STAGES * STAGE;
        if (tile < tiles) {
            fill_async(stage, a_share);
            fill_async(stage + BLOCK_K * A_STRIDE, b_share);
        }
        commit_copies();  // also past the end, so that the newest groups are always the same number
    };

    for (int tile = 0; tile < STAGES - 1; ++tile) fetch(tile);
    float total[THREAD_M][THREAD_N] = {};
    for (int tile = 0; tile < tiles; ++tile) {
        wait_copies<STAGES - 2>();
        __syncthreads();
        fetch(tile + STAGES - 1);
        const float* a_tile = stages + tile % STAGES * STAGE;
        const float* b_tile = a_tile + BLOCK_K * A_STRIDE;
#pragma unroll
        for (int p = 0; p < BLOCK_K; ++p) {
            float a_column[THREAD_M], b_row[THREAD_N];
            read_fours<THREAD_M, 4 * ROWS>(a_column, a_tile + p * A_STRIDE + 4 * y);
            read_fours<THREAD_N, 4 * COLUMNS>(b_row, b_tile + p * B_STRIDE + 4 * x);
            add_outer(total, a_column, b_row);
        }
    }
    store_fours<THREAD_M, THREAD_N, 4 * ROWS, 4 * COLUMNS, VECTOR>(c, m, n, top + 4 * y, left + 4 * x, total);
}
