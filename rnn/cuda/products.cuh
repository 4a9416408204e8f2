// The two products of the persistent kernel: a time step's, whose weights stay on the chip, and the weight gradient's.
#pragma once

// Neighbouring lanes share four sums: each multiplies its part of the numbers, four of each 4·LANES, for all four sums.
// So 16 weights of a thread go together, a "quad": w[sum][number].
using Quad = float[4][4];

// Four multiply-adds, one after another: in one expression they would be five instructions.
__device__ __forceinline__ void add_four(float& sum, const float (&w)[4], const float4& v) {
    sum += w[0] * v.x;
    sum += w[1] * v.y;
    sum += w[2] * v.z;
    sum += w[3] * v.w;
}

// The weights that a thread multiplies in the forward pass: of [x, h] onto the four gates of a unit.
// first: of four neighbouring numbers; x is padded to X numbers, h to UNITS.
struct Forward {
    static constexpr int DEPTH = X + UNITS, LANES = 4;
    static __device__ __forceinline__ void fetch(Quad& w, const float* weight, int unit, int first) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int number = first + e, row = number < X ? number : number - X + INPUTS;
            const bool inside = unit < HIDDEN && (number < X ? number < INPUTS : number - X < HIDDEN);
#pragma unroll
            for (int g = 0; g < 4; ++g) w[g][e] = inside ? weight[row * 4 * HIDDEN + g * HIDDEN + unit] : 0.0f;
        }
    }
};

// The same for the backward pass: of the dz of a unit's four gates, which are neighbours, onto dh of four units.
struct Backward {
    static constexpr int DEPTH = 4 * UNITS, LANES = 16;
    static __device__ __forceinline__ void fetch(Quad& w, const float* weight, int four, int first) {
        const int unit = first / 4;
#pragma unroll
        for (int u = 0; u < 4; ++u) {
            const bool inside = 4 * four + u < HIDDEN && unit < HIDDEN;
            const float* row = weight + (INPUTS + 4 * four + u) * 4 * HIDDEN + unit;
#pragma unroll
            for (int g = 0; g < 4; ++g) w[u][g] = inside ? row[g * HIDDEN] : 0.0f;
        }
    }
};

// A thread's weights of one pass: the first quads in its registers, the next in shared memory, and what does not fit on
// the chip comes from L2 every time.
template <class Pass>
struct Resident {
    static constexpr int LANES = Pass::LANES, QUADS = Pass::DEPTH / (4 * LANES);
    static constexpr int HELD = QUADS_IN_REGISTERS < QUADS ? QUADS_IN_REGISTERS : QUADS;
    static constexpr int KEPT = QUADS_IN_SHARED < QUADS - HELD ? QUADS_IN_SHARED : QUADS - HELD;
    Quad held[HELD > 0 ? HELD : 1];
    const float* weight;
    float4* kept;  // of this thread: THREADS apart
    int group, lane;

    __device__ __forceinline__ void load(const float* from, float4* shared) {
        group = threadIdx.x / LANES, lane = threadIdx.x % LANES;
        weight = from, kept = shared + threadIdx.x;
        // those first, while no registers are taken: so many can be on their way from L2
#pragma unroll
        for (int q = 0; q < KEPT; ++q) {
            Quad w;
            fetch(w, HELD + q);
#pragma unroll
            for (int g = 0; g < 4; ++g) kept[(4 * q + g) * THREADS] = make_float4(w[g][0], w[g][1], w[g][2], w[g][3]);
        }
#pragma unroll
        for (int q = 0; q < HELD; ++q) fetch(held[q], q);
    }

    __device__ __forceinline__ void fetch(Quad& w, int q) const {
        Pass::fetch(w, weight, group, 4 * (LANES * q + lane));
    }

    // The operand of each row times the weights; operand: shared memory, row after row.
    // whole[row]: of the LANES lanes' four sums, the first quarter of the lanes gets the first, and so on.
    __device__ __forceinline__ void multiply(float (&whole)[ROWS], const float* operand) const {
        const float* mine = operand + 4 * lane;
        float sum[ROWS][4] = {};
#pragma unroll
        for (int q = 0; q < HELD; ++q) add(sum, held[q], mine + 4 * LANES * q);
#pragma unroll 1
        for (int q = HELD; q < HELD + KEPT; ++q) {
            Quad w;
#pragma unroll
            for (int g = 0; g < 4; ++g) {
                const float4 v = kept[(4 * (q - HELD) + g) * THREADS];
                w[g][0] = v.x, w[g][1] = v.y, w[g][2] = v.z, w[g][3] = v.w;
            }
            add(sum, w, mine + 4 * LANES * q);
        }
#pragma unroll 1
        for (int q = HELD + KEPT; q < QUADS; ++q) {
            Quad w;
            fetch(w, q);
            add(sum, w, mine + 4 * LANES * q);
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r) whole[r] = over_lanes(sum[r]);
    }
    static __device__ __forceinline__ void add(float (&sum)[ROWS][4], const Quad& w, const float* operand) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const float4 v = *reinterpret_cast<const float4*>(operand + r * Pass::DEPTH);
#pragma unroll
            for (int g = 0; g < 4; ++g) add_four(sum[r][g], w[g], v);
        }
    }
    // Each half of the lanes gives away the two sums that the other half goes on with, then each quarter one.
    __device__ __forceinline__ float over_lanes(const float (&sum)[4]) const {
        const bool upper = lane & LANES / 2, odd = lane & LANES / 4;
        const float a = (upper ? sum[2] : sum[0]) + __shfl_xor_sync(~0u, upper ? sum[0] : sum[2], LANES / 2);
        const float b = (upper ? sum[3] : sum[1]) + __shfl_xor_sync(~0u, upper ? sum[1] : sum[3], LANES / 2);
        float whole = (odd ? b : a) + __shfl_xor_sync(~0u, odd ? a : b, LANES / 4);
#pragma unroll
        for (int apart = LANES / 8; apart; apart /= 2) whole += __shfl_xor_sync(~0u, whole, apart);
        return whole;
    }
};

// out (32,32) = the sum over p in [first, last) of a[p,:]ᵀ · b[p,:], by one warp: each lane 4 x 8 of it. The order of
// summation is fixed. a, b: 32 columns that begin at a multiple of 16 bytes.
__device__ __forceinline__ void sum_of_outer_products(const float* a, long long a_pitch, const float* b, long long b_pitch,
                                                      int first, int last, float* out, int lane) {
    const int top = lane / 4 * 4, left = lane % 4 * 4;  // columns: four from left on, and four from left + 16 on
    constexpr int TOGETHER = 6;  // rows on their way from L2 at the same time: 72 registers besides the 32 of the sums
    float total[4][8] = {};
    a += first * a_pitch + top, b += first * b_pitch + left;
#pragma unroll TOGETHER
    for (int p = first; p < last; ++p, a += a_pitch, b += b_pitch) {
        const float4 u = *reinterpret_cast<const float4*>(a);
        const float4 v = *reinterpret_cast<const float4*>(b), w = *reinterpret_cast<const float4*>(b + 16);
        const float down[4] = {u.x, u.y, u.z, u.w}, across[8] = {v.x, v.y, v.z, v.w, w.x, w.y, w.z, w.w};
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 8; ++j) total[i][j] += down[i] * across[j];
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; j += 4)
            *reinterpret_cast<float4*>(out + (top + i) * 32 + left + 4 * j) =
                make_float4(total[i][j], total[i][j + 1], total[i][j + 2], total[i][j + 3]);
}
