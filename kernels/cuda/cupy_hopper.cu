// Hopper's tensor cores read shared memory themselves, and a copy engine fills it: threads hardly touch the operands.
//
// At the same time: one thread keeps the copy engine busy, which fetches whole tiles; two warpgroups of 128 threads each
// issue products of 64 x 256 x 16 numbers that run on while they wait for the next tile. Barriers in shared memory say
// which of the STAGES tiles are full and which are free again: nobody waits for the whole block.
// There are no more blocks than multiprocessors, and each makes tile after tile of C: while it stores the sums of one,
// the copy engine fetches for the next. CLUSTER blocks, on multiprocessors that reach each other's shared memory, make
// tiles one above the other: they need the same numbers of B, and each fetches a part of them for all.
// The operands are rounded to bf16 (8 significant bits) by `lay_out` before, each with K along its rows; sums are float32.
// The copy engine writes zeros for what lies outside, and swizzles rows so that eight of them read at one place lie in
// different banks. Numbers may have BYTES 4 instead of 2: cupy_hopper_tf32.cu.
// A thread of a warpgroup holds 128 of its 64 x 256 sums in registers: larger tiles would not fit.
// Limit: the tensor cores, when tiles are large and many; else the last round of tiles, which leaves blocks idle.
// After the PTX ISA (wgmma, mbarrier, cp.async.bulk.tensor) and the designs of CUTLASS's warp-specialised kernels.

#include "hopper.cuh"

#if BYTES == 2
using Number = unsigned short;  // bf16
__device__ __forceinline__ Number shortened(float x) { return to_bf16(x); }
__device__ __forceinline__ void multiply(float (&d)[128], unsigned long long a, unsigned long long b) {
    wgmma_m64n256k16_bf16(d, a, b);
}
#elif BYTES == 4
using Number = float;
__device__ __forceinline__ Number shortened(float x) { return x; }  // the copy engine shortens it to TF32
__device__ __forceinline__ void multiply(float (&d)[128], unsigned long long a, unsigned long long b) {
    wgmma_m64n256k8_tf32(d, a, b);
}
#endif

constexpr int ROW = 128;  // bytes of a tile's row, the swizzle's width
constexpr int BLOCK_M = 128, BLOCK_N = 256, BLOCK_K = ROW / BYTES;
constexpr int A_TILE = BLOCK_M * ROW, B_TILE = BLOCK_N * ROW;  // bytes
constexpr int CONSUMERS = 2, THREADS = 128 * (1 + CONSUMERS);
static_assert(BLOCK_N % (8 * CLUSTER) == 0, "a block's part of a tile of B begins where the swizzle does");

// The stage that comes next, and the parity of its barriers' phase: counted by copying and by multiplying threads alike.
struct Turn {
    int stage = 0;
    unsigned parity = 0;
    __device__ __forceinline__ void next() {
        if (++stage == STAGES) stage = 0, parity ^= 1;
    }
    __device__ __forceinline__ int stage_before() const { return (stage == 0 ? STAGES : stage) - 1; }
};

// c = the sums that a warpgroup holds of rows from `top` and columns from `left` on.
__device__ __forceinline__ void store(const float (&total)[128], float* __restrict__ c, int top, int left, int m, int n) {
    const int warp = threadIdx.x / 32 % 4, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    // two neighbours at once, where all rows begin at multiples of 8 bytes: four threads fill 32 bytes as a whole
    const bool pairs = n % 2 == 0 && reinterpret_cast<unsigned long long>(c) % 8 == 0;
#pragma unroll
    for (int j = 0; j < BLOCK_N / 8; ++j)
#pragma unroll
        for (int q = 0; q < 4; q += 2) {
            const int row = top + 16 * warp + g + q / 2 * 8, column = left + 8 * j + 2 * t;
            store_two(c, m, n, row, column, total[4 * j + q], total[4 * j + q + 1], pairs);
        }
}

// Calls work(top, left) for each tile of C of a block: the clusters take theirs in turn, as cards are dealt.
template <class Work>
__device__ __forceinline__ void for_each_tile(int m, int n, Work work) {
    const int across = (n + BLOCK_N - 1) / BLOCK_N, down = (m + CLUSTER * BLOCK_M - 1) / (CLUSTER * BLOCK_M);
    for (int i = blockIdx.x / CLUSTER; i < across * down; i += gridDim.x / CLUSTER) {
        const int2 at = tile_of_block<GROUP>(i, across, down);
        work((at.y * CLUSTER + block_in_cluster()) * BLOCK_M, at.x * BLOCK_N);
    }
}

