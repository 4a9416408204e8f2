// Tensor cores, sm_80 and newer: one instruction of a warp multiplies two small matrices.
#pragma once

#ifndef CPU_EMULATION
// x rounded to TF32: the exponent of a float, 10 bits of fraction; ties away from zero.
__device__ __forceinline__ unsigned to_tf32(float x) {
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return rounded;
}

// d (16,8) += a (16,8) · b (8,8), float sums of TF32 products, by the 32 threads of a warp together. With g = lane / 4
// and t = lane % 4 a thread holds (PTX ISA, mma.m16n8k8):
//   a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)     b: (t, g), (t + 4, g)
//   d: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif
