// Hopper's own instructions (sm_90a): barriers in shared memory that count bytes, the copy engine, warpgroup products.
#pragma once

#include "memory.cuh"

// How a matrix lies in global memory, for the copy engine: 128 bytes that only the driver can fill in.
struct alignas(64) TensorMap {
    unsigned char bytes[128];
};

#ifndef CPU_EMULATION
// A barrier in shared memory. A phase ends when `arrivals` threads have arrived and all bytes expected have come; it
// then begins anew with the other parity.
__device__ __forceinline__ void barrier_init(unsigned long long* barrier, unsigned arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// After barrier_init by one thread, before the cluster's first cluster_sync: the copy engine must see it, too.
__device__ __forceinline__ void barrier_init_done() {
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}

// At the barrier that has the same place in a block of the cluster. Without `.release.cluster`, which would wait for all that
// the thread has ever stored: what it says is that products, now complete, have read a tile.
__device__ __forceinline__ void barrier_arrive_at(unsigned long long* barrier, int block) {
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(shared_address(barrier)),
                 "r"(block)
                 : "memory");
}

__device__ __forceinline__ void barrier_arrive_expecting(unsigned long long* barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

// Until the phase of this parity has ended.
__device__ __forceinline__ void barrier_wait(unsigned long long* barrier, unsigned parity) {
    unsigned ended;
    do {
        asm volatile(
            "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
            : "=r"(ended)
            : "r"(shared_address(barrier)), "r"(parity)
            : "memory");
    } while (!ended);
}

// Blocks of a cluster: which this one is, and a barrier of them all.
__device__ __forceinline__ int block_in_cluster() {
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
__device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

// Let the copy engine fetch the map's box whose first number is (column, row); zeros outside the matrix. Its bytes count
// towards the barrier's phase.
__device__ __forceinline__ void copy_box(void* destination, const TensorMap* map, unsigned long long* barrier, int column,
                                         int row) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            shared_address(destination)),
        "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row)
        : "memory");
}

// The same box for all blocks of the cluster whose bit is set in `blocks`: to the same place in each, and its bytes count
// towards the barrier that has the same place in each.
__device__ __forceinline__ void copy_box_to(int blocks, void* destination, const TensorMap* map,
                                            unsigned long long* barrier, int column, int row) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
        "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(destination)),
        "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row), "h"(static_cast<unsigned short>(blocks))
        : "memory");
}

// What wgmma must know of a tile in shared memory: rows of 128 bytes, swizzled by the copy engine in groups of
// 8 rows (PTX ISA, matrix descriptor: address, 1024 bytes from group to group, 128-byte swizzle).
__device__ __forceinline__ unsigned long long tile_descriptor(const void* tile) {
    const unsigned long long address = (shared_address(tile) & 0x3FFFF) >> 4;
    return address | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

// The same tile from `bytes` further on along its first row.
__device__ __forceinline__ unsigned long long descriptor_at(unsigned long long tile, int bytes) { return tile + bytes / 16; }

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until all groups of products but the newest PENDING are complete.
template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// d (64,256) += a (64,K) · b (K,256) by the 128 threads of a warpgroup, with float sums; K is 32 bytes of bf16 or TF32.
// a and b lie in shared memory, K along their rows. Warp w of the four has rows 16 w to 16 w + 15; with g = lane / 4 and
// t = lane % 4, d[4 j + q] is number (g + q / 2 * 8, 8 j + 2 t + q % 2) of them.
#define WGMMA(NAME, INSTRUCTION, MODIFIERS)                                                                           \
__device__ __forceinline__ void NAME(float (&d)[128], unsigned long long a, unsigned long long b) {                   \
    asm volatile(                                                                                                     \
        "wgmma.mma_async.sync.aligned." INSTRUCTION " {"                                                              \
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "        \
        "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "        \
        "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "        \
        "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, "        \
        "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, "            \
        "%101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, "            \
        "%117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127 "                                           \
        "}, %128, %129, 1, " MODIFIERS ";"                                                                            \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), \
          "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),      \
          "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),     \
          "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),     \
          "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),     \
          "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),     \
          "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),     \
          "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), "+f"(d[64]),     \
          "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), "+f"(d[72]),     \
          "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), "+f"(d[80]),     \
          "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]),     \
          "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]),     \
          "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]),\
          "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]),           \
          "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]),           \
          "+f"(d[119]), "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]),           \
          "+f"(d[126]), "+f"(d[127])                                                                                  \
        : "l"(a), "l"(b));                                                                                            \
}
WGMMA(wgmma_m64n256k16_bf16, "m64n256k16.f32.bf16.bf16", "1, 1, 0, 0")  // signs as they are, nothing transposed
WGMMA(wgmma_m64n256k8_tf32, "m64n256k8.f32.tf32.tf32", "1, 1")          // where nothing can be transposed
#undef WGMMA

// x rounded to bf16, ties to even.
__device__ __forceinline__ unsigned short to_bf16(float x) {
    unsigned short rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(x));
    return rounded;
}
#endif
