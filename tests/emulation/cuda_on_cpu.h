// CUDA C for an ordinary C++ compiler: read in front of a .cu file, this lets g++ compile the same text.
//
// The threads of a block are fibres of one CPU thread. So "thread_local" is exactly what shared memory needs: it is
// static inside a function, it may follow `extern`, and all fibres see the same copy.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <type_traits>

#include "runtime.h"

#define CPU_EMULATION 1
#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __constant__ static
#define __shared__ thread_local
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

#define threadIdx emulation::thread_index
#define blockIdx emulation::block_index
#define blockDim emulation::block_size
#define gridDim emulation::grid_size

#define VECTOR_TYPES(type, name, alignment)                                                               \
    struct alignas(2 * sizeof(type)) name##2 {                                                            \
        type x, y;                                                                                        \
    };                                                                                                    \
    struct name##3 {                                                                                      \
        type x, y, z;                                                                                     \
    };                                                                                                    \
    struct alignas(alignment) name##4 {                                                                   \
        type x, y, z, w;                                                                                  \
    };                                                                                                    \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                      \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                           \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
VECTOR_TYPES(float, float, 16)
VECTOR_TYPES(int, int, 16)
VECTOR_TYPES(unsigned, uint, 16)
#undef VECTOR_TYPES

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
    return a < b ? a : b;
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
    return a > b ? a : b;
}
inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float expf(float x) { return __builtin_expf(x); }
inline float logf(float x) { return __builtin_logf(x); }
inline float tanhf(float x) { return __builtin_tanhf(x); }

template <class T>
inline T __ldg(const T* x) {
    return *x;
}

// Fibres change only where they wait, so nothing can come between.
template <class T>
inline T atomicAdd(T* to, std::common_type_t<T> x) {
    const T before = *to;
    *to += x;
    return before;
}
inline void __threadfence() {}
// each look at it is later than the last
inline long long clock64() {
    static long long now = 0;
    return ++now;
}
inline void __nanosleep(unsigned, emulation::Place place = emulation::Place::here()) { emulation::spin(place); }

inline void __syncthreads(emulation::Place place = emulation::Place::here()) { emulation::barrier(false, place); }
inline int __syncthreads_count(int vote, emulation::Place place = emulation::Place::here()) {
    return emulation::barrier(vote, place);
}
inline int __syncthreads_or(int vote, emulation::Place place = emulation::Place::here()) {
    return emulation::barrier(vote, place) != 0;
}
inline int __syncthreads_and(int vote, emulation::Place place = emulation::Place::here()) {
    return emulation::barrier(!vote, place) == 0;
}

#include "copies_on_cpu.h"
#include "warp_on_cpu.h"

#include "hopper_on_cpu.h"
#include "tensor_on_cpu.h"
