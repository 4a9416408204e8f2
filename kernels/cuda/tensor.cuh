// Tensor cores, sm_80 and newer: one instruction of a warp multiplies two small matrices.
#pragma once

#ifndef CPU_EMULATION
// d (16,8) += a (16,8) · b (8,8), by the 32 threads of a warp together. Sums are float; of each operand's fraction the
// tensor core takes the first 10 bits and leaves the last 13 out, which is TF32. A NaN with none of the first set would
// become infinity; arithmetic makes no such NaN.
// With g = lane / 4 and t = lane % 4 a thread holds (PTX ISA, mma.m16n8k8):
//   a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)     b: (t, g), (t + 4, g)
//   d: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const float (&a)[4], const float (&b)[2]) {
    asm(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
#endif