// c (m,n) = a · b from maps of a (m,k) and of bᵀ (n,k), boxes of BLOCK_M x BLOCK_K and BLOCK_N / CLUSTER x BLOCK_K.
extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
matmul(const __grid_constant__ TensorMap a_map, const __grid_constant__ TensorMap b_map, float* __restrict__ c, int m,
       int n, int k) {
    extern __shared__ __align__(1024) unsigned char tiles[];
    __shared__ unsigned long long full[STAGES], free[STAGES];
    // the compiler cannot know that a warp is of one group, and would keep its addresses apart for each lane
    const int thread = threadIdx.x, group = __shfl_sync(~0u, thread / 128, 0), lane = thread % 32;
    const int steps = (k + BLOCK_K - 1) / BLOCK_K;

    if (thread == 0) {
        for (int stage = 0; stage < STAGES; ++stage) {
            barrier_init(&full[stage], 1);
            barrier_init(&free[stage], 4 * CONSUMERS * CLUSTER);  // every warp of the cluster says so
        }
        barrier_init_done();
    }
    cluster_sync();

    Turn turn;  // goes on from tile to tile
    if (group == 0) {
        if (thread == 0) {
            for_each_tile(m, n, [&](int top, int left) {
                for (int step = 0; step < steps; ++step, turn.next()) {
                    const int stage = turn.stage;
                    // the first round finds all stages free: a barrier's phase before its first counts as ended
                    barrier_wait(&free[stage], turn.parity ^ 1);
                    barrier_arrive_expecting(&full[stage], A_TILE + B_TILE);
                    unsigned char* a_tile = tiles + stage * (A_TILE + B_TILE);
                    copy_box(a_tile, &a_map, &full[stage], step * BLOCK_K, top);
                    // a part of B's tile for every block of the cluster, which need the same
                    const int part = block_in_cluster() * (BLOCK_N / CLUSTER);
                    copy_box_to((1 << CLUSTER) - 1, a_tile + A_TILE + part * ROW, &b_map, &full[stage],
                                step * BLOCK_K, left + part);
                }
            });
        }
    } else {
        const int rows = (group - 1) * 64;
        for_each_tile(m, n, [&](int top, int left) {
            float total[128] = {};
            const auto free_last_stage = [&] {
                if (lane < CLUSTER) barrier_arrive_at(&free[turn.stage_before()], lane);
            };
            for (int step = 0; step < steps; ++step, turn.next()) {
                barrier_wait(&full[turn.stage], turn.parity);
                const unsigned char* a_tile = tiles + turn.stage * (A_TILE + B_TILE);
                const auto a = tile_descriptor(a_tile + rows * ROW), b = tile_descriptor(a_tile + A_TILE);
                wgmma_fence();
#pragma unroll
                for (int p = 0; p < ROW; p += 32) multiply(total, descriptor_at(a, p), descriptor_at(b, p));
                wgmma_commit();
                // the products of this step run on; those of the step before are done with their tiles
                wgmma_wait<1>();
                if (step > 0) free_last_stage();
            }
            wgmma_wait<0>();
            free_last_stage();  // before the sums are stored: the copy engine goes on with the next tile
            store(total, c, top + rows, left, m, n);
        });
    }
    // no block may end while another still fetches for it, or tells it of a free stage
    cluster_sync();
}

constexpr int SIDE = 32, ROWS = 8;  // of the tile that a block turns round, and of its threads

// y (lines,pitch) = x, K along rows: y(i,p) = x[i * down + p * along], zeros from depth on to pitch.
extern "C" __global__ void __launch_bounds__(SIDE * ROWS)
lay_out(const float* __restrict__ x, Number* __restrict__ y, int lines, int depth, long long down, long long along,
        int pitch) {
    __shared__ float tile[SIDE][SIDE + 1];
    const int across = (pitch + SIDE - 1) / SIDE;  // blocks; all count in x, as in y there are too few for long operands
    const int line = blockIdx.x / across * SIDE, p = blockIdx.x % across * SIDE;
    // read along x's rows, as they lie in memory, and write along y's; a thread asks for all its numbers before it waits
    const bool turned = down == 1;
    const int row = turned ? p : line, column = (turned ? line : p) + threadIdx.x;
    const int rows = turned ? depth : lines, columns = turned ? lines : depth;
    const long long distance = turned ? along : down;  // from row to row
    const float* from = x + (row + threadIdx.y) * distance + column;
#pragma unroll
    for (int part = 0; part < SIDE / ROWS; ++part, from += ROWS * distance) {
        const int r = threadIdx.y + part * ROWS;
        const float number = row + r < rows && column < columns ? *from : 0.0f;
        tile[turned ? threadIdx.x : r][turned ? r : threadIdx.x] = number;
    }
    __syncthreads();
    Number* to = y + static_cast<long long>(line + threadIdx.y) * pitch + p + threadIdx.x;
#pragma unroll
    for (int part = 0; part < SIDE / ROWS; ++part, to += static_cast<long long>(ROWS) * pitch) {
        const int r = threadIdx.y + part * ROWS;
        if (line + r < lines && p + threadIdx.x < pitch) *to = shortened(tile[r][threadIdx.x]);
    }
}
