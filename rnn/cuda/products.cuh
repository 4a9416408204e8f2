// The two products of the persistent kernel: a time step's, whose weights stay on the chip, and the weight gradient's.
#pragma once

// What four neighbouring lanes do for one unit: lane `slice` of them multiplies 4 of each 16 numbers, for all four gates.
// So 16 weights of a thread go together, a "quad": w[gate][number].
using Quad = float[4][4];

// Four multiply-adds, one after another: in one expression they would be five instructions.
__device__ __forceinline__ void add_four(float& sum, const float (&w)[4], const float4& v) {
    sum += w[0] * v.x;
    sum += w[1] * v.y;
    sum += w[2] * v.z;
    sum += w[3] * v.w;
}

// The weights that a thread multiplies in the forward pass: of [x, h] onto the gates of `unit`.
// first: of four neighbouring numbers; x is padded to X numbers, h to UNITS.
struct Forward {
    static constexpr int DEPTH = X + UNITS, OPERAND = DEPTH;
    static __device__ __forceinline__ void fetch(Quad& w, const float* weight, int unit, int first) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int number = first + e, row = number < X ? number : number - X + INPUTS;
            const bool inside = unit < HIDDEN && (number < X ? number < INPUTS : number - X < HIDDEN);
#pragma unroll
            for (int g = 0; g < 4; ++g) w[g][e] = inside ? weight[row * 4 * HIDDEN + g * HIDDEN + unit] : 0.0f;
        }
    }
    static __device__ __forceinline__ void add(float (&sum)[4], const Quad& w, const float* operand) {
        const float4 v = *reinterpret_cast<const float4*>(operand);
#pragma unroll
        for (int g = 0; g < 4; ++g) add_four(sum[g], w[g], v);
    }
};

// The same for the backward pass: of all gates' dz onto dh of `unit`, the recurrent weights by their rows.
struct Backward {
    static constexpr int DEPTH = UNITS, OPERAND = 4 * UNITS;
    static __device__ __forceinline__ void fetch(Quad& w, const float* weight, int unit, int first) {
        const float* row = weight + (INPUTS + unit) * 4 * HIDDEN + first;
#pragma unroll
        for (int g = 0; g < 4; ++g) {
            if (HIDDEN % 4 == 0) {  // 16 bytes at once
                float4 v = make_float4(0, 0, 0, 0);
                if (unit < HIDDEN && first < HIDDEN) v = *reinterpret_cast<const float4*>(row + g * HIDDEN);
                w[g][0] = v.x, w[g][1] = v.y, w[g][2] = v.z, w[g][3] = v.w;
            } else {
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    w[g][e] = unit < HIDDEN && first + e < HIDDEN ? row[g * HIDDEN + e] : 0.0f;
            }
        }
    }
    static __device__ __forceinline__ void add(float (&sum)[4], const Quad& w, const float* operand) {
#pragma unroll
        for (int g = 0; g < 4; ++g) {
            const float4 v = *reinterpret_cast<const float4*>(operand + g * UNITS);
            add_four(sum[g], w[g], v);
        }
    }
};

// A thread's weights of one pass: the first quads in its registers, the next in shared memory, and what does not fit on
// the chip comes from L2 every time.
template <class Pass>
struct Resident {
    static constexpr int QUADS = Pass::DEPTH / 16;
    static constexpr int HELD = QUADS_IN_REGISTERS < QUADS ? QUADS_IN_REGISTERS : QUADS;
    static constexpr int KEPT = QUADS_IN_SHARED < QUADS - HELD ? QUADS_IN_SHARED : QUADS - HELD;
    Quad held[HELD > 0 ? HELD : 1];
    const float* weight;
    float4* kept;  // of this thread: THREADS apart
    int unit, slice;

    __device__ __forceinline__ void load(const float* from, float4* shared) {
        unit = threadIdx.x / 4, slice = threadIdx.x % 4;
        weight = from, kept = shared + threadIdx.x;
#pragma unroll
        for (int q = 0; q < HELD; ++q) Pass::fetch(held[q], weight, unit, 16 * q + 4 * slice);
#pragma unroll 1
        for (int q = 0; q < KEPT; ++q) {
            Quad w;
            Pass::fetch(w, weight, unit, 16 * (HELD + q) + 4 * slice);
#pragma unroll
            for (int g = 0; g < 4; ++g) kept[(4 * q + g) * THREADS] = make_float4(w[g][0], w[g][1], w[g][2], w[g][3]);
        }
    }

    // sum[row][gate] += the operand of each row times the weights; operand: shared memory, row after row.
    // Afterwards all four lanes of a unit hold the whole sums.
    __device__ __forceinline__ void multiply(float (&sum)[ROWS][4], const float* operand) const {
        const float* mine = operand + 4 * slice;
#pragma unroll
        for (int q = 0; q < HELD; ++q) add(sum, held[q], mine + 16 * q);
#pragma unroll 1
        for (int q = HELD; q < HELD + KEPT; ++q) {
            Quad w;
#pragma unroll
            for (int g = 0; g < 4; ++g) {
                const float4 v = kept[(4 * (q - HELD) + g) * THREADS];
                w[g][0] = v.x, w[g][1] = v.y, w[g][2] = v.z, w[g][3] = v.w;
            }
            add(sum, w, mine + 16 * q);
        }
#pragma unroll 1
        for (int q = HELD + KEPT; q < QUADS; ++q) {
            Quad w;
            Pass::fetch(w, weight, unit, 16 * q + 4 * slice);
            add(sum, w, mine + 16 * q);
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int g = 0; g < 4; ++g) {
                sum[r][g] += __shfl_xor_sync(~0u, sum[r][g], 1);
                sum[r][g] += __shfl_xor_sync(~0u, sum[r][g], 2);
            }
    }
    static __device__ __forceinline__ void add(float (&sum)[ROWS][4], const Quad& w, const float* operand) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) Pass::add(sum[r], w, operand + r * Pass::OPERAND);
    }
};

// out (32,32) = the sum over p in [first, last) of a[p,:]ᵀ · b[p,:], by one warp: each lane 4 x 8 of it. The order of
// summation is fixed. a, b: 32 columns that begin at a multiple of 16 bytes.
__device__ __forceinline__ void add_rows(const float* a, long long a_pitch, const float* b, long long b_pitch, int first,
                                         int last, float* out, int lane) {
    const int top = lane / 4 * 4, left = lane % 4 * 4;  // columns: four from left on, and four from left + 16 on
    constexpr int TOGETHER = THREADS > 512 ? 1 : 2;  // rows on their way at the same time: of registers there are 64 or 128
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
