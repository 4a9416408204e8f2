// Tensor cores: one instruction of a warp does 1024 multiply-adds, for numbers shortened to TF32.
//
// At the same time: the 32 threads of a warp hold a 16 x 8 piece of A, an 8 x 8 piece of B and a 16 x 8 piece of C
// between them, a few numbers each, and the tensor core multiplies all of it at once. Copies overlap arithmetic, and a
// thread reads the pieces of the next 8 steps of k while the last are multiplied, as in cupy_warptile.cu.
// TF32 keeps 11 significant bits of each number of A and B; their products are summed in float32. The tensor core cuts off
// the others itself. To round them first (cvt.rna.tf32) would halve the error, but takes two instructions for each number
// that a thread reads, more than all the rest: the tensor cores of a Hopper chip would wait for those.
// An operand lies in shared memory as it lies in global memory, so that copies are of 16 bytes either way. Which line of a
// tile is which line of a piece is free, and so is the order of the steps of k, if both operands keep it. So the
// instruction's steps t and t + 4 are neighbours, 2t and 2t + 1: where k lies along the rows, a thread reads both at once.
// Where lines do, it reads a step of two lines at once, g and g + 8 of the instruction's first operand, which are 2g and
// 2g + 1. The two then stand in the registers as the instruction wants them, if the first operand is the one with lines
// along its rows: so, for a row-major B, Bᵀ·Aᵀ is computed, which is Cᵀ. With k along the rows of both, numbers are moved.
// Padding has the threads that read at one time meet 32 different banks: 8 numbers of a row along k, 4 of a row of lines.
// Limit: the operands pass through registers on their way from shared memory. cupy_hopper.cu lets the tensor cores read
// shared memory themselves.
//
// c (m,n) = a (m,k) · b (k,n): a(i,p) = a[i * a_down + p * a_along], b likewise, c row after row.

#include "memory.cuh"
#include "tensor.cuh"

constexpr int WARPS_ACROSS = BLOCK_N / WARP_N;
constexpr int THREADS = 32 * (BLOCK_M / WARP_M) * WARPS_ACROSS;

// A tile of an operand: LINES rows of A or columns of B.
template <int LINES, bool K_CONTIGUOUS>
struct Operands {
    static constexpr int STRIDE = K_CONTIGUOUS ? BLOCK_K + 8 : LINES + 4, SIZE = STRIDE * (K_CONTIGUOUS ? LINES : BLOCK_K);
    static_assert(K_CONTIGUOUS ? STRIDE % 16 == 8 : STRIDE % 32 == 4, "else threads that read together meet in a bank");
    using Copies = Share<LINES, BLOCK_K, STRIDE, THREADS, K_CONTIGUOUS, VECTOR, false>;

    // Which of 16 lines of the tile is line g + 8 h of the instruction's first operand.
    static __device__ __forceinline__ int line(int g, int h) { return K_CONTIGUOUS ? g + 8 * h : 2 * g + h; }
    static __device__ __forceinline__ int at(int line, int step) {
        return K_CONTIGUOUS ? line * STRIDE + step : step * STRIDE + line;
    }
    // Where a thread finds its first number of an instruction's first or second operand, which has so many lines.
    static __device__ __forceinline__ int first_number(int lines, int g, int t) {
        return at(lines == 16 ? line(g, 0) : g, 2 * t);
    }
    // A thread's part of the instruction's first operand, from its first number on: 16 lines, 8 steps of k.
    static __device__ __forceinline__ void read(float (&to)[4], const float* from) {
#pragma unroll
        for (int q = 0; q < 2; ++q) {
            const float2 two = *reinterpret_cast<const float2*>(from + (K_CONTIGUOUS ? at(8 * q, 0) : at(0, q)));
            to[K_CONTIGUOUS ? q : 2 * q] = two.x;
            to[K_CONTIGUOUS ? 2 + q : 2 * q + 1] = two.y;
        }
    }
    // Of the second operand: 8 lines.
    static __device__ __forceinline__ void read(float (&to)[2], const float* from) {
        if (K_CONTIGUOUS) {
            const float2 two = *reinterpret_cast<const float2*>(from);
            to[0] = two.x;
            to[1] = two.y;
        } else {
            to[0] = from[at(0, 0)];
            to[1] = from[at(0, 1)];
        }
    }
};

