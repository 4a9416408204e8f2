// A warp owns a tile: its 32 threads stand in a rectangle of C, and read what they need from shared memory once.
//
// At the same time: as in cupy_pipelined.cu, a block's multiplications and its copies; besides, each thread reads the next
// column of A and row of B from shared memory while it multiplies the last, also where the next are another tile's.
// A warp of two long rows, 2 x 16 threads of 8 x 8 numbers, reads 16 + 128 numbers per step of k. A warp of 4 x 8 threads
// computes as many c(i,j) and reads 32 + 64: the more square, the less to read for the same arithmetic.
// Shared memory delivers 128 bytes a cycle, repeated numbers included, and so 4 cycles for 16 bytes to each of 32 threads;
// it takes 2 where all neighbours, or all next but one, read the same. Hence a thread and the next stand one below the
// other and share a row of B, and a thread and the next but one stand beside each other and share a column of A.
// A small C has too few tiles to keep the chip busy, so there several warps of a block make the same tile, each from a
// slice of every BLOCK_K steps of k, and add up their sums at the end.
// Blocks are numbered so that those that run together stand in a rectangle of C, too, and share what they fetch in L2.
// The sizes are arguments that `python -m kernels.tune` chooses for each GPU.
// Limit: the multiprocessor's ordinary arithmetic, 64 or 128 multiply-adds a cycle. cupy_tensor.cu uses the other units.
// After Boehm, *How to Optimize a CUDA Matmul Kernel* (2022), and CUTLASS, *Efficient GEMM in CUDA*.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

#include "memory.cuh"

constexpr int LANES_DOWN = WARP_M / THREAD_M, LANES_ACROSS = WARP_N / THREAD_N;
constexpr int WARPS_ACROSS = BLOCK_N / WARP_N;
constexpr int SLICE_THREADS = 32 * (BLOCK_M / WARP_M) * WARPS_ACROSS, THREADS = SLICE_THREADS * SLICES;
constexpr int DEPTH = BLOCK_K / SLICES;  // of a tile, for each slice
constexpr int A_STRIDE = BLOCK_M + 4, B_STRIDE = BLOCK_N + 4;
constexpr int STAGE = BLOCK_K * (A_STRIDE + B_STRIDE);
static_assert(DEPTH % 2 == 0, "of the two columns in registers, each tile begins with the first");
static_assert(LANES_DOWN * LANES_ACROSS == 32 && LANES_DOWN % 2 == 0, "a warp has 32 threads, in pairs");

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    extern __shared__ float4 shared[];
    float* stages = reinterpret_cast<float*>(shared);
    const int thread = threadIdx.x, lane = thread % 32;
    const int slice = SLICES == 1 ? 0 : thread / SLICE_THREADS, warp = thread / 32 - slice * (SLICE_THREADS / 32);
    const int2 block = tile_of_block<GROUP>(blockIdx.x, (n + BLOCK_N - 1) / BLOCK_N, (m + BLOCK_M - 1) / BLOCK_M);
    const int top = block.y * BLOCK_M, left = block.x * BLOCK_N;
    const int row = warp / WARPS_ACROSS * WARP_M + (lane / (2 * LANES_ACROSS) * 2 + lane % 2) * 4;
    const int column = warp % WARPS_ACROSS * WARP_N + lane / 2 % LANES_ACROSS * 4;
    AsyncShare<BLOCK_M, BLOCK_K, A_STRIDE, THREADS, A_K_CONTIGUOUS, VECTOR> a_share(
        {a, m, k, A_K_CONTIGUOUS ? a_down : a_along}, top, 0, thread);
    AsyncShare<BLOCK_N, BLOCK_K, B_STRIDE, THREADS, B_K_CONTIGUOUS, VECTOR> b_share(
        {b, n, k, B_K_CONTIGUOUS ? b_along : b_down}, left, 0, thread);
    const int tiles = (k + BLOCK_K - 1) / BLOCK_K;

    int filling = 0, reading = 0;  // where the stage begins that the next copies go to, and the one in use
    // Past the end zeros are fetched and read, which costs less than to ask: without a branch the compiler spreads the copies
    // among the multiplications. Not with slices, whose sums take the place of the stages.
    const auto exists = [&](int tile) { return SLICES == 1 || tile < tiles; };
    const auto fetch = [&](int tile) {
        if (exists(tile)) {
            fill_async(stages + filling, a_share);
            fill_async(stages + filling + BLOCK_K * A_STRIDE, b_share);
        }
        commit_copies();  // also of none, so that the newest groups are always the same number
        filling = stage_after<STAGES, STAGE>(filling);
    };
    float total[THREAD_M][THREAD_N] = {};
    float a_column[2][THREAD_M], b_row[2][THREAD_N];  // one in use, one on its way
    const auto read = [&](int p) {
        const int step = slice * DEPTH + p;
        const float* tile = stages + reading;
        read_fours<THREAD_M, 4 * LANES_DOWN>(a_column[p % 2], tile + step * A_STRIDE + row);
        read_fours<THREAD_N, 4 * LANES_ACROSS>(b_row[p % 2], tile + BLOCK_K * A_STRIDE + step * B_STRIDE + column);
    };

    for (int tile = 0; tile < STAGES - 1; ++tile) fetch(tile);
    wait_copies<STAGES - 2>();
    __syncthreads();
    read(0);
    for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
        for (int p = 0; p < DEPTH; ++p) {
            if (p + 1 < DEPTH) {
                read(p + 1);
            } else {  // while the last step is multiplied: the next tile is there, and all have left the stage to fill
                wait_copies<STAGES - 2>();
                __syncthreads();
                reading = stage_after<STAGES, STAGE>(reading);
                if (exists(tile + 1)) read(0);
            }
            if (p == 0) fetch(tile + STAGES - 1);  // after a read, which would else wait for all copies to be issued
            add_outer(total, a_column[p % 2], b_row[p % 2]);
        }
    }
    wait_copies<0>();  // nothing may still be on its way to a block that has ended
    if (SLICES > 1 && !add_slices<SLICES, SLICE_THREADS>(total, stages, thread)) return;
    store_fours<THREAD_M, THREAD_N, 4 * LANES_DOWN, 4 * LANES_ACROSS, VECTOR>(c, m, n, top + row, left + column, total);
}
