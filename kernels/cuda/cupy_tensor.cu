// Tensor cores: one instruction of a warp does 1024 multiply-adds, for numbers shortened to TF32.
//
// At the same time: the 32 threads of a warp hold a 16 x 8 piece of A, an 8 x 8 piece of B and a 16 x 8 piece of C
// between them, a few numbers each, and the tensor core multiplies all of it at once. Copies overlap arithmetic as in
// cupy_pipelined.cu.
// TF32 keeps 11 significant bits of each number of A and B; their products are summed in float32. The tensor core cuts off
// the others itself. To round them first (cvt.rna.tf32) would halve the error, but takes two instructions for each number
// that a thread reads, more than all the rest: the tensor cores of a Hopper chip would wait for those.
// An operand lies in shared memory as it lies in global memory, so that copies are of 16 bytes either way. For a fragment a
// warp reads 4 steps of k x 8 lines: 32 different banks if a step of k is 8 banks further than the last (8 numbers of
// padding), or, with k along the rows, if a line is an odd number of fours further (4 numbers of padding).
// Limit: the operands pass through registers on their way from shared memory. cupy_hopper.cu lets the tensor cores read
// shared memory themselves.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

#include "memory.cuh"
#include "tensor.cuh"

constexpr int WARPS_ACROSS = BLOCK_N / WARP_N;
constexpr int THREADS = 32 * (BLOCK_M / WARP_M) * WARPS_ACROSS;

// A tile of an operand: where the number of line and step of k stands, and how it comes there.
template <int LINES, bool K_CONTIGUOUS>
struct Operands {
    static constexpr int STRIDE = K_CONTIGUOUS ? BLOCK_K + 4 : LINES + 8, SIZE = STRIDE * (K_CONTIGUOUS ? LINES : BLOCK_K);
    static __device__ __forceinline__ int at(int line, int p) {
        return K_CONTIGUOUS ? line * STRIDE + p : p * STRIDE + line;
    }
    static __device__ __forceinline__ void fetch(float* tile, const Operand& from, int first, int start, int thread) {
        if (K_CONTIGUOUS) {  // the same with lines and steps of k exchanged
            AsyncShare<BLOCK_K, LINES, STRIDE, THREADS, false, VECTOR> share({from.x, from.depth, from.lines, from.pitch},
                                                                             start, first, thread);
            fill_async(tile, share);
        } else {
            AsyncShare<LINES, BLOCK_K, STRIDE, THREADS, false, VECTOR> share(from, first, start, thread);
            fill_async(tile, share);
        }
    }
};

using A = Operands<BLOCK_M, A_K_CONTIGUOUS>;
using B = Operands<BLOCK_N, B_K_CONTIGUOUS>;
constexpr int STAGE = A::SIZE + B::SIZE;
constexpr int PIECES_DOWN = WARP_M / 16, PIECES_ACROSS = WARP_N / 8;  // of 16 x 8 numbers of C

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    extern __shared__ float4 shared[];
    float* stages = reinterpret_cast<float*>(shared);
    const Operand from_a = {a, m, k, A_K_CONTIGUOUS ? a_down : a_along};
    const Operand from_b = {b, n, k, B_K_CONTIGUOUS ? b_along : b_down};
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    const int g = lane / 4, t = lane % 4;  // as the instruction's description calls them
    const int2 block = tile_of_block<GROUP>(blockIdx.x, (n + BLOCK_N - 1) / BLOCK_N, (m + BLOCK_M - 1) / BLOCK_M);
    const int top = block.y * BLOCK_M, left = block.x * BLOCK_N;
    const int row = warp / WARPS_ACROSS * WARP_M, column = warp % WARPS_ACROSS * WARP_N;
    const int tiles = (k + BLOCK_K - 1) / BLOCK_K;

    const auto fetch = [&](int tile) {
        float* stage = stages + tile % STAGES * STAGE;
        if (tile < tiles) {
            const int start = tile * BLOCK_K;
            A::fetch(stage, from_a, top, start, thread);
            B::fetch(stage + A::SIZE, from_b, left, start, thread);
        }
        commit_copies();  // also past the end, so that the newest groups are always the same number
    };

    for (int tile = 0; tile < STAGES - 1; ++tile) fetch(tile);
    float total[PIECES_DOWN][PIECES_ACROSS][4] = {};
    for (int tile = 0; tile < tiles; ++tile) {
        wait_copies<STAGES - 2>();
        __syncthreads();
        fetch(tile + STAGES - 1);
        // what differs from lane to lane stands here, so that all further distances are part of the loads
        const float* a_tile = stages + tile % STAGES * STAGE + A::at(row + g, t);
        const float* b_tile = stages + tile % STAGES * STAGE + A::SIZE + B::at(column + g, t);
#pragma unroll 2  // more would need more registers than there are
        for (int p = 0; p < BLOCK_K; p += 8) {
            float a_piece[PIECES_DOWN][4], b_piece[PIECES_ACROSS][2];
#pragma unroll
            for (int r = 0; r < PIECES_DOWN; ++r)
#pragma unroll
                for (int q = 0; q < 4; ++q) a_piece[r][q] = a_tile[A::at(r * 16 + q % 2 * 8, p + q / 2 * 4)];
#pragma unroll
            for (int s = 0; s < PIECES_ACROSS; ++s)
#pragma unroll
                for (int q = 0; q < 2; ++q) b_piece[s][q] = b_tile[B::at(s * 8, p + q * 4)];
#pragma unroll
            for (int r = 0; r < PIECES_DOWN; ++r)
#pragma unroll
                for (int s = 0; s < PIECES_ACROSS; ++s) mma_m16n8k8_tf32(total[r][s], a_piece[r], b_piece[s]);
        }
    }
#pragma unroll
    for (int r = 0; r < PIECES_DOWN; ++r)
#pragma unroll
        for (int s = 0; s < PIECES_ACROSS; ++s)
#pragma unroll
            for (int q = 0; q < 4; ++q) {
                const int i = top + row + r * 16 + g + q / 2 * 8, j = left + column + s * 8 + 2 * t + q % 2;
                if (i < m && j < n) c[static_cast<long long>(i) * n + j] = total[r][s][q];
            }
}
