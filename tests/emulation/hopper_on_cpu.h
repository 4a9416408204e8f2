// The functions of kernels/cuda/hopper.cuh. What runs beside the threads comes as late as it may: a box when no thread
// can go on without it, a product when its warp waits for it.
#pragma once

inline int block_in_cluster() { return static_cast<int>(blockIdx.x % emulation::cluster_size); }
inline void cluster_sync(emulation::Place place = emulation::Place::here()) { emulation::cluster_barrier(place); }

inline void barrier_init(unsigned long long* barrier, unsigned arrivals) { emulation::barrier_init(barrier, arrivals); }
inline void barrier_init_done() {}
inline void barrier_arrive_at(unsigned long long* barrier, int block) {
    emulation::barrier_arrive_at(static_cast<unsigned>(block), barrier, 0);
}
inline void barrier_arrive_expecting(unsigned long long* barrier, unsigned bytes) {
    emulation::barrier_arrive_at(static_cast<unsigned>(block_in_cluster()), barrier, bytes);
}
inline void barrier_wait(unsigned long long* barrier, unsigned parity,
                         emulation::Place place = emulation::Place::here()) {
    emulation::barrier_wait(barrier, parity, place);
}

template <class TensorMap>
inline void copy_box_to(unsigned blocks, void* destination, const TensorMap* map, unsigned long long* barrier, int column,
                        int row) {
    emulation::copy_box(destination, __builtin_bit_cast(emulation::Map, *map), barrier, column, row, blocks);
}
template <class TensorMap>
inline void copy_box(void* destination, const TensorMap* map, unsigned long long* barrier, int column, int row) {
    copy_box_to(1u << block_in_cluster(), destination, map, barrier, column, row);
}

// Here the address alone: 128-byte swizzle and 1024 bytes from one group of 8 rows to the next are taken for granted.
inline unsigned long long tile_descriptor(const void* tile) { return reinterpret_cast<unsigned long long>(tile); }
inline unsigned long long descriptor_at(unsigned long long tile, int bytes) { return tile + bytes; }

inline void wgmma_fence(emulation::Place place = emulation::Place::here()) { emulation::fence_products(place); }
inline void wgmma_commit(emulation::Place place = emulation::Place::here()) { emulation::commit_products(place); }
template <int PENDING>
inline void wgmma_wait(emulation::Place place = emulation::Place::here()) {
    emulation::wait_products(PENDING, place);
}
inline void wgmma_m64n256k16_bf16(float (&d)[128], unsigned long long a, unsigned long long b,
                                  emulation::Place place = emulation::Place::here()) {
    emulation::issue_product(d, 128, 2, a, b, place);
}
inline void wgmma_m64n256k8_tf32(float (&d)[128], unsigned long long a, unsigned long long b,
                                 emulation::Place place = emulation::Place::here()) {
    emulation::issue_product(d, 128, 4, a, b, place);
}

// cvt.rn.bf16.f32: ties to even; every NaN becomes 0x7fff.
inline unsigned short to_bf16(float x) {
    const unsigned bits = __builtin_bit_cast(unsigned, x);
    return x != x ? 0x7fff : static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
