// The tensor core's functions of kernels/cuda/tensor.cuh, by the 32 lanes of a warp together.
#pragma once

// The registers as in the PTX ISA's "Matrix fragments for mma.m16n8k8". As on the chip, the 13 lowest bits of an
// operand are not looked at. How the chip rounds its sums is not documented: here, to nearest after each product.
inline void mma_m16n8k8_tf32(float (&d)[4], const float (&a)[4], const float (&b)[2],
                             emulation::Place place = emulation::Place::here()) {
    struct Fragments {
        float a[4], b[2], d[4];
    };
    struct Sums {
        float d[4];
    };
    const auto multiply = [](const emulation::Meeting& all) {
        if (all.lanes != ~0u) emulation::fail("mma needs all 32 lanes of a warp, %#x are there", all.lanes);
        const auto tf32 = [](float x) { return __builtin_bit_cast(float, __float_as_uint(x) & ~0x1fffu); };
        float a[16][8], b[8][8];
        for (int lane = 0; lane < 32; ++lane) {
            const Fragments& of = all.from<Fragments>(lane);
            const int g = lane / 4, t = lane % 4;
            for (int i = 0; i < 4; ++i) a[g + i % 2 * 8][t + i / 2 * 4] = tf32(of.a[i]);
            for (int i = 0; i < 2; ++i) b[t + i * 4][g] = tf32(of.b[i]);
        }
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i) {
                const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
                float sum = all.from<Fragments>(lane).d[i];
                for (int p = 0; p < 8; ++p) sum += a[row][p] * b[p][column];
                all.to<Sums>(lane).d[i] = sum;
            }
    };
    const Fragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {d[0], d[1], d[2], d[3]}};
    const Sums sums = emulation::together<Sums>(~0u, mine, multiply, "mma", place);
    for (int i = 0; i < 4; ++i) d[i] = sums.d[i];
}
