// The copies of kernels/cuda/memory.cuh, as late as cp.async may be: nothing arrives before the thread has waited.
#pragma once

inline void copy16_async(void* destination, const void* source, bool inside) {
    emulation::start_copy(destination, source, 16, inside);
}
inline void copy4_async(void* destination, const void* source, bool inside) {
    emulation::start_copy(destination, source, 4, inside);
}
inline void commit_copies() { emulation::commit_copies(); }

template <int PENDING>
inline void wait_copies() {
    emulation::wait_copies(PENDING);
}