using A = Operands<BLOCK_M, A_K_CONTIGUOUS>;
using B = Operands<BLOCK_N, B_K_CONTIGUOUS>;
constexpr int STAGE = A::SIZE + B::SIZE;
constexpr bool B_FIRST = A_K_CONTIGUOUS && !B_K_CONTIGUOUS;  // of the instruction's operands
constexpr int A_LINES = B_FIRST ? 8 : 16, B_LINES = B_FIRST ? 16 : 8;  // of an instruction
constexpr int DOWN = WARP_M / A_LINES, ACROSS = WARP_N / B_LINES;  // a warp's pieces of C
static_assert(BLOCK_K % 16 == 0, "of the two sets of pieces in registers, each tile begins with the first");

__device__ __forceinline__ void multiply(float (&total)[4], const float (&a)[4], const float (&b)[2]) {
    mma_m16n8k8_tf32(total, a, b);
}
__device__ __forceinline__ void multiply(float (&total)[4], const float (&a)[2], const float (&b)[4]) {
    mma_m16n8k8_tf32(total, b, a);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k,
       long long a_down, long long a_along, long long b_down, long long b_along) {
    extern __shared__ float4 shared[];
    float* stages = reinterpret_cast<float*>(shared);
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    const int g = lane / 4, t = lane % 4;  // as the instruction's description calls them
    const int2 block = tile_of_block<GROUP>(blockIdx.x, (n + BLOCK_N - 1) / BLOCK_N, (m + BLOCK_M - 1) / BLOCK_M);
    const int top = block.y * BLOCK_M, left = block.x * BLOCK_N;
    const int row = warp / WARPS_ACROSS * WARP_M, column = warp % WARPS_ACROSS * WARP_N;
    A::Copies a_share({a, m, k, A_K_CONTIGUOUS ? a_down : a_along}, top, 0, thread);
    B::Copies b_share({b, n, k, B_K_CONTIGUOUS ? b_along : b_down}, left, 0, thread);
    const int tiles = (k + BLOCK_K - 1) / BLOCK_K;

    int filling = 0, reading = 0;  // where the stage begins that the next copies go to, and the one in use
    const auto fetch = [&] {  // past the end zeros, which costs less than to ask
        fill_async(stages + filling, a_share);
        fill_async(stages + filling + A::SIZE, b_share);
        commit_copies();
        filling = stage_after<STAGES, STAGE>(filling);
    };
    float total[DOWN][ACROSS][4] = {};
    // a thread's numbers of 8 steps of k: one set in use, one on its way
    float a_pieces[2][DOWN][A_LINES / 4], b_pieces[2][ACROSS][B_LINES / 4];
    // what differs from lane to lane stands here, so that all further distances are part of the loads
    const int a_first = A::at(row, 0) + A::first_number(A_LINES, g, t);
    const int b_first = B::at(column, 0) + B::first_number(B_LINES, g, t) + A::SIZE;
    const auto read = [&](int p) {
        const float* tile = stages + reading;
#pragma unroll
        for (int r = 0; r < DOWN; ++r) A::read(a_pieces[p / 8 % 2][r], tile + a_first + A::at(r * A_LINES, p));
#pragma unroll
        for (int s = 0; s < ACROSS; ++s) B::read(b_pieces[p / 8 % 2][s], tile + b_first + B::at(s * B_LINES, p));
    };

    for (int tile = 0; tile < STAGES - 1; ++tile) fetch();
    wait_copies<STAGES - 2>();
    __syncthreads();
    read(0);
    for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
        for (int p = 0; p < BLOCK_K; p += 8) {
            if (p + 8 < BLOCK_K) {
                read(p + 8);
            } else {  // the next tile is there, and all have left the stage to fill
                wait_copies<STAGES - 2>();
                __syncthreads();
                reading = stage_after<STAGES, STAGE>(reading);
                read(0);
            }
            if (p == 0) fetch();
#pragma unroll
            for (int r = 0; r < DOWN; ++r)
#pragma unroll
                for (int s = 0; s < ACROSS; ++s) multiply(total[r][s], a_pieces[p / 8 % 2][r], b_pieces[p / 8 % 2][s]);
        }
    }
    wait_copies<0>();  // nothing may still be on its way to a block that has ended
#pragma unroll
    for (int r = 0; r < DOWN; ++r)
#pragma unroll
        for (int s = 0; s < ACROSS; ++s)
#pragma unroll
            for (int q = 0; q < 2; ++q) {
                const float(&d)[4] = total[r][s];
                const int i = top + row + r * A_LINES, j = left + column + s * B_LINES;
                if (B_FIRST)
                    store_two(c, m, n, i + 2 * t + q, j + B::line(g, 0), d[q], d[q + 2], VECTOR == 4);
                else
                    store_two(c, m, n, i + A::line(g, q), j + 2 * t, d[2 * q], d[2 * q + 1], VECTOR == 4);
            }
}
