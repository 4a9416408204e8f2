// A barrier of all blocks of a grid. They must all be resident (a cooperative launch sees to that): a block that has not
// started cannot arrive.
#pragma once

// Lets other warps have the scheduler while this one waits for memory to change.
__device__ __forceinline__ void pause() {
#if defined(CPU_EMULATION) || __CUDA_ARCH__ >= 700
    __nanosleep(32);
#endif
}

// state: 0 before the first launch; only barriers touch it. Its top bit tells the barriers apart (sense reversal): block 0
// adds what the others leave to a carry into that bit, so the last to arrive, whoever it is, flips it, and the lower bits
// are 0 again for the next barrier and the next launch.
__device__ __forceinline__ void grid_barrier(unsigned* state) {
    __syncthreads();
    if (threadIdx.x == 0) {
        constexpr unsigned SENSE = 1u << 31;
        __threadfence();  // what this block wrote is seen before its arrival is
        const unsigned before = atomicAdd(state, blockIdx.x == 0 ? SENSE - (gridDim.x - 1) : 1u);
        while (((*static_cast<volatile unsigned*>(state) ^ before) & SENSE) == 0) pause();
        __threadfence();  // nothing is read before the others' arrival was seen, nor from an old line of L1
    }
    __syncthreads();
}
